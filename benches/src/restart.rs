//! Measuring with freed memory kept by the allocator.

use std::process::{Command, ExitCode};

/// mimalloc's setting for when freed memory goes back to the system. By default it goes after
/// 10 ms, well within a step, and a method that needs larger blocks pays page faults for it that
/// have nothing to do with its work: LoRA SF, M = 32, takes 1.9 times an SGD step when freed
/// memory is kept and 2.5 to 2.9 times when it is not.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Run `measure` in a process that keeps freed memory: this one if it was started so, else a new
/// one of the same program, as the allocator reads its settings at the start of a process. Set
/// `MIMALLOC_PURGE_DELAY` yourself to measure with another value.
pub fn with_kept_memory(measure: impl FnOnce() -> Result<(), String>) -> ExitCode {
    if std::env::var_os(PURGE_DELAY).is_none() {
        return again();
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn again() -> ExitCode {
    let program = std::env::current_exe();
    let status = program.and_then(|program| {
        Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(PURGE_DELAY, "-1")
            .status()
    });
    match status.map(|status| status.code()) {
        Ok(Some(0)) => ExitCode::SUCCESS,
        Ok(code) => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: cannot start the measurement: {error}");
            ExitCode::from(2)
        }
    }
}
