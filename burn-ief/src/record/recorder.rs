//! What a layer's recorded call talks to.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::{LoraAdapter, Module, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::Basic;
use burn::tensor::{DType, Gradients, Tensor};

use super::{ACTIVE, TapeState, Use};
use crate::error::Error;
use crate::rows::Rows;

/// The recording in progress on this thread, if any.
pub fn recorder() -> Option<Recorder> {
    ACTIVE.with_borrow(|active| {
        active.as_ref().map(|state| Recorder {
            state: state.clone(),
        })
    })
}

/// The door through which a layer records one use of its parameters.
///
/// A rule for a layer of your own has four steps: bring the input to the recorded batch, compute
/// the output with the parameter off the tape, tap the output, and say how rows come from the
/// output error. Here for a layer `y = x ∘ scale` (which [`expand_batch`](crate::nn::ParamRecorded)
/// could also do):
///
/// ```
/// use burn::module::{Module, Param};
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::{Rows, Tape, recorder};
///
/// #[derive(Module, Debug)]
/// struct Scale {
///     scale: Param<Tensor<1>>,
/// }
///
/// impl Scale {
///     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
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
/// let grads = layer.forward(x).mean_dim(1).mean().backward();
/// let jacobian = Jacobian::from_tape(tape, grads, &layer)?;
/// // Row n is x_n / 3, the mean over the batch is taken out: inner products are 3 / 9.
/// assert!((jacobian.gram()?.get(1, 2) - 1.0 / 3.0).abs() < 1e-6);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Clone)]
pub struct Recorder {
    state: Rc<RefCell<TapeState>>,
}

impl Recorder {
    /// Bring a tensor with the samples on axis 0 to the batch of the recording.
    ///
    /// The identity, unless the recording carries copies with drawn labels and `x` has one row per
    /// sample: then axis 0 is repeated.
    pub fn batch<const D: usize, K: Basic>(&self, x: Tensor<D, K>) -> Tensor<D, K> {
        let mut state = self.state.borrow_mut();
        let copies = state.copies();
        if copies == 1 {
            return x;
        }
        let found = x.dims()[0];
        match found == *state.samples.get_or_insert(found) {
            true => x.repeat_dim(0, copies),
            false => x,
        }
    }

    /// Samples on axis 0 of recorded calls, copies included, for a batch of `samples`.
    pub fn batch_size(&self, samples: usize) -> usize {
        let mut state = self.state.borrow_mut();
        let copies = state.copies();
        let known = *state.samples.get_or_insert(samples);
        match samples == known {
            true => known * copies,
            false => samples,
        }
    }

    /// Copies of each sample on axis 0, itself included.
    pub fn copies(&self) -> usize {
        self.state.borrow().copies()
    }

    /// Add a zero leaf to a layer's output whose gradient will be the output error.
    ///
    /// `parameter` lends its autodiff settings where `y` has none.
    pub fn tap<const D: usize, const P: usize>(
        &self,
        y: Tensor<D>,
        parameter: &Param<Tensor<P>>,
    ) -> (Tensor<D>, Tap<D>) {
        let zero = Tensor::<1>::zeros([1], (&y.device().inner(), y.dtype()));
        let tap = self.leaf(zero.unsqueeze::<D>().expand(y.dims()), &y, parameter);
        (y + tap.leaf.clone(), tap)
    }

    /// Make `value` (off the tape) a leaf on the tape of `beside`, or of `parameter` where
    /// `beside` is not on a tape. For layers that add a per-sample copy of the parameter itself.
    pub fn leaf<const D: usize, const E: usize, const P: usize>(
        &self,
        value: Tensor<D>,
        beside: &Tensor<E>,
        parameter: &Param<Tensor<P>>,
    ) -> Tap<D> {
        let strategy = beside
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

    /// Record one use of `parameter` by a call whose axis 0 is `batch`, copies included.
    ///
    /// `rule` runs after `backward`; it returns the rows of the parameter, `[batch, P]` in one of
    /// the forms of [`Rows`], or `None` if the use did not reach the loss.
    pub fn record<const D: usize>(
        &self,
        parameter: &Param<Tensor<D>>,
        batch: usize,
        rule: impl FnOnce(&Gradients) -> Option<Rows> + 'static,
    ) {
        self.push(parameter.id, None, batch, rule);
    }

    /// Like [`record`](Self::record), for [`Outer`](crate::rows::Outer) rows of a weight that
    /// stand for its bias as well.
    pub(crate) fn push(
        &self,
        parameter: ParamId,
        bias: Option<ParamId>,
        batch: usize,
        rule: impl FnOnce(&Gradients) -> Option<Rows> + 'static,
    ) {
        let mut state = self.state.borrow_mut();
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
        state.uses.push(Use {
            parameter,
            bias,
            rule: Box::new(rule),
        });
    }

    /// Whether this recording keeps rows factored, see [`Tape::with_factored_rows`].
    ///
    /// [`Tape::with_factored_rows`]: crate::Tape::with_factored_rows
    pub fn keeps_factors(&self) -> bool {
        self.state.borrow().factored
    }

    /// Poison the recording; the first error comes out of `gradients`.
    pub fn fail(&self, error: Error) {
        self.state.borrow_mut().poison(error);
    }

    pub(super) fn state(&self) -> &RefCell<TapeState> {
        &self.state
    }
}

/// A leaf whose gradient is an output error, or a per-sample gradient.
#[derive(Clone)]
pub struct Tap<const D: usize> {
    leaf: Tensor<D>,
}

impl<const D: usize> Tap<D> {
    /// The leaf itself, to be used in the forward pass.
    pub fn value(&self) -> Tensor<D> {
        self.leaf.clone()
    }

    /// The gradient at the leaf, off the tape and never below f32; `None` if it did not reach the
    /// loss.
    pub fn error(&self, grads: &Gradients) -> Option<Tensor<D>> {
        self.leaf.grad(grads).map(at_least_f32)
    }
}

/// Per-sample rows are kept in f32 or f64: products of f16 rows overflow.
pub(crate) fn at_least_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 | DType::F64 => x,
        _ => x.cast(DType::F32),
    }
}

/// Off the tape, never below f32.
pub(crate) fn constant<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    at_least_f32(x.clone().inner())
}

/// Whether a weight is composed by a reparameterization that this crate has no rule for.
///
/// The effective value then stays on the tape, so that factors behind it that train show up in
/// Burn's gradients and are reported as unrecorded uses, instead of being missed.
pub(crate) fn is_composed<const D: usize>(weight: &Param<Tensor<D>>) -> bool {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            self.0 += 1;
        }
    }
    let mut count = Count(0);
    weight.visit(&mut count);
    count.0 > 1 && weight.reparameterization::<LoraAdapter>().is_none()
}
