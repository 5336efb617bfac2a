//! Recording one forward pass per sample.
//!
//! While a [`Tape`] is alive, the recorded calls of [`nn`](crate::nn) keep, for every trainable
//! parameter they use, what is needed to form its gradient sample by sample; the parameter itself
//! stays off the autodiff graph, so `backward` does not also compute its batch gradient. Outside
//! a recording the same calls are Burn's own.

mod free_graph;
mod labels;
mod marks;
mod recorder;
mod scale;

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::Gradients;

use crate::error::Error;
use crate::rows::Rows;

use free_graph::Leaves;
pub use labels::{LabelDraw, Likelihood};
pub use marks::{
    declare_loss_scale, expand_input, mark_loss, mark_mean_loss, mark_output, mark_output_as,
};
pub use recorder::{Recorder, Tap, recorder};
pub(crate) use recorder::{constant, is_composed};
pub use scale::LossScale;

pub(crate) use marks::OutputErrors;
use marks::OutputMark;

thread_local! {
    static ACTIVE: RefCell<Option<Rc<RefCell<TapeState>>>> = const { RefCell::new(None) };
}

/// Turns the gradients of one recorded use into per-sample rows; `None` if the use did not reach
/// the loss.
type Rule = Box<dyn FnOnce(&Gradients) -> Option<Rows>>;

/// A recorded use of a parameter, or of a weight and its bias together.
struct Use {
    parameter: ParamId,
    bias: Option<ParamId>,
    rule: Rule,
}

/// What one recording collects.
struct TapeState {
    scale: LossScale,
    labels: Option<LabelDraw>,
    /// Samples M on axis 0, before copies for drawn labels.
    samples: Option<usize>,
    uses: Vec<Use>,
    outputs: Vec<OutputMark>,
    loss_marked: bool,
    /// Whether rows stay factored where dense ones are smaller.
    factored: bool,
    leaves: Leaves,
    error: Option<Error>,
}

/// A recording in progress on this thread.
///
/// Start it before the forward pass, hand it to an optimizer's `gradients` after `backward`. It is
/// bound to its thread. Dropping it ends the recording and frees what was kept, whether or not
/// `backward` ran.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::LinearRecorded;
/// use burn_ief::{LossScale, Tape};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(3, 1).init(&device);
/// let x = Tensor::<2>::ones([5, 3], &device);
///
/// let tape = Tape::start().with_loss_scale(LossScale::Sum);
/// let grads = layer.forward_recorded(x).sum().backward();
/// let jacobian = Jacobian::from_tape(tape, grads, &layer)?;
/// // Five samples with gradient (x, 1): every inner product is 3 + 1.
/// assert!((jacobian.gram()?.get(0, 4) - 4.0).abs() < 1e-6);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[must_use = "dropping a tape ends its recording"]
pub struct Tape {
    state: Rc<RefCell<TapeState>>,
}

impl Tape {
    /// Start recording on this thread.
    ///
    /// The loss is taken to be the mean over the batch, see [`with_loss_scale`](Self::with_loss_scale).
    ///
    /// If a recording is in progress already, both are poisoned: [`Error::NestedRecording`] comes
    /// out of `gradients`.
    pub fn start() -> Self {
        Self::with_state(None)
    }

    /// Start recording with copies of the batch whose labels are drawn from the model.
    ///
    /// Recorded calls then carry every sample `1 + K` times on axis 0: once with the true label,
    /// K times with drawn ones; see [`expand_input`], [`mark_output`] and [`mark_loss`].
    pub fn with_drawn_labels(draw: LabelDraw) -> Self {
        Self::with_state(Some(draw))
    }

    fn with_state(labels: Option<LabelDraw>) -> Self {
        let state = Rc::new(RefCell::new(TapeState {
            scale: LossScale::Mean,
            labels,
            samples: None,
            uses: Vec::new(),
            outputs: Vec::new(),
            loss_marked: false,
            factored: false,
            leaves: Leaves::default(),
            error: None,
        }));
        ACTIVE.with_borrow_mut(|active| match active {
            Some(outer) => {
                outer.borrow_mut().poison(Error::NestedRecording);
                state.borrow_mut().poison(Error::NestedRecording);
            }
            None => *active = Some(state.clone()),
        });
        Self { state }
    }

    /// Declare how the scalar loss relates to the losses of the samples.
    pub fn with_loss_scale(self, scale: LossScale) -> Self {
        self.state.borrow_mut().scale = scale;
        self
    }

    /// Keep inputs and output errors of every layer that has them, also where its per-sample
    /// gradients would be smaller (convolutions over many positions).
    ///
    /// The K-FAC family needs them; everything else is only slower for it.
    pub fn with_factored_rows(self) -> Self {
        self.state.borrow_mut().factored = true;
        self
    }

    /// End the recording and collect what it kept.
    pub(crate) fn finish(self, grads: &Gradients) -> Result<Recording, Error> {
        self.stop();
        let mut state = self.state.borrow_mut();
        state.leaves.clear();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        let samples = state.samples.ok_or(Error::NothingRecorded)?;
        if state.labels.is_some() && !state.loss_marked {
            return Err(Error::NoLoss);
        }
        let alpha = state.scale.factor(samples);
        let outputs = std::mem::take(&mut state.outputs)
            .into_iter()
            .filter_map(|mark| mark.finish(grads, alpha))
            .collect();
        let blocks = std::mem::take(&mut state.uses)
            .into_iter()
            .filter_map(|recorded| {
                Some(RecordedUse {
                    rows: (recorded.rule)(grads)?,
                    parameter: recorded.parameter,
                    bias: recorded.bias,
                })
            })
            .collect();
        Ok(Recording {
            samples,
            labels: state.labels.take(),
            alpha,
            blocks,
            outputs,
        })
    }

    fn stop(&self) {
        ACTIVE.with_borrow_mut(|active| {
            if active.as_ref().is_some_and(|a| Rc::ptr_eq(a, &self.state)) {
                *active = None;
            }
        });
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.stop();
        // Not while a panic unwinds: another one would abort the process.
        if !std::thread::panicking()
            && let Ok(mut state) = self.state.try_borrow_mut()
        {
            state.uses.clear();
            state.outputs.clear();
            state.leaves.abandon();
        }
    }
}

impl TapeState {
    /// Keep the first error.
    fn poison(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// How many rows of axis 0 stand for one sample.
    fn copies(&self) -> usize {
        1 + self.labels.as_ref().map_or(0, LabelDraw::copies)
    }
}

/// What a finished recording holds; rows and output errors still carry the loss scale.
pub(crate) struct Recording {
    /// Samples M; the rows of blocks are M, then K copies of M with drawn labels.
    pub samples: usize,
    pub labels: Option<LabelDraw>,
    /// The scalar loss is α Σ l_n.
    pub alpha: f64,
    pub blocks: Vec<RecordedUse>,
    pub outputs: Vec<OutputErrors>,
}

pub(crate) struct RecordedUse {
    pub parameter: ParamId,
    pub bias: Option<ParamId>,
    pub rows: Rows,
}
