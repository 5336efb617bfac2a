//! Requests that wait for the model.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A queue of at most so many jobs.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    most: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    is_open: bool,
}

/// A job whose client may leave while it waits.
pub(super) trait Waiting {
    fn is_abandoned(&self) -> bool;
}

/// Why a job was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

impl<T: Waiting> Queue<T> {
    pub fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                is_open: true,
            }),
            changed: Condvar::new(),
            most,
        }
    }

    /// Take a job in. Abandoned jobs give their places to others.
    pub fn push(&self, job: T) -> Result<(), Refused> {
        let mut state = self.state();
        if !state.is_open {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= self.most {
            state.waiting.retain(|job| !job.is_abandoned());
        }
        if state.waiting.len() >= self.most {
            return Err(Refused::Full);
        }
        state.waiting.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// The next job, if one waits.
    pub fn try_pop(&self) -> Option<T> {
        self.state().waiting.pop_front()
    }

    /// The next job, as soon as there is one; `None` if none will come.
    pub fn pop(&self) -> Option<T> {
        let state = self.state();
        let waits = |state: &mut State<T>| state.is_open && state.waiting.is_empty();
        let state = self.changed.wait_while(state, waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop_front()
    }

    /// Take no more jobs, and drop those that wait.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_open = false;
        let dropped = std::mem::take(&mut state.waiting);
        self.changed.notify_all();
        drop(state);
        drop(dropped);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(u32, bool);

    impl Waiting for Number {
        fn is_abandoned(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn a_full_queue_refuses_unless_somebody_left() {
        let queue = Queue::new(2);
        assert_eq!(queue.push(Number(1, false)), Ok(()));
        assert_eq!(queue.push(Number(2, true)), Ok(()));
        assert_eq!(queue.push(Number(3, false)), Ok(()));
        assert_eq!(queue.push(Number(4, false)), Err(Refused::Full));
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.try_pop().unwrap().0, 1);
        assert_eq!(queue.pop().unwrap().0, 3);
        assert!(queue.try_pop().is_none());
    }

    #[test]
    fn closing_ends_the_wait() {
        let queue = Queue::new(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.pop().is_none());
            queue.close();
            assert!(waiting.join().unwrap());
        });
        assert_eq!(queue.push(Number(1, false)), Err(Refused::Closed));
    }
}
