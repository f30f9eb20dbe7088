//! What becomes of the agent when a part of it panics.
//!
//! # Theory of operation
//!
//! Every panic is one line in the log. What follows is decided where the part was started, so that nothing is half dead
//! (docs/adr has why):
//!
//! - A request of the API is answered with a failure.
//! - A step that somebody's frame led to is left out ([`contained`]), and an edge begins anew ([`crate::edge`]).
//! - A worker of the switch is replaced by the switch.
//! - What runs as long as the agent and has nobody to begin it anew is [`essential`]: the process ends, and whoever started it
//!   starts it again, from what is on record.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread;

/// From now on a panic is a line in the log. Frames of strangers may lead to many: of those beyond the first
/// [`TOLD_ALL`] only some are told.
pub(crate) fn tell() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(log)));
}

fn log(panic: &PanicHookInfo<'_>) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    if count > TOLD_ALL && !count.is_power_of_two() {
        return;
    }
    let message = panic.payload_as_str().unwrap_or_default();
    let message = message.lines().next().unwrap_or_default();
    tracing::error!(
        thread = thread::current().name().unwrap_or_default(),
        at = panic.location().map(tracing::field::display),
        count,
        "panic: {message}"
    );
}

/// Takes a step; `None` if it panicked. Whatever it changes must be whole after each of its parts, or be thrown away.
pub(crate) fn contained<T>(step: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).ok()
}

/// As [`contained`], for what waits in between.
pub(crate) async fn contained_in<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(
        |context| match contained(|| future.as_mut().poll(context)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(output)) => Poll::Ready(Some(output)),
            None => Poll::Ready(None),
        },
    )
    .await
}

/// What the agent cannot do without. It is for a thread of its own.
pub(crate) fn essential(work: impl FnOnce()) {
    if contained(work).is_none() {
        end();
    }
}

/// Ends the process at once: whatever is in order is on record.
pub(crate) fn end() -> ! {
    tracing::error!("the agent ends, and is to be started again; containers go on");
    std::process::exit(FAILED)
}

const TOLD_ALL: u64 = 100;
/// `EX_SOFTWARE` of sysexits(3).
const FAILED: i32 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_panics_is_left_out() {
        assert_eq!(contained(|| 7), Some(7));
        assert_eq!(contained(|| -> u8 { panic!("as if it had a fault") }), None);
    }

    #[tokio::test]
    async fn what_waits_is_contained_between_its_waits() {
        let well = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(contained_in(well).await, Some(7));
        let ill = async {
            tokio::task::yield_now().await;
            panic!("as if it had a fault")
        };
        assert_eq!(contained_in::<_>(ill).await, None::<()>);
    }
}
