//! A recording in progress on its thread, from its start to the rows of every recorded use.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::{DType, Gradients, Int, Tensor};

use super::labels::LabelDraw;
use super::output_errors::OutputErrors;
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

/// A recording in progress on this thread.
///
/// Start a tape before the forward pass, and pass it to the optimizer (or to
/// [`RecordedBatch::collect`](crate::jacobian::RecordedBatch::collect)) after `backward`. A tape
/// records the calls of its own thread. Dropping it ends the recording and frees what was kept,
/// whether or not `backward` ran.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::ForwardRecorded;
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
    /// The loss is assumed to be the mean over the batch; declare any other scale with
    /// [`with_loss_scale`](Self::with_loss_scale).
    ///
    /// If a recording is already in progress on this thread, both recordings fail: the optimizer
    /// returns [`Error::NestedRecording`] when it gets either tape.
    pub fn start() -> Self {
        Self::with_state(None)
    }

    /// Start recording with copies of the batch whose labels are drawn from the model.
    ///
    /// Axis 0 of recorded calls then holds every sample `1 + K` times: once with the true label and
    /// K times with drawn labels. The model has to mark its output and its loss, see
    /// [`mark_output`](crate::mark_output), [`mark_loss`](crate::mark_loss) and
    /// [`expand_input`](crate::expand_input).
    pub fn with_drawn_labels(draw: LabelDraw) -> Self {
        Self::with_state(Some(draw))
    }

    /// Start the recording of a single sample: with its true label (`copy` 0), or as one of its copies
    /// with drawn labels. The passes of a sample draw the same labels.
    pub(crate) fn of_sample(draw: Option<&LabelDraw>, sample: usize, copy: usize) -> Self {
        let tape = Self::start().with_loss_scale(LossScale::Sum);
        tape.state.borrow_mut().sample_pass = draw.map(|draw| SamplePass {
            draw: draw.clone().from_row(sample as u64),
            copy,
        });
        tape
    }

    fn with_state(labels: Option<LabelDraw>) -> Self {
        let state = Rc::new(RefCell::new(TapeState {
            scale: LossScale::Mean,
            labels,
            sample_pass: None,
            samples: None,
            uses: Vec::new(),
            outputs: Vec::new(),
            loss_marked: false,
            factored: false,
            leaves: Leaves::default(),
            index_checks: Vec::new(),
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

    /// Keep the inputs and output errors of every layer that has them, even where its per-sample
    /// gradients would be smaller (convolutions over many positions).
    ///
    /// The K-FAC family needs this. It only makes the other methods slower.
    pub fn with_factored_rows(self) -> Self {
        self.state.borrow_mut().factored = true;
        self
    }

    /// End the recording and collect what it kept.
    pub(crate) fn finish(self, grads: &Gradients) -> Result<Recording, Error> {
        self.collect(grads, None)
    }

    /// End the recording of a single sample, in which nothing has to be recorded.
    pub(crate) fn finish_sample(self, grads: &Gradients) -> Result<Recording, Error> {
        let recording = self.collect(grads, Some(1))?;
        if recording.samples == 1 {
            Ok(recording)
        } else {
            Err(Error::BatchMismatch {
                parameter: "the loss of one sample".into(),
                expected: 1,
                found: recording.samples,
            })
        }
    }

    /// `samples` is their number if no recorded call shows it.
    fn collect(self, grads: &Gradients, samples: Option<usize>) -> Result<Recording, Error> {
        self.stop();
        let mut state = self.state.borrow_mut();
        state.leaves.clear();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        let samples = state.samples.or(samples).ok_or(Error::NothingRecorded)?;
        let draws = state.labels.is_some() || state.sample_pass.is_some();
        if draws && !state.loss_marked {
            return Err(Error::NoLoss);
        }
        let alpha = state.scale.factor(samples);
        let outputs = std::mem::take(&mut state.outputs)
            .into_iter()
            .filter_map(|mark| (mark.read)(grads, alpha))
            .collect();
        let uses = std::mem::take(&mut state.uses)
            .into_iter()
            .filter_map(|pending| {
                Some(RecordedUse {
                    rows: (pending.rule)(grads)?,
                    parameter: pending.parameter,
                    bias: pending.bias,
                })
            })
            .collect();
        Ok(Recording {
            samples,
            labels: state.labels.take(),
            scale: state.scale,
            alpha,
            uses,
            outputs,
            index_checks: std::mem::take(&mut state.index_checks),
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
        // Freeing runs a backward pass, which may panic. A second panic while one unwinds would
        // abort the process, so this leaks the graph instead.
        if !std::thread::panicking()
            && let Ok(mut state) = self.state.try_borrow_mut()
        {
            state.uses.clear();
            state.outputs.clear();
            state.leaves.free_graph();
        }
    }
}

/// What a finished recording holds.
pub(crate) struct Recording {
    /// Samples M. Uses have M rows, followed by K copies of M rows with drawn labels.
    pub samples: usize,
    pub labels: Option<LabelDraw>,
    /// How the loss relates to the losses of the samples, as it was declared.
    pub scale: LossScale,
    /// The factor α of the scalar loss `α Σ_n l_n`. It is still contained in the rows of uses, but
    /// not in the output errors.
    pub alpha: f64,
    pub uses: Vec<RecordedUse>,
    pub outputs: Vec<OutputErrors>,
    /// Indices that are still to be checked.
    pub index_checks: Vec<IndexCheck>,
}

/// A use of a parameter, or of a weight and its bias together, with its gradient rows.
pub(crate) struct RecordedUse {
    pub parameter: ParamId,
    pub bias: Option<ParamId>,
    pub rows: Rows,
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
