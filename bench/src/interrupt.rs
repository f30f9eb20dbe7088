//! Ctrl-C: everything that waits looks here, gives up, and what it had made is removed on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::trouble::Trouble;

/// From now on SIGINT, SIGTERM and SIGHUP only leave a note.
pub(crate) fn watch() -> Result<(), Trouble> {
    let failed = || Trouble::io("cannot watch for signals");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed())?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed())?;
    drop(guard);
    let wait = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {},
                    _ = terminate.recv() => {},
                    _ = hangup.recv() => {},
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map_err(failed())?;
    Ok(())
}

/// An error once a signal has come.
pub(crate) fn check() -> Result<(), Trouble> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err(Trouble::Interrupted);
    }
    Ok(())
}

/// Sleeps, but not through a signal.
pub(crate) fn pause(length: Duration) -> Result<(), Trouble> {
    let end = Instant::now() + length;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(STEP));
    }
}

/// Tries until `attempt` gives something.
pub(crate) fn eventually<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<Option<T>, Trouble>,
) -> Result<T, Trouble> {
    let deadline = Instant::now() + limit;
    loop {
        check()?;
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Trouble::Late {
                what: what.to_owned(),
                limit,
            });
        }
        sleep(Duration::from_millis(5));
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const STEP: Duration = Duration::from_millis(50);
