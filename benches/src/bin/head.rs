//! Time and peak memory of a step of a language model, by the size of its vocabulary and the form of its loss.

use std::process::ExitCode;

use clap::Parser;

/// glibc's allocator gives large blocks back to the system at once and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// With the allocator's own settings: memory that is kept would be counted into the peak.
fn main() -> ExitCode {
    match benches::head::run(&benches::head::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
