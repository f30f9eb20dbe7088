//! What one step of a thread does wrong ends that step, not the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Takes the step. `None`, and a line in the log, where it panicked: whatever it changes, it has to change in single steps
/// that each leave things whole.
pub(crate) fn contained<T>(what: &str, step: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(step)).ok();
    if done.is_none() {
        tracing::error!(what, "a step of the switch panicked, and is left out");
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_panics_is_left_out() {
        assert_eq!(contained("adding", || 1 + 1), Some(2));
        let panicked: Option<()> = contained("failing", || panic!("as if it had a fault"));
        assert_eq!(panicked, None);
    }
}
