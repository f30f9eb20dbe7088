//! Rules that could not be made are made as soon as they can be, be it that something is to have them or to have them no more.

use std::sync::Arc;
use std::time::Duration;

use super::Filter;

impl Filter {
    /// Tries again, once a second, after a round that failed.
    pub(crate) fn keep_settling(self: &Arc<Self>) {
        let (owed, filter) = (self.owed(), Arc::downgrade(self));
        self.runtime().spawn(async move {
            loop {
                owed.notified().await;
                tokio::time::sleep(SETTLE_AGAIN).await;
                let Some(filter) = filter.upgrade() else {
                    return;
                };
                // It only fails when the agent is shutting down.
                let _ = tokio::task::spawn_blocking(move || filter.settle_again()).await;
            }
        });
    }

    fn settle_again(&self) {
        if !self.stands() && self.settle().is_ok() {
            tracing::info!("the packet filter is as it is to be again");
        }
    }
}

const SETTLE_AGAIN: Duration = Duration::from_secs(1);
