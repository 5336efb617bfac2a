//! Step cost and peak memory of every method, as a table and as JSON.

use std::process::ExitCode;

use clap::Parser;

/// glibc's allocator gives large blocks back to the system at once and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match benches::run(&benches::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
