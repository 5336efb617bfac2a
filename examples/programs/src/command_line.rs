//! Reading the command line.

use std::process::exit;

use clap::Parser;

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
