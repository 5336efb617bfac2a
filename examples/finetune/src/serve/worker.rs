//! The thread of the model.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use programs::guard;
use tokio::sync::mpsc::UnboundedSender;

use super::api_error::ApiError;
use super::metrics::Metrics;
use super::queue::{Queue, Waiting};
use crate::language::{Answer, AnswerNumbers, AnswerRequest, FinishReason, Language};

/// A request with the way back to its client.
pub(super) struct Job {
    pub request: AnswerRequest,
    /// The field of the body that holds the prompt.
    pub prompt_field: &'static str,
    /// Not bounded, so that a client that reads slowly does not keep the model from others; what is in it is bounded by
    /// the tokens of an answer.
    pub events: UnboundedSender<Event>,
    pub since: Instant,
    pub time_limit: Duration,
}

/// What a client is told.
#[derive(Debug)]
pub(super) enum Event {
    /// The prompt was read.
    Started,
    /// Some text, not empty.
    Piece(String),
    /// The end.
    Done(FinishReason, AnswerNumbers),
    Failed(ApiError),
}

impl Waiting for Job {
    fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }
}

impl Job {
    fn is_late(&self) -> bool {
        self.since.elapsed() > self.time_limit
    }

    /// A client that has left does not hear it.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn fail(&self, error: ApiError) {
        self.tell(Event::Failed(error));
    }

    fn late(&self) -> ApiError {
        ApiError::timeout(self.time_limit)
    }
}

/// Answer what is in the queue until it is closed. Up to `at_once` answers are written in turns, a token each, every one
/// with its own keys and values: none depends on what the others are.
pub(super) fn work(
    language: &Language,
    queue: &Queue<Job>,
    metrics: &Metrics,
    cut: &AtomicBool,
    at_once: usize,
) {
    let mut running: Vec<(Job, Answer<'_>)> = Vec::new();
    loop {
        while running.len() < at_once {
            let job = if running.is_empty() {
                match queue.pop() {
                    Some(job) => job,
                    None => return,
                }
            } else {
                match queue.try_pop() {
                    Some(job) => job,
                    None => break,
                }
            };
            running.extend(begin(language, job, metrics));
            metrics.running(running.len());
        }
        running.retain_mut(|(job, answer)| {
            let Some((how, event)) = step(job, answer, cut.load(Ordering::Relaxed)) else {
                return true;
            };
            // Before the client hears it, so that it finds itself counted.
            metrics.end(how, answer.numbers());
            job.tell(event);
            false
        });
        metrics.running(running.len());
    }
}

fn begin<'a>(language: &'a Language, job: Job, metrics: &Metrics) -> Option<(Job, Answer<'a>)> {
    if job.is_abandoned() {
        return None;
    }
    if job.is_late() {
        job.fail(job.late());
        return None;
    }
    metrics.begin(job.since.elapsed());
    match guard::catch(|| language.start(&job.request)) {
        Ok(Ok(answer)) => {
            job.tell(Event::Started);
            Some((job, answer))
        }
        Ok(Err(error)) => {
            job.fail(ApiError::of_answer(&error, job.prompt_field));
            None
        }
        Err(panic) => {
            job.fail(ApiError::fault(&panic));
            None
        }
    }
}

/// Write one token; returns how the answer has ended, if it has, and what the client is told.
fn step(job: &Job, answer: &mut Answer<'_>, cut: bool) -> Option<(&'static str, Event)> {
    let fault = |problem: &dyn Display| Some(("failed", Event::Failed(ApiError::fault(problem))));
    if job.is_abandoned() {
        // Nobody hears it.
        return Some(("cancelled", Event::Failed(ApiError::stopping())));
    }
    if cut {
        return Some(("cut", Event::Failed(ApiError::stopping())));
    }
    if job.is_late() {
        return Some(("timeout", Event::Failed(job.late())));
    }
    match guard::catch(|| answer.next()) {
        Ok(Some(Ok(piece))) if piece.is_empty() => {}
        Ok(Some(Ok(piece))) => job.tell(Event::Piece(piece)),
        Ok(Some(Err(error))) => return fault(&error),
        Ok(None) => {}
        Err(panic) => return fault(&panic),
    }
    let reason = answer.finish_reason()?;
    Some((reason.name(), Event::Done(reason, answer.numbers())))
}
