//! One line of progress in a terminal, nothing elsewhere.

use std::io::{IsTerminal, Write, stderr};

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

use crate::fit::Log;

/// A renderer for `burn::train` that rewrites one line of standard error.
///
/// Without a terminal it prints nothing: the program prints a line for each run.
pub(crate) struct Progress {
    label: String,
    log: Log,
    epochs: usize,
    epoch: usize,
    items: usize,
    training: bool,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(label: &str, log: Log) -> Self {
        Self {
            label: label.to_string(),
            log,
            epochs: 0,
            epoch: 1,
            items: 0,
            training: false,
            terminal: stderr().is_terminal(),
        }
    }

    fn draw(&self, done: usize) {
        const WIDTH: usize = 24;
        if !self.terminal {
            return;
        }
        let items = self.items.max(1);
        let share = (self.epoch.saturating_sub(1) * items + done) as f64
            / (self.epochs * items).max(1) as f64;
        let filled = (share * WIDTH as f64).round() as usize;
        let bar: String = (0..WIDTH)
            .map(|i| if i < filled { '█' } else { '·' })
            .collect();
        let loss = self.log.lock().losses.last().copied().unwrap_or(f64::NAN);
        let Self {
            label,
            epoch,
            epochs,
            ..
        } = self;
        line(&format!(
            "{label:<14} {bar} epoch {epoch}/{epochs}  loss {loss:.4}"
        ));
    }
}

/// Rewrite the line; a terminal that is gone is no reason to stop.
fn line(text: &str) {
    let mut out = stderr();
    let _ = write!(out, "\r\x1b[2K{text}");
    let _ = out.flush();
}

impl TrainingProgressLogger for Progress {
    fn start(&mut self, epochs: usize, first: usize, _items: Option<usize>, _label: Option<&str>) {
        (self.epochs, self.epoch) = (epochs, first);
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn start_split(&mut self, split: &str, items: usize) {
        self.training = split == "train";
        if self.training {
            self.items = items;
        }
    }

    fn update_split(&mut self, items_processed: usize) {
        if self.training {
            self.draw(items_processed);
        }
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {
        if self.terminal {
            line("");
        }
    }

    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRendererTraining for Progress {
    fn update_train(&mut self, _state: MetricState) {}

    fn update_valid(&mut self, _state: MetricState) {}
}

impl MetricsRenderer for Progress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, _definition: MetricDefinition) {}
}

// Evaluations are not part of a run.

impl EvaluationProgressLogger for Progress {
    fn start_global_progress(&mut self, _total_tests: usize) {}

    fn start_test(&mut self, _name: &str, _total_items: usize) {}

    fn update_test_progress(&mut self, _items_processed: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRendererEvaluation for Progress {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}
