//! The `steadfast` binary.

use std::process::ExitCode;

/// One allocator for the Rust and the C++ side.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    steadfast::cli::main()
}
