//! What a recording collects on its thread, before `backward`.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::{DType, Gradients, Int, Tensor};

use super::labels::{LabelDraw, Likelihood};
use crate::error::Error;
use crate::rows::Rows;

/// The factor α between the scalar loss that `backward` starts from and the losses l_n of the
/// samples: `loss = α Σ_n l_n`.
///
/// `backward` sees only the scalar. It cannot tell whether this is a sum or a mean, but damped
/// updates depend on it. With the scale declared, every update of this crate is in **sum form**:
/// the same damping and step size mean the same for every reduction and batch size.
///
/// ```
/// use burn_ief::{LossScale, Tape};
///
/// // A loss averaged over the 120 real tokens of a padded batch; a sample's loss is the sum
/// // over its tokens.
/// let tape = Tape::start().with_loss_scale(LossScale::Factor(1.0 / 120.0));
/// # drop(tape);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum LossScale {
    /// The mean over the samples of the batch, α = 1/M.
    #[default]
    Mean,
    /// The sum over the samples, α = 1.
    Sum,
    /// Any other factor: 1 over the number of tokens or over the sum of class weights, or the
    /// weight of the loss in a larger objective.
    Factor(f64),
}

impl LossScale {
    /// α for a batch of `samples`.
    pub fn factor(self, samples: usize) -> f64 {
        match self {
            Self::Mean => 1.0 / samples.max(1) as f64,
            Self::Sum => 1.0,
            Self::Factor(factor) => factor,
        }
    }
}

/// Reads what a marked output shows from the result of `backward` and from α; `None` if the output does not
/// affect the loss.
type ReadMark = Box<dyn FnOnce(&Gradients, f64) -> Option<OutputErrors>>;

/// A marked output of the model and, with drawn labels, the surrogate loss of its copies.
pub(super) struct OutputMark {
    pub read: ReadMark,
    /// `Σ z ∘ dz` over the copies, on the autodiff graph, with `dz` the drawn output gradients.
    pub surrogate: Option<Tensor<1>>,
}

/// A marked output after `backward`, with the loss scale taken out.
#[expect(
    clippy::large_enum_variant,
    reason = "there are few marks in a recording, so the size does not matter"
)]
pub(crate) enum OutputErrors {
    /// One that was there as a whole.
    Whole(WholeErrors),
    /// The logits of a loss over tokens, which were never there as a whole.
    Tokens(TokenErrors),
}

/// The errors of an output that was there as a whole.
pub(crate) struct WholeErrors {
    /// ∂l_n/∂z_n, `[M, T * C]`.
    pub error: Tensor<2>,
    /// z_n, `[M, T, C]`.
    pub value: Tensor<3>,
    pub likelihood: Likelihood,
    /// Output gradients for the drawn labels, `[K * M, T * C]`, as scaled by the draw.
    pub drawn: Option<Tensor<2>>,
}

/// What a cross-entropy over tokens knows of the errors at its logits.
pub(crate) struct TokenErrors {
    /// ∂loss/∂l_n, without α: 1 if the declared scale is right, `[M]`.
    pub weights: Tensor<1>,
    pub facts: TokenFacts,
}

/// Sums over the answer tokens of every sample.
pub(crate) struct TokenFacts {
    /// Squared errors `‖softmax(z) − onehot(y)‖²`, `[M]`.
    pub squares: Tensor<1>,
    /// Answer tokens of each sample.
    pub tokens: Vec<usize>,
    /// Positions of the batch, answers or not.
    pub positions: usize,
    pub drawn: Option<DrawnTokens>,
}

/// The same of drawn labels, copy after copy.
pub(crate) struct DrawnTokens {
    /// Squared errors, `[K * M]`, as scaled by the draw.
    pub squares: Tensor<1>,
    /// Tokens that were drawn otherwise than the true ones, `[K * M]`.
    pub differ: Tensor<1>,
}

/// The leaves of a recording.
#[derive(Default)]
pub(super) struct Leaves {
    /// Each makes a tensor of one entry that depends on its leaf.
    nodes: Vec<Box<dyn Fn() -> Tensor<1>>>,
}

impl Leaves {
    pub fn push<const D: usize>(&mut self, leaf: Tensor<D>) {
        if leaf.shape().num_elements() > 0 {
            self.nodes.push(Box::new(move || {
                let entry = leaf.clone().slice([const { 0..1 }; D]);
                entry.reshape([1]).cast(DType::F32)
            }));
        }
    }

    /// Forget the leaves, because a backward pass has freed the graph.
    pub fn clear(&mut self) {
        self.nodes.clear();
    }

    /// Free the graph. Nodes that tensors still refer to (a loss that outlives the tape) stay usable;
    /// later backward passes free them.
    pub fn free_graph(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        // Without a loss, the leaves may belong to separate graphs. The sum joins them.
        let node = nodes.iter().map(|node| node()).reduce(|a, b| a + b);
        drop(nodes);
        if let Some(node) = node {
            drop(node.backward());
        }
    }
}

thread_local! {
    /// The recording in progress on this thread.
    pub(super) static ACTIVE: RefCell<Option<Rc<RefCell<TapeState>>>> = const { RefCell::new(None) };
}

/// Forms the gradient rows of one recorded use from the result of `backward`; `None` if the use
/// does not affect the loss.
type Rule = Box<dyn FnOnce(&Gradients) -> Option<Rows>>;

/// A use of a parameter, or of a weight and its bias together, before `backward`.
pub(super) struct PendingUse {
    pub parameter: ParamId,
    pub bias: Option<ParamId>,
    pub rule: Rule,
}

/// What one recording collects.
pub(super) struct TapeState {
    pub scale: LossScale,
    pub labels: Option<LabelDraw>,
    /// Set in a recording of one sample at a time.
    pub sample_pass: Option<SamplePass>,
    /// Samples M on axis 0, without copies for drawn labels; known after the first recorded call.
    pub samples: Option<usize>,
    pub uses: Vec<PendingUse>,
    pub outputs: Vec<OutputMark>,
    pub loss_marked: bool,
    /// Whether rows stay factored even where dense ones are smaller.
    pub factored: bool,
    pub leaves: Leaves,
    pub index_checks: Vec<IndexCheck>,
    pub error: Option<Error>,
}

/// Indices that have to be within a table.
pub(crate) struct IndexCheck {
    pub(super) what: String,
    /// The smallest and the largest of them, `[2]`.
    pub(crate) bounds: Tensor<1, Int>,
    /// Entries of the table.
    pub(super) size: usize,
}

impl IndexCheck {
    /// Judge the bounds, read to the host.
    pub(crate) fn check(&self, bounds: &[i64]) -> Result<(), Error> {
        let size = self.size;
        let outside = |index: &&i64| **index < 0 || **index >= size as i64;
        match bounds.iter().find(outside) {
            Some(&found) => Err(Error::IndexRange {
                what: self.what.clone(),
                size,
                found,
            }),
            None => Ok(()),
        }
    }
}

/// One pass over a single sample: with its true label, or as one of its copies with drawn labels.
pub(super) struct SamplePass {
    /// The draw of this sample.
    pub draw: LabelDraw,
    /// 0 for the true label, k for copy k.
    pub copy: usize,
}

impl TapeState {
    /// Let the recording fail with `error`, unless it has failed already.
    pub fn poison(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// How many rows of axis 0 belong to one sample.
    pub fn copies(&self) -> usize {
        1 + self.labels.as_ref().map_or(0, LabelDraw::copies)
    }
}
