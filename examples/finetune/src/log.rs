//! What the model, the learner and the display of a run share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use burn::train::Interrupter;
use programs::learner::StepLog;
use programs::memory;

use crate::error::Error;
use crate::history::{Epoch, History, Scores};
use crate::metric::{Metric, Pairs};
use crate::model::Outcome;
use crate::step_files;

/// The record of a run in the making.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<State>>);

struct State {
    history: History,
    folder: PathBuf,
    metrics: Vec<Metric>,
    stop: Interrupter,
    started: Option<Instant>,
    /// Loss and weight of the batches of this step.
    batches: Vec<(f64, f64)>,
    answers: Answers,
    /// Why the run cannot go on, and whether it could if the cause were fixed.
    failure: Option<(String, bool)>,
}

/// What the model answers in validation or test.
#[derive(Default)]
pub(crate) struct Answers {
    pairs: Pairs,
    loss: f64,
    /// Samples, or tokens of language models.
    weight: usize,
}

impl Answers {
    /// What it makes of a batch.
    pub fn add(&mut self, outcome: &Outcome) {
        let weight = outcome.weight();
        let loss: f64 = outcome.loss.clone().into_scalar::<f32>().into();
        self.pairs.extend(outcome.pairs());
        self.loss += loss * weight as f64;
        self.weight += weight;
    }

    /// Mean loss and metrics.
    pub fn scores(&self, metrics: &[Metric], labels: &[String]) -> Scores {
        let metrics = metrics.iter();
        let loss = self.loss / self.weight.max(1) as f64;
        Scores {
            loss,
            metrics: metrics
                .map(|metric| {
                    let score = metric.score(&self.pairs, labels, loss);
                    (metric.name().to_string(), score)
                })
                .collect(),
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    pub fn new(history: History, folder: &Path, metrics: Vec<Metric>, stop: Interrupter) -> Self {
        Self(Arc::new(Mutex::new(State {
            history,
            folder: folder.into(),
            metrics,
            stop,
            started: None,
            batches: Vec::new(),
            answers: Answers::default(),
            failure: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A copy of the record.
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// Why the run cannot go on, and whether it could if the cause were fixed.
    pub fn failure(&self) -> Option<(String, bool)> {
        self.lock().failure.clone()
    }

    /// Stop the run: it came to nothing, or (`can_go_on`) something outside must be fixed.
    pub fn fail(&self, reason: &str, can_go_on: bool) {
        let mut state = self.lock();
        state.stop.stop(Some(reason));
        state
            .failure
            .get_or_insert_with(|| (reason.into(), can_go_on));
    }

    /// Loss of the last step, and its time in milliseconds.
    pub fn last_step(&self) -> Option<(f64, f64)> {
        let state = self.lock();
        let history = &state.history;
        let loss = history.losses.last().copied();
        loss.zip(history.milliseconds.last().copied())
    }

    /// Scores of the answers since the last call.
    pub fn scores(&self) -> Scores {
        let mut state = self.lock();
        let answers = std::mem::take(&mut state.answers);
        answers.scores(&state.metrics, &state.history.labels)
    }

    /// An epoch is over: note its scores and write the record.
    pub fn end_epoch(&self) -> Result<(), Error> {
        let valid = self.scores();
        if !valid.loss.is_finite() {
            let reason = format!("the validation loss is {}", valid.loss);
            self.fail(&reason, false);
            return Ok(());
        }
        let mut state = self.lock();
        let history = &mut state.history;
        let first = history.epochs.len() * history.rounds().steps;
        let losses = &history.losses[first.min(history.losses.len())..];
        let train_loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        history.epochs.push(Epoch { train_loss, valid });
        history.best_epoch = history.best_of(history.epochs.len());
        let folder = state.folder.clone();
        state.history.write(&folder)?;
        step_files::write(&folder, &state.history)
    }

    /// Whether `patience` epochs went by without a better one.
    pub fn out_of_patience(&self, patience: usize) -> bool {
        let mut state = self.lock();
        let history = &mut state.history;
        let since = history.epochs.len() - history.best_epoch.unwrap_or(0);
        history.stopped_early = patience > 0 && since >= patience;
        history.stopped_early
    }

    /// Change the record.
    pub fn change(&self, with: impl FnOnce(&mut History)) {
        with(&mut self.lock().history);
    }

    /// Write the record.
    pub fn write(&self) -> Result<(), Error> {
        let state = self.lock();
        state.history.write(&state.folder)
    }
}

impl StepLog<Outcome> for Log {
    fn start_step(&self) {
        let mut state = self.lock();
        if state.history.losses.is_empty() {
            memory::reset_peak();
        }
        state.started.get_or_insert_with(Instant::now);
    }

    fn loss(&self, outcome: &Outcome, loss: f64) {
        let step = {
            let mut state = self.lock();
            if loss.is_finite() {
                state.batches.push((loss, outcome.weight() as f64));
                return;
            }
            state.started = None;
            state.batches.clear();
            state.history.losses.len() + 1
        };
        self.fail(
            &format!("the training loss of step {step} is {loss}"),
            false,
        );
    }

    fn end_step(&self) {
        let mut state = self.lock();
        if let Some(started) = state.started.take() {
            let elapsed = started.elapsed().as_secs_f64() * 1e3;
            state.history.milliseconds.push(elapsed);
            let batches = std::mem::take(&mut state.batches);
            let weight: f64 = batches.iter().map(|(_, weight)| weight).sum();
            let sum: f64 = batches.iter().map(|(loss, weight)| loss * weight).sum();
            state.history.losses.push(sum / weight);
            // Later the peak holds checkpoints and validation too.
            if state.history.epochs.is_empty() {
                state.history.peak_memory_mib = memory::peak_mib();
            }
        }
    }

    fn evaluated(&self, outcome: &Outcome) {
        self.lock().answers.add(outcome);
    }
}
