//! Process 1.
use std::process::ExitCode;

/// The program of `init`.
pub fn run_init() -> ExitCode {
    ExitCode::FAILURE
}
