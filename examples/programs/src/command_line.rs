//! Reading the command line.

use std::process::exit;

use clap::Parser;

use crate::command::at_least;
use crate::printing::{message, to_stderr};

/// The arguments of the program. Where they do not fit, the program ends with exit code 2 and a message that is
/// as short as all others, however long the argument is.
pub fn parse<T: Parser>() -> T {
    T::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() {
            // Help and version: as long as they are.
            error.exit();
        }
        let text = error.render();
        if text.to_string() == message(&text) {
            // Clap ignores a closed standard error, and colours a terminal.
            let _ = error.print();
        } else {
            to_stderr(format_args!("{}\n", message(&text)));
        }
        exit(error.exit_code())
    })
}

/// Parse a whole number from `MIN` to `MAX`.
///
/// ```
/// use programs::command_line::between;
///
/// assert_eq!(between::<2, 9>("9"), Ok(9));
/// assert_eq!(between::<2, 9>("1"), Err("expected at least 2, found 1".to_string()));
/// assert_eq!(between::<2, 9>("10"), Err("expected at most 9, found 10".to_string()));
/// ```
///
/// # Errors
///
/// Says what was found and what is expected.
pub fn between<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    match at_least::<MIN>(text)? {
        number if number > MAX => Err(format!("expected at most {MAX}, found {number}")),
        number => Ok(number),
    }
}
