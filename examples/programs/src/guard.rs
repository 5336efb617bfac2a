//! A boundary around work that may panic, so that a panic ends as an error with its cause.
//!
//! Programs check their input before they use it. A panic behind these checks is a fault of the program or of a
//! library; it must not leave a record that says `running` for ever, or keep other runs from running.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Panics since the last call of [`catch`], in any thread.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Panics that a message names: the first is the cause, later ones are its consequences.
const SHOWN: usize = 2;

/// A panic.
///
/// ```
/// use programs::guard::catch;
///
/// let panic = catch(|| -> u32 { panic!("no such row") }).unwrap_err();
/// assert!(panic.to_string().contains("no such row"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the program failed ({message}); this is a fault of the program, please report it")]
pub struct Panic {
    /// What it said and, where [`keep_messages`] was called, where it happened.
    pub message: String,
}

/// Keep the messages of panics for [`catch`] instead of printing them. For the start of a program all of whose
/// work is inside of [`catch`].
pub fn keep_messages() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let message = text(info.payload());
            let place = info.location().map(|place| format!(", {place}"));
            seen().push(format!("{message}{}", place.unwrap_or_default()));
        }));
    });
}

/// Do something; a panic becomes an error.
///
/// # Errors
///
/// [`Panic`].
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    seen().clear();
    // What the work has borrowed is not used after a panic, or guards itself (a poisoned lock).
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let seen = std::mem::take(&mut *seen());
        Panic {
            message: if seen.is_empty() {
                text(&*payload)
            } else {
                seen[..seen.len().min(SHOWN)].join("; then ")
            },
        }
    })
}

fn seen() -> MutexGuard<'static, Vec<String>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a panic says.
fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_of_all_threads_are_caught_with_their_words() {
        assert_eq!(catch(|| 3), Ok(3));
        let panic = catch(|| -> () {
            let work = std::thread::spawn(|| panic!("row {} is not there", 7));
            let Err(payload) = work.join();
            panic::resume_unwind(payload);
        });
        let text = panic.unwrap_err().to_string();
        assert!(text.contains("row 7 is not there"), "{text}");
    }
}
