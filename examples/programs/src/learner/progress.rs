//! The progress of a `burn::train` learner.

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

use crate::progress::Progress;

/// Loss and time (in milliseconds) of the last training step, once there is one.
type LastStep = Box<dyn Fn() -> Option<(f64, f64)> + Send + Sync>;

/// A renderer for `burn::train` that shows a [`Progress`].
pub struct LearnerProgress {
    progress: Progress,
    last_step: LastStep,
    epoch: usize,
    items: usize,
    training: bool,
}

impl LearnerProgress {
    /// Show `progress`. `last_step` gives loss and milliseconds of the last training step.
    pub fn new(
        progress: Progress,
        last_step: impl Fn() -> Option<(f64, f64)> + Send + Sync + 'static,
    ) -> Self {
        Self {
            progress,
            last_step: Box::new(last_step),
            epoch: 1,
            items: 0,
            training: false,
        }
    }
}

impl TrainingProgressLogger for LearnerProgress {
    fn start(&mut self, epochs: usize, first: usize, _items: Option<usize>, _label: Option<&str>) {
        self.progress.set_epochs(epochs);
        self.epoch = first;
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn start_split(&mut self, split: &str, items: usize) {
        self.training = split == "train";
        self.items = items;
        if self.training {
            self.progress.epoch(self.epoch, items);
        }
    }

    fn update_split(&mut self, done: usize) {
        if self.training {
            self.progress.trained(done, (self.last_step)());
        } else {
            self.progress.validated(done, self.items);
        }
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {
        self.progress.finish();
    }

    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRendererTraining for LearnerProgress {
    fn update_train(&mut self, _state: MetricState) {}

    fn update_valid(&mut self, _state: MetricState) {}
}

impl MetricsRenderer for LearnerProgress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, _definition: MetricDefinition) {}
}

// The test is not a part of the training.

impl EvaluationProgressLogger for LearnerProgress {
    fn start_global_progress(&mut self, _total_tests: usize) {}

    fn start_test(&mut self, _name: &str, _total_items: usize) {}

    fn update_test_progress(&mut self, _items_processed: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRendererEvaluation for LearnerProgress {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}
