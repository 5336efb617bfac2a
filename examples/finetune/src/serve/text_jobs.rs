//! Texts that are answered at once: vectors and classes.

use programs::guard;
use tokio::sync::oneshot;

use super::api_error::ApiError;
use super::queue::{Queue, Waiting};
use crate::error::Error;

/// Texts with the way back to their client.
pub(super) struct TextJob<I, O> {
    pub texts: Vec<I>,
    pub reply: oneshot::Sender<Result<O, ApiError>>,
}

impl<I, O> Waiting for TextJob<I, O> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Answer what is in the queue until it is closed.
pub(super) fn work<I, O>(queue: &Queue<TextJob<I, O>>, answer: impl Fn(&[I]) -> Result<O, Error>) {
    while let Some(job) = queue.pop() {
        if job.is_abandoned() {
            continue;
        }
        let answered = match guard::catch(|| answer(&job.texts)) {
            Ok(answered) => answered.map_err(|error| ApiError::of_answer(&error, "input")),
            Err(panic) => Err(ApiError::fault(&panic)),
        };
        // A client that has left does not hear it.
        let _ = job.reply.send(answered);
    }
}
