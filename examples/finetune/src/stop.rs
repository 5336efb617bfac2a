//! Ctrl-C.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use burn::train::Interrupter;
use programs::err_line;

/// The exit code of a program that Ctrl-C ended at once.
const AT_ONCE: i32 = 130;

/// A wish to stop, which the run in progress hears after its step.
///
/// ```
/// use burn::train::Interrupter;
/// use finetune::stop::Stop;
///
/// let stop = Stop::default();
/// let run = Interrupter::new();
/// stop.attach(&run);
/// stop.request();
/// assert!(stop.requested() && run.should_stop());
/// ```
#[derive(Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    run: Arc<Mutex<Option<Interrupter>>>,
}

impl Stop {
    /// Listen to Ctrl-C and to the signal that asks a program to end; the second time the program
    /// ends at once.
    pub fn listen() -> Self {
        let stop = Self::default();
        let heard = stop.clone();
        let listening = ctrlc::set_handler(move || {
            if heard.requested() {
                exit(AT_ONCE);
            }
            err_line!("\nstopping after this step; once more: at once");
            heard.request();
        });
        if let Err(error) = listening {
            err_line!("warning: Ctrl-C will end the program at once: {error}");
        }
        stop
    }

    /// Ask the run in progress to stop, and those behind it not to start.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
        let run = self
            .run
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(run) = run.as_ref() {
            run.stop(None);
        }
    }

    /// Whether it was asked.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// The run in progress.
    pub fn attach(&self, run: &Interrupter) {
        let mut place = self
            .run
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *place = Some(run.clone());
        drop(place);
        if self.requested() {
            run.stop(None);
        }
    }
}
