//! What a recording collects on its thread, before `backward`.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::Gradients;

use super::free_graph::Leaves;
use super::labels::LabelDraw;
use super::output_mark::OutputMark;
use super::scale::LossScale;
use crate::error::Error;
use crate::rows::Rows;

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
    /// Samples M on axis 0, without copies for drawn labels; known after the first recorded call.
    pub samples: Option<usize>,
    pub uses: Vec<PendingUse>,
    pub outputs: Vec<OutputMark>,
    pub loss_marked: bool,
    /// Whether rows stay factored even where dense ones are smaller.
    pub factored: bool,
    pub leaves: Leaves,
    pub error: Option<Error>,
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
