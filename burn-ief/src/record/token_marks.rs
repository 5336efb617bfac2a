//! The marks of a loss over tokens, whose logits are never there as a whole.

use burn::tensor::{Gradients, Tensor};

use super::labels::LabelDraw;
use super::output_errors::{OutputErrors, TokenErrors, TokenFacts};
use super::recorder::Recorder;
use super::tape::OutputMark;
use crate::error::Error;
use crate::params::widen;

/// A vector of zeros whose gradient is that of the losses which it was added to.
#[derive(Clone)]
pub(crate) struct Leaf(Tensor<1>);

impl Leaf {
    /// To be added to the losses.
    pub fn value(&self) -> Tensor<1> {
        self.0.clone()
    }

    /// The gradient at the losses, in f32 or f64; `None` if they do not affect the loss.
    pub fn weights(&self, grads: &Gradients) -> Option<Tensor<1>> {
        self.0.grad(grads).map(widen)
    }
}

/// The draws of the labels of one loss over tokens.
pub(crate) struct Draws {
    /// K.
    pub count: usize,
    /// In a recording of one sample at a time, which labels this pass is about: 0 for the true ones, k for
    /// those of copy k.
    pub pass: Option<usize>,
    draw: LabelDraw,
    mark: u64,
}

impl Draws {
    /// Numbers in `[0, 1)`, copy after copy, `per_sample` for each sample.
    pub fn uniform(&self, samples: usize, per_sample: usize) -> Vec<f64> {
        self.draw.uniform(self.mark, samples, per_sample)
    }
}

impl Recorder {
    /// A leaf with `entries` zeros, with the autodiff settings of `like`.
    pub(crate) fn loss_leaf<const D: usize>(&self, entries: usize, like: &Tensor<D>) -> Leaf {
        let dtype = crate::params::widened(like.dtype());
        let leaf = Tensor::<1>::zeros([entries], (&like.device().inner(), dtype)).autodiff();
        let leaf = match like.gradient_checkpointing_strategy() {
            Some(strategy) => leaf.with_gradient_checkpointing_strategy(strategy),
            None => leaf,
        };
        let leaf = leaf.require_grad();
        self.state().borrow_mut().leaves.push(leaf.clone());
        Leaf(leaf)
    }

    /// The samples of the recording, without copies: `samples`, unless a call before this one showed others.
    pub(crate) fn known_samples(&self, samples: usize) -> usize {
        *self.state().borrow_mut().samples.get_or_insert(samples)
    }

    /// The labels that the next loss over tokens has to draw; `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`Error::EnumeratedTokens`] if the recording enumerates labels.
    pub(crate) fn token_draws(&self) -> Result<Option<Draws>, Error> {
        let state = self.state().borrow();
        let of_pass = state.sample_pass.as_ref();
        let draw = state.labels.as_ref().or(of_pass.map(|pass| &pass.draw));
        match draw {
            Some(LabelDraw::Enumerate { .. }) => Err(Error::EnumeratedTokens),
            Some(draw) => Ok(Some(Draws {
                count: draw.copies(),
                pass: of_pass.map(|pass| pass.copy),
                draw: draw.clone(),
                mark: state.outputs.len() as u64,
            })),
            None => Ok(None),
        }
    }

    /// Mark the logits of a loss over tokens. `leaf` is part of the losses of the samples, and `surrogate`
    /// is the loss of the copies with drawn labels.
    pub(crate) fn mark_tokens(&self, leaf: Leaf, facts: TokenFacts, surrogate: Option<Tensor<1>>) {
        self.state().borrow_mut().outputs.push(OutputMark {
            surrogate,
            read: Box::new(move |grads, alpha| {
                let weights = leaf.weights(grads)? / alpha;
                Some(OutputErrors::Tokens(TokenErrors { weights, facts }))
            }),
        });
    }
}
