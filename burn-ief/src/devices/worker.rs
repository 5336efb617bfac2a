//! A thread that keeps one replica.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use burn::tensor::Device;

use crate::error::Error;
use crate::host::{Watches, device_failed, device_name};

/// Work with the replica.
type Job<M> = Box<dyn FnOnce(&mut M) + Send>;

/// A thread that keeps one replica. It ends when the worker is dropped.
pub(super) struct Worker<M> {
    device: Device,
    jobs: Option<Sender<Job<M>>>,
    thread: Option<JoinHandle<()>>,
    /// Whether it missed a deadline: its thread is not waited for.
    stuck: bool,
}

/// The answer of a worker that is not there yet.
pub(super) struct Pending<T> {
    device: Device,
    answer: Receiver<Result<T, Error>>,
}

impl<M: Send + 'static> Worker<M> {
    pub fn start(device: Device, mut replica: M) -> Self {
        let (jobs, received) = mpsc::channel::<Job<M>>();
        let thread = thread::spawn(move || {
            while let Ok(job) = received.recv() {
                job(&mut replica);
            }
        });
        Self {
            device,
            jobs: Some(jobs),
            thread: Some(thread),
            stuck: false,
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Run `work` with the replica. What it reads counts for the watches of the calling thread.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut M) -> Result<T, Error> + Send + 'static,
    ) -> Pending<T> {
        let (sender, answer) = mpsc::channel();
        let watches = Watches::of_this_thread();
        let device = self.device.clone();
        let job: Job<M> = Box::new(move |replica| {
            // A replica that a panic leaves half done is not used: the step fails.
            let work = AssertUnwindSafe(|| watches.count(|| work(replica)));
            let answer = panic::catch_unwind(work);
            let answer = answer.unwrap_or_else(|cause| Err(device_failed(&device, &*cause)));
            // Nobody waits any longer after a deadline.
            let _ = sender.send(answer);
        });
        if let Some(jobs) = &self.jobs {
            // Without the thread there is no answer, which is reported where it is waited for.
            let _ = jobs.send(job);
        }
        Pending {
            device: self.device.clone(),
            answer,
        }
    }

    /// Wait for an answer, at most until the deadline after `start`.
    pub fn wait<T>(
        &mut self,
        pending: Pending<T>,
        start: Instant,
        deadline: Option<Duration>,
    ) -> Result<T, Error> {
        let answer = match deadline {
            Some(deadline) => {
                let left = deadline.saturating_sub(start.elapsed());
                pending.answer.recv_timeout(left)
            }
            None => pending.answer.recv().map_err(RecvTimeoutError::from),
        };
        match answer {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                self.stuck = true;
                Err(Error::Deadline {
                    device: device_name(&pending.device),
                    seconds: deadline.unwrap_or_default().as_secs_f64(),
                })
            }
            Err(RecvTimeoutError::Disconnected) => Err(Error::Device {
                device: device_name(&pending.device),
                reason: "the thread of its replica ended".into(),
            }),
        }
    }
}

impl<M> Drop for Worker<M> {
    fn drop(&mut self) {
        self.jobs = None;
        if let (Some(thread), false) = (self.thread.take(), self.stuck) {
            // A panic was reported as the error of the step.
            let _ = thread.join();
        }
    }
}
