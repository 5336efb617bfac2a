//! Forward and backward of one linear layer under LoRA, as a table and as JSON.

use std::process::ExitCode;

use clap::Parser;

/// glibc's allocator gives large blocks back to the system at once and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Unlike `step`, with the allocator's own settings: a layer in a model takes turns with others,
/// and does not find its last buffers waiting.
fn main() -> ExitCode {
    match benches::layer::run(&benches::layer::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
