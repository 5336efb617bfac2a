//! The same steps on every device, as a table, as JSON and as a picture.

use std::process::ExitCode;

use clap::Parser;

/// glibc's allocator gives large blocks back to the system at once and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = benches::devices::Args::parse();
    benches::restart::with_kept_memory(|| benches::devices::run(&args))
}
