//! The interface between a layer's recorded call and the recording.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::{LoraAdapter, Module, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::Basic;
use burn::tensor::{Gradients, Int, Tensor};

use super::tape::{ACTIVE, IndexCheck, PendingUse, TapeState};
use crate::error::Error;
use crate::params::widen;
use crate::rows::Rows;

/// The recording in progress on this thread, if any.
pub fn recorder() -> Option<Recorder> {
    ACTIVE.with_borrow(|active| {
        active.as_ref().map(|state| Recorder {
            state: state.clone(),
        })
    })
}

/// Whether a call sees an empty batch inside a recording, which fails then with
/// [`Error::EmptyBatch`].
///
/// The layer has nothing to compute. It must not try: some products of empty tensors crash on Flex.
pub(crate) fn is_empty_batch(batch: usize) -> bool {
    let recorder = recorder().filter(|_| batch == 0);
    if let Some(recorder) = &recorder {
        recorder.fail(Error::EmptyBatch);
    }
    recorder.is_some()
}

/// A tensor without samples, of the same place and type as `like`. It is on the autodiff graph, so that
/// the loss has a backward pass.
pub(crate) fn without_samples<const D: usize, const E: usize>(
    shape: [usize; D],
    like: &Tensor<E>,
) -> Tensor<D> {
    let zeros = Tensor::zeros(shape, (&like.device(), like.dtype()));
    if like.device().is_autodiff() {
        zeros.require_grad()
    } else {
        zeros
    }
}

/// What a layer uses to record one use of its parameters.
///
/// To record a layer of your own, implement [`ForwardRecorded`](crate::nn::ForwardRecorded) in four
/// steps: repeat the input for the copies of the recording, compute the output with the parameter
/// off the autodiff graph, tap the output, and say how the gradient rows follow from the gradient
/// at the output. This example does it for a layer `y = x ∘ scale` (for which
/// [`expand_param`](crate::nn::expand_param) would be a shorter way):
///
/// ```
/// use burn::module::{Module, Param};
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::{Rows, Tape, recorder};
///
/// #[derive(Module, Debug)]
/// struct Scale {
///     scale: Param<Tensor<1>>,
/// }
///
/// impl ForwardRecorded<Tensor<2>> for Scale {
///     type Output = Tensor<2>;
///
///     fn forward_recorded(&self, x: Tensor<2>) -> Tensor<2> {
///         let Some(recorder) = recorder().filter(|_| self.scale.is_require_grad()) else {
///             return x * self.scale.val().unsqueeze();
///         };
///         let x = recorder.batch(x);
///         let y = x.clone() * self.scale.val().inner().unsqueeze();
///         let (y, tap) = recorder.tap(y, &self.scale);
///         let input = x.inner();
///         // d l_n / d scale = x_n ∘ e_n, with e_n the gradient at the output.
///         recorder.record(&self.scale, input.dims()[0], move |grads| {
///             tap.error(grads).map(|error| Rows::dense(input * error))
///         });
///         y
///     }
/// }
///
/// let device = Device::flex().autodiff();
/// let layer = Scale { scale: Param::from_tensor(Tensor::ones([3], &device)) };
/// let x = Tensor::<2>::ones([4, 3], &device);
/// let tape = Tape::start();
/// let grads = layer.forward_recorded(x).mean_dim(1).mean().backward();
/// let jacobian = Jacobian::from_tape(tape, grads, &layer)?;
/// // Row n is x_n / 3 (without the mean over the batch), so inner products are 3 / 9.
/// assert!((jacobian.gram()?.get(1, 2) - 1.0 / 3.0).abs() < 1e-6);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// Check a new rule against one backward pass per sample with
/// [`validate`](crate::jacobian::validate).
#[derive(Clone)]
pub struct Recorder {
    state: Rc<RefCell<TapeState>>,
}

impl Recorder {
    /// Repeat a tensor with the samples on axis 0 for the copies of the recording.
    ///
    /// This is the identity unless the recording has copies with drawn labels and `x` has one row
    /// per sample.
    pub fn batch<const D: usize, K: Basic>(&self, x: Tensor<D, K>) -> Tensor<D, K> {
        let mut state = self.state.borrow_mut();
        let copies = state.copies();
        if copies == 1 {
            return x;
        }
        let found = x.dims()[0];
        if found == *state.samples.get_or_insert(found) {
            x.repeat_dim(0, copies)
        } else {
            x
        }
    }

    /// The size of axis 0 in recorded calls, copies included, for a batch of `samples`.
    pub fn batch_size(&self, samples: usize) -> usize {
        let mut state = self.state.borrow_mut();
        let copies = state.copies();
        let known = *state.samples.get_or_insert(samples);
        if samples == known {
            known * copies
        } else {
            samples
        }
    }

    /// How often each sample is on axis 0: once, or `1 + K` times with K drawn labels.
    pub fn copies(&self) -> usize {
        self.state.borrow().copies()
    }

    /// Add a leaf of zeros to a layer's output `y`. The gradient of the leaf is the gradient of the
    /// loss at the output (the output error).
    ///
    /// The leaf takes the autodiff settings of `y`, or of `parameter` if `y` is not on the graph.
    pub fn tap<const D: usize, const P: usize>(
        &self,
        y: Tensor<D>,
        parameter: &Param<Tensor<P>>,
    ) -> (Tensor<D>, Tap<D>) {
        let place = (&y.device().inner(), y.dtype());
        let zeros = if y.shape().num_elements() == 0 {
            self.fail(Error::EmptyBatch);
            Tensor::zeros(y.dims(), place)
        } else {
            Tensor::<1>::zeros([1], place)
                .unsqueeze::<D>()
                .expand(y.dims())
        };
        let tap = self.leaf(zeros, &y, parameter);
        (y + tap.leaf.clone(), tap)
    }

    /// Make `value` a leaf of the autodiff graph. Use it in layers that work with one copy of the
    /// parameter per sample.
    ///
    /// The leaf takes the autodiff settings of `like`, or of `parameter` if `like` is not on the
    /// graph.
    pub fn leaf<const D: usize, const E: usize, const P: usize>(
        &self,
        value: Tensor<D>,
        like: &Tensor<E>,
        parameter: &Param<Tensor<P>>,
    ) -> Tap<D> {
        let strategy = like
            .gradient_checkpointing_strategy()
            .or_else(|| parameter.base().gradient_checkpointing_strategy());
        let leaf = value.inner().autodiff();
        let leaf = match strategy {
            Some(strategy) => leaf.with_gradient_checkpointing_strategy(strategy),
            None => leaf,
        };
        let leaf = leaf.require_grad();
        self.state.borrow_mut().leaves.push(leaf.clone());
        Tap { leaf }
    }

    /// Record one use of `parameter` by a call with `batch` rows on axis 0, copies included.
    ///
    /// `rule` runs after `backward`. It returns the gradient rows of the parameter, `[batch, P]` in
    /// one of the forms of [`Rows`], or `None` if the use does not affect the loss.
    pub fn record<const D: usize>(
        &self,
        parameter: &Param<Tensor<D>>,
        batch: usize,
        rule: impl FnOnce(&Gradients) -> Option<Rows> + 'static,
    ) {
        self.push(parameter.id, None, batch, rule);
    }

    /// Like [`record`](Self::record), for [`Outer`](crate::rows::Outer) rows of a weight that also
    /// hold the rows of its bias.
    pub(crate) fn push(
        &self,
        parameter: ParamId,
        bias: Option<ParamId>,
        batch: usize,
        rule: impl FnOnce(&Gradients) -> Option<Rows> + 'static,
    ) {
        let mut state = self.state.borrow_mut();
        if batch == 0 {
            state.poison(Error::EmptyBatch);
            return;
        }
        let copies = state.copies();
        let samples = *state.samples.get_or_insert(batch / copies);
        if batch != samples * copies {
            state.poison(Error::BatchMismatch {
                parameter: parameter.to_string(),
                expected: samples * copies,
                found: batch,
            });
            return;
        }
        state.uses.push(PendingUse {
            parameter,
            bias,
            rule: Box::new(rule),
        });
    }

    /// Keep indices within `0..size`: those outside are clamped, and the step returns
    /// [`Error::IndexRange`]. `what` says what they are indices of.
    ///
    /// Burn panics on them, or reads whatever is in memory, depending on the device. They are read to
    /// the host at the end of the recording, together with everything else.
    pub fn checked_indices<const D: usize>(
        &self,
        what: impl Into<String>,
        indices: Tensor<D, Int>,
        size: usize,
    ) -> Tensor<D, Int> {
        if indices.shape().num_elements() == 0 || size == 0 {
            return indices;
        }
        let own = indices.clone().inner();
        let bounds = Tensor::cat(vec![own.clone().min(), own.max()], 0);
        self.state.borrow_mut().index_checks.push(IndexCheck {
            what: what.into(),
            bounds,
            size,
        });
        indices.clamp(0, size as i64 - 1)
    }

    /// Whether this recording keeps rows factored, see [`Tape::with_factored_rows`].
    ///
    /// [`Tape::with_factored_rows`]: crate::Tape::with_factored_rows
    pub fn keeps_factors(&self) -> bool {
        self.state.borrow().factored
    }

    /// Let the recording fail: the optimizer returns the first error when it gets the tape.
    pub fn fail(&self, error: Error) {
        self.state.borrow_mut().poison(error);
    }

    pub(super) fn state(&self) -> &RefCell<TapeState> {
        &self.state
    }
}

/// A leaf of the autodiff graph whose gradient is an output error or a per-sample gradient.
#[derive(Clone)]
pub struct Tap<const D: usize> {
    leaf: Tensor<D>,
}

impl<const D: usize> Tap<D> {
    /// The leaf, to be used in the forward pass.
    pub fn value(&self) -> Tensor<D> {
        self.leaf.clone()
    }

    /// The gradient at the leaf, off the autodiff graph and in f32 or f64; `None` if the leaf does
    /// not affect the loss.
    pub fn error(&self, grads: &Gradients) -> Option<Tensor<D>> {
        self.leaf.grad(grads).map(widen)
    }
}

/// The value off the autodiff graph, in f32 or f64.
pub(crate) fn constant<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    widen(x.clone().inner())
}

/// `[M * T, d]` to `[M, T, d]`.
pub(crate) fn positioned(x: Tensor<2>, (batch, positions): (usize, usize)) -> Tensor<3> {
    let [_, width] = x.dims();
    x.reshape([batch, positions, width])
}

/// Whether a weight is composed by a reparameterization that this crate has no rule for.
///
/// The composed value then stays on the autodiff graph. If its factors train, they appear in Burn's
/// gradients and are reported as unrecorded uses, so none is missed.
///
/// A reparameterization may also keep parameters for later that take no part in the value, such as
/// the heads of other adapters: those are in a container whose name begins with `Stored:`.
pub(crate) fn is_composed<const D: usize>(weight: &Param<Tensor<D>>) -> bool {
    #[derive(Default)]
    struct Count {
        parameters: usize,
        /// Containers around the current one that hold what is kept for later.
        stored: usize,
    }
    impl ModuleVisitor for Count {
        fn enter_module(&mut self, _name: &str, container: &str) {
            if self.stored > 0 || container.starts_with("Stored:") {
                self.stored += 1;
            }
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.stored = self.stored.saturating_sub(1);
        }

        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            if self.stored == 0 {
                self.parameters += 1;
            }
        }
    }
    let mut count = Count::default();
    weight.visit(&mut count);
    count.parameters > 1 && weight.reparameterization::<LoraAdapter>().is_none()
}
