//! How a run shows itself: Burn's full screen in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stdout};

use burn::train::Interrupter;
use burn::train::renderer::MetricsRenderer;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use programs::learner::LearnerProgress;
use programs::progress::Progress;

use crate::log::Log;

/// The display of a run; `plain` asks for lines in a terminal too.
pub(crate) fn display(
    label: &str,
    log: &Log,
    stop: &Interrupter,
    resumed: usize,
    plain: bool,
) -> Box<dyn MetricsRenderer> {
    if stdout().is_terminal() && !plain {
        let resumed = (resumed > 0).then_some(resumed);
        return Box::new(TuiMetricsRendererWrapper::new(stop.clone(), resumed));
    }
    let log = log.clone();
    let progress = Progress::new(label, 0).with_lines();
    Box::new(LearnerProgress::new(progress, move || log.last_step()))
}
