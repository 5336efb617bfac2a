//! The boundary of a run: once it has begun, its record says how it ended, whatever ended it.

use std::path::Path;

use programs::err_line;
use programs::guard::Panic;
use programs::printing::message;

use crate::checkpoint::Checkpoints;
use crate::error::Error;
use crate::history::{History, Status};

/// What becomes of a run that ended in any way: its record does not say `running` any more, and all that went
/// wrong after its begin is [`Error::Stopped`] or [`Error::Interrupted`].
pub(crate) fn ended(
    outcome: Result<Result<History, Error>, Panic>,
    begun: bool,
    run: String,
    folder: &Path,
) -> Result<History, Error> {
    let outcome = match outcome {
        Ok(Err(error)) if !begun => return Err(error),
        Err(panic) if !begun => {
            let what = format!("{run} could not begin");
            return Err(Error::Panic { what, panic });
        }
        Ok(outcome) => outcome,
        Err(panic) => Err(Error::Stopped {
            run: run.clone(),
            reason: panic.to_string(),
        }),
    };
    outcome.map_err(|error| match error {
        Error::Stopped { run, reason } => {
            note(folder, Status::Failed, &reason);
            Error::Stopped { run, reason }
        }
        Error::Interrupted { run, reason } => {
            note(folder, Status::Interrupted, &reason);
            Error::Interrupted { run, reason }
        }
        // What cannot be read now cannot be read later.
        Error::Read { .. } => {
            let reason = error.to_string();
            note(folder, Status::Failed, &reason);
            Error::Stopped { run, reason }
        }
        other => {
            let reason = other.to_string();
            note(folder, Status::Interrupted, &reason);
            let kept = Checkpoints::of(folder).kept_in_words();
            let reason = format!("{reason}; {kept}");
            Error::Interrupted { run, reason }
        }
    })
}

/// Note in a record that says `running` why the run does not.
fn note(folder: &Path, status: Status, reason: &str) {
    let noted = History::read(folder).and_then(|mut history| {
        if history.status != Status::Running {
            return Ok(());
        }
        history.status = status;
        history.reason = Some(message(&reason));
        history.write(folder)
    });
    if let Err(error) = noted {
        err_line!("warning: {}", message(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::history;
    use programs::guard::catch;
    use programs::optimizer::optimizer;

    /// The record and the error of a run that ended so.
    fn noted(
        status: Status,
        outcome: Result<Result<History, Error>, Panic>,
    ) -> (Status, Option<String>, Error) {
        let folder = tempfile::tempdir().unwrap();
        let mut run = history(optimizer("ief"), 1, &[(0.5, 1.0)]);
        run.status = status;
        run.write(folder.path()).unwrap();
        let error = ended(outcome, true, run.label(), folder.path()).unwrap_err();
        let run = History::read(folder.path()).unwrap();
        (run.status, run.reason, error)
    }

    #[test]
    fn after_a_panic_the_record_has_the_cause() {
        let panic = catch(|| panic!("no such token")).unwrap_err();
        let (status, reason, error) = noted(Status::Running, Err(panic));
        assert_eq!((status, error.exit_code()), (Status::Failed, 1));
        assert!(reason.unwrap().contains("no such token"));
        assert!(matches!(error, Error::Stopped { .. }), "{error}");
    }

    #[test]
    fn errors_after_the_begin_are_not_refusals() {
        let unread = Error::read("model-3.bpk".as_ref(), "damaged");
        let (status, reason, error) = noted(Status::Running, Ok(Err(unread)));
        assert_eq!((status, error.exit_code()), (Status::Failed, 1));
        assert!(reason.unwrap().contains("model-3.bpk"));
        let unwritten = Error::write("adapter".as_ref(), "the disk is full");
        let (status, _, error) = noted(Status::Running, Ok(Err(unwritten)));
        assert_eq!((status, error.exit_code()), (Status::Interrupted, 1));
        assert!(error.to_string().contains("--resume"), "{error}");
        // The first cause stays.
        let stopped = Error::Stopped {
            run: "a".into(),
            reason: "later".into(),
        };
        let (status, reason, _) = noted(Status::Interrupted, Ok(Err(stopped)));
        assert_eq!((status, reason), (Status::Interrupted, None));
    }

    #[test]
    fn before_the_begin_errors_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let end = |outcome| ended(outcome, false, "run".into(), folder.path()).unwrap_err();
        let refused = end(Ok(Err(Error::config("adapter.rank", 0, "at least 1"))));
        assert!(matches!(refused, Error::Config { .. }));
        let panic = end(Err(catch(|| panic!("no such layer")).unwrap_err()));
        assert_eq!(panic.exit_code(), 2);
        assert!(panic.to_string().contains("run could not begin"), "{panic}");
    }
}
