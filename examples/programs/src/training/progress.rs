//! How far a run is: one line that is rewritten in a terminal, or a line now and then.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);
/// Letters of the bar.
const WIDTH: usize = 24;

/// Loss and time (in milliseconds) of the last training step, once there is one.
type LastStep = Box<dyn Fn() -> Option<(f64, f64)> + Send + Sync>;

/// A display for `burn::train`, on standard error. In a terminal it rewrites one line; elsewhere it
/// writes a line after the first step and then every ten seconds.
pub struct Progress {
    label: String,
    last_step: LastStep,
    /// Whether one line is rewritten.
    rewrites: bool,
    written: Option<Instant>,
    epochs: usize,
    epoch: usize,
    items: usize,
    training: bool,
}

impl Progress {
    /// A display of the run `label`. `last_step` gives loss and milliseconds of the last training
    /// step.
    pub fn new(
        label: &str,
        last_step: impl Fn() -> Option<(f64, f64)> + Send + Sync + 'static,
    ) -> Self {
        Self {
            label: label.into(),
            last_step: Box::new(last_step),
            rewrites: stderr().is_terminal(),
            written: None,
            epochs: 0,
            epoch: 1,
            items: 0,
            training: false,
        }
    }

    /// Write lines in a terminal too.
    pub fn with_lines(self) -> Self {
        Self {
            rewrites: false,
            ..self
        }
    }

    /// How far the run is, in words.
    fn state(&self, done: usize) -> String {
        let items = self.items;
        match (self.last_step)() {
            Some((loss, ms)) if self.training => {
                format!("row {done}/{items}  loss {loss:.4}  {ms:.0} ms per step")
            }
            _ => format!("validation row {done}/{items}"),
        }
    }

    fn bar(&self, done: usize) -> String {
        let items = self.items.max(1);
        let done = if self.training { done } else { items };
        let passed = (self.epoch.saturating_sub(1) * items + done) as f64;
        let share = passed / (self.epochs * items).max(1) as f64;
        let filled = (share * WIDTH as f64).round() as usize;
        (0..WIDTH)
            .map(|letter| if letter < filled { '█' } else { '·' })
            .collect()
    }

    /// A reader that is gone is no reason to stop.
    fn write(&mut self, done: usize) {
        let (label, epoch, epochs) = (&self.label, self.epoch, self.epochs);
        let mut out = stderr();
        let _ = if self.rewrites {
            // Short, so that a terminal of 80 letters keeps it on one line.
            let (bar, loss) = (
                self.bar(done),
                (self.last_step)().map_or(f64::NAN, |(loss, _)| loss),
            );
            write!(
                out,
                "\r\x1b[2K{label:<14} {bar} epoch {epoch}/{epochs}  loss {loss:.4}"
            )
        } else {
            writeln!(out, "{label}  epoch {epoch}/{epochs}  {}", self.state(done))
        };
        let _ = out.flush();
        self.written = Some(Instant::now());
    }
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
        self.items = items;
    }

    fn update_split(&mut self, done: usize) {
        let due = self
            .written
            .is_none_or(|written| written.elapsed() >= PAUSE);
        if self.rewrites || due {
            self.write(done);
        }
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {
        if self.rewrites {
            let _ = write!(stderr(), "\r\x1b[2K");
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

// The test is not a part of the training.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end() {
        let mut progress = Progress::new("run", || Some((0.5, 12.0)));
        progress.start(2, 1, None, None);
        progress.start_split("train", 10);
        assert_eq!(progress.bar(5).matches('█').count(), WIDTH / 4);
        assert!(progress.state(5).contains("row 5/10  loss 0.5000  12 ms"));
        progress.update_epoch(1);
        assert_eq!(progress.bar(10).matches('█').count(), WIDTH);
        progress.start_split("valid", 4);
        assert_eq!(progress.state(2), "validation row 2/4");
    }
}
