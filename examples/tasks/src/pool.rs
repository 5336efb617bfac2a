//! Doing runs side by side, each in a process of its own.

use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use programs::{err_line, out_line};

use crate::error::Error;
use crate::plan::{Planned, Wanted, pending};
use crate::record::{Record, Run};
use crate::store::Store;

/// What the workers share.
struct Shared {
    store: Store,
    running: Vec<Run>,
    failed: Vec<(Run, String)>,
    /// A result could not be written: nobody goes on.
    broken: Option<Error>,
    done: usize,
}

/// Do all pending runs, `jobs` at a time, by `work`. A run that fails is left out, and the others go on.
///
/// # Errors
///
/// [`Error::Write`] if a result cannot be written, and [`Error::Failed`] at the end if runs failed.
pub fn work(
    wanted: &Wanted,
    store: Store,
    jobs: usize,
    work: impl Fn(&Planned) -> Result<Record, String> + Sync,
) -> Result<Store, Error> {
    let shared = Mutex::new(Shared {
        store,
        running: Vec::new(),
        failed: Vec::new(),
        broken: None,
        done: 0,
    });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| worker(wanted, &shared, &changed, &work));
        }
    });
    let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = shared.broken {
        return Err(error);
    }
    match shared.failed.first() {
        Some((run, problem)) => Err(Error::Failed {
            count: shared.failed.len(),
            first: format!("{}: {problem}", run.describe()),
        }),
        None => Ok(shared.store),
    }
}

fn worker(
    wanted: &Wanted,
    shared: &Mutex<Shared>,
    changed: &Condvar,
    work: &(impl Fn(&Planned) -> Result<Record, String> + Sync),
) {
    let mut state = lock(shared);
    loop {
        if state.broken.is_some() {
            return;
        }
        let Some(planned) = next(wanted, &state) else {
            if state.running.is_empty() {
                return;
            }
            // A result may make other runs possible.
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.running.push(planned.run.clone());
        drop(state);
        let result = work(&planned);
        state = lock(shared);
        state.running.retain(|run| *run != planned.run);
        match result {
            Ok(record) => {
                state.done += 1;
                let left = pending(wanted, state.store.records()).len() - 1;
                out_line!(
                    "{} (done {}, at least {left} left)",
                    line(&record),
                    state.done
                );
                if let Err(error) = state.store.append(record) {
                    state.broken = Some(error);
                }
            }
            Err(problem) => {
                err_line!("{}: {problem}", planned.run.describe());
                state.failed.push((planned.run, problem));
            }
        }
        changed.notify_all();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(wanted: &Wanted, state: &Shared) -> Option<Planned> {
    let free = |planned: &Planned| {
        let run = &planned.run;
        !state.running.contains(run) && !state.failed.iter().any(|(failed, _)| failed == run)
    };
    pending(wanted, state.store.records())
        .into_iter()
        .find(free)
}

fn line(record: &Record) -> String {
    let result = match (&record.diverged, record.final_train_loss, record.test_score) {
        (None, Some(loss), Some(score)) => {
            format!("loss {loss:.4}, {} {score:.4}", record.score.title())
        }
        _ => "diverged".into(),
    };
    format!(
        "{}: {result}, {:.0} s",
        record.run.describe(),
        record.total_seconds
    )
}

/// Do a run in a child process of this program, on one thread.
///
/// # Errors
///
/// What the child wrote to standard error, or why it could not be started.
pub fn in_child(planned: &Planned, data: &Path) -> Result<Record, String> {
    let program = std::env::current_exe().map_err(|error| Error::Child(error).to_string())?;
    let run = serde_json::to_string(&planned.run).map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .arg("--data")
        .arg(data)
        .arg("--run")
        .arg(run)
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .map_err(|error| Error::Child(error).to_string())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let text = text.trim();
        let text = text.strip_prefix("error: ").unwrap_or(text);
        return Err(if text.is_empty() {
            format!("the process ended with {}", output.status)
        } else {
            text.into()
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let record: Record = serde_json::from_str(text.trim()).map_err(|error| error.to_string())?;
    if record.run != planned.run {
        return Err("the process did another run".into());
    }
    Ok(Record {
        extended: planned.extended,
        ..record
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::record::tests::record;
    use crate::{optimizers, store, tasks};

    fn wanted() -> Wanted {
        Wanted {
            tasks: vec![tasks::named("diamonds").unwrap().definition],
            contenders: ["sgd", "ief"]
                .map(|name| optimizers::named(name).unwrap())
                .to_vec(),
            both_halves: false,
        }
    }

    fn result(planned: &Planned) -> Record {
        let made = record("", "", 0.0, 0);
        let loss = (planned.run.step_size - 0.05).abs();
        Record {
            run: planned.run.clone(),
            extended: planned.extended,
            final_train_loss: Some(loss),
            ..made
        }
    }

    #[test]
    fn workers_share_the_runs_and_wait_for_the_search() {
        let folder = tempfile::tempdir().unwrap();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = |planned: &Planned| {
            let running = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(running, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(3));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(result(planned))
        };
        let store = Store::open(folder.path()).unwrap();
        let store = work(&wanted(), store, 3, run).unwrap();
        assert_eq!(store.records().len(), 5 + 3 + 5);
        drop(store);
        assert_eq!(store::read(folder.path()).unwrap().len(), 13);
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn a_run_that_fails_is_not_recorded_and_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let run = |planned: &Planned| match (planned.run.optimizer.as_str(), planned.run.seed) {
            ("ief", 3) => Err("no memory".to_string()),
            _ => Ok(result(planned)),
        };
        let store = Store::open(folder.path()).unwrap();
        let error = work(&wanted(), store, 2, run).unwrap_err().to_string();
        assert!(
            error.contains("1 run(s) failed") && error.contains("no memory"),
            "{error}"
        );
        let records = store::read(folder.path()).unwrap();
        assert_eq!(records.len(), 12);
        // The next command does it alone.
        let left = pending(&wanted(), &records);
        assert_eq!((left.len(), left[0].run.seed), (1, 3));
    }
}
