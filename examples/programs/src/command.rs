//! Parsers of arguments, and the end of a program.

use std::fmt::Display;
use std::process::ExitCode;

use crate::err_line;
use crate::printing::message;

/// Parse a whole number of at least `MIN`.
///
/// ```
/// use programs::command::at_least;
///
/// assert_eq!(at_least::<1>("3"), Ok(3));
/// assert_eq!(at_least::<2>("1"), Err("expected at least 2, found 1".to_string()));
/// ```
///
/// # Errors
///
/// Says what was found and what is expected.
pub fn at_least<const MIN: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= MIN => Ok(number),
        Ok(number) => Err(format!("expected at least {MIN}, found {number}")),
        Err(error) => Err(format!(
            "expected a whole number of at least {MIN}: {error}"
        )),
    }
}

/// Parse a whole number of at least `MIN` and at most `MAX`, for what is kept in memory.
///
/// ```
/// use programs::command::between;
///
/// assert_eq!(between::<1, 10>("3"), Ok(3));
/// assert_eq!(between::<1, 10>("11"), Err("expected 1 to 10, found 11".to_string()));
/// ```
///
/// # Errors
///
/// Says what was found and what is expected.
pub fn between<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        Ok(number) if number < MIN => Err(format!("expected at least {MIN}, found {number}")),
        Ok(number) => Err(format!("expected {MIN} to {MAX}, found {number}")),
        Err(error) => Err(format!(
            "expected a whole number from {MIN} to {MAX}: {error}"
        )),
    }
}

/// Parse a share of a whole, 0 to 1.
///
/// ```
/// use programs::command::share;
///
/// assert_eq!(share("0.9"), Ok(0.9));
/// assert!(share("90").is_err());
/// ```
///
/// # Errors
///
/// Says what was found and what is expected.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(number) => Err(format!("expected a share from 0 to 1, found {number}")),
        Err(error) => Err(format!("expected a share from 0 to 1: {error}")),
    }
}

/// End a program: print an error to standard error, shortened to a readable length, and turn it into this exit
/// code.
///
/// ```
/// use std::process::ExitCode;
/// use programs::command::end;
///
/// let code = end(Err::<(), _>("the disk is full"), 1);
/// assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(1)));
/// ```
pub fn end<E: Display>(outcome: Result<(), E>, code: u8) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            err_line!("error: {}", message(&error));
            ExitCode::from(code)
        }
    }
}
