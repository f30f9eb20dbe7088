//! Calls that may panic on what a disk returns.
//!
//! redb checks what it reads, and asserts some of what it takes for proven. Where a file contradicts that, the assertion is an
//! error of the file, and nobody shall read a panic's text about it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// The file contradicts itself.
#[derive(Debug)]
pub(super) struct Contradiction;

/// Runs `work`, silently should it panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Contradiction> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| match GUARDED.get() {
            true => tracing::debug!(%panic, "the state file contradicts itself"),
            false => before(panic),
        }));
    });
    let before = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done.map_err(|_| Contradiction)
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}
