//! How far a run is: Burn's full screen in a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

use crate::log::Log;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

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
    Box::new(Lines {
        label: label.into(),
        log: log.clone(),
        epochs: 0,
        epoch: 1,
        items: 0,
        training: false,
        last: Instant::now(),
    })
}

/// A line on standard error every ten seconds.
struct Lines {
    label: String,
    log: Log,
    epochs: usize,
    epoch: usize,
    items: usize,
    training: bool,
    last: Instant,
}

impl Lines {
    fn line(&mut self, text: &str) {
        self.last = Instant::now();
        // A reader that is gone is no reason to stop.
        let _ = writeln!(
            stderr(),
            "{}  epoch {}/{}  {text}",
            self.label,
            self.epoch,
            self.epochs
        );
    }
}

impl TrainingProgressLogger for Lines {
    fn start(&mut self, epochs: usize, first: usize, _items: Option<usize>, _label: Option<&str>) {
        (self.epochs, self.epoch) = (epochs, first);
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn start_split(&mut self, split: &str, items: usize) {
        self.training = split == "train";
        self.items = items;
    }

    fn update_split(&mut self, done: usize) {
        if self.last.elapsed() < PAUSE {
            return;
        }
        let items = self.items;
        let text = match self.log.last_step() {
            Some((loss, ms)) if self.training => {
                format!("row {done}/{items}  loss {loss:.4}  {ms:.0} ms per step")
            }
            _ => format!("validation row {done}/{items}"),
        };
        self.line(&text);
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {}

    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRendererTraining for Lines {
    fn update_train(&mut self, _state: MetricState) {}

    fn update_valid(&mut self, _state: MetricState) {}
}

impl MetricsRenderer for Lines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, _definition: MetricDefinition) {}
}

// The test is not a part of the training.

impl EvaluationProgressLogger for Lines {
    fn start_global_progress(&mut self, _total_tests: usize) {}

    fn start_test(&mut self, _name: &str, _total_items: usize) {}

    fn update_test_progress(&mut self, _items_processed: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRendererEvaluation for Lines {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}
