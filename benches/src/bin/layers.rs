//! What recording costs, layer by layer, as a table and as JSON.

use std::process::ExitCode;

use clap::Parser;

/// glibc's allocator gives large blocks back to the system at once and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = benches::layers::Args::parse();
    benches::restart::with_kept_memory(|| benches::layers::run(&args))
}
