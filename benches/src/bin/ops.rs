//! The operations of burn-flex-fused against Burn's own, as a table and as JSON.

use std::process::ExitCode;

use clap::Parser;

/// glibc's allocator gives large blocks back to the system at once and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = benches::ops::Args::parse();
    benches::restart::with_kept_memory(|| benches::ops::run(&args))
}
