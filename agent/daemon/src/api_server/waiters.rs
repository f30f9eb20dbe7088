//! Clients that wait for what may take long: a container's end, more lines of a log. Each keeps a thread, so they are counted, and
//! leave enough of those to everybody else.

use std::sync::Arc;

use agent_api::{ApiError, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::Refusal;

/// The places for those who wait.
#[derive(Clone, Debug)]
pub(super) struct Waiters(Arc<Semaphore>);

impl Default for Waiters {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITERS_MAX)))
    }
}

impl Waiters {
    /// A place, until it is dropped.
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map_err(|_| {
            let why = format!(
                "{WAITERS_MAX} clients wait for containers to end or follow logs already; try again when one of them is done"
            );
            ApiError::new(ErrorKind::Exhausted, why).into()
        })
    }
}

/// The runtime has some more threads than these ([`BLOCKING_THREADS_MAX`]).
const WAITERS_MAX: usize = 512;
/// Threads that wait sleep, and cost their stack.
pub(crate) const BLOCKING_THREADS_MAX: usize = WAITERS_MAX + 128;
