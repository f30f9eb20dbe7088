//! Containers that are held: made for one client, who is to start them, and gone with him until then.
//!
//! # Theory of operation
//!
//! Who makes a container and starts it in a second request may die in between, and nobody else knows of it. So he may ask to
//! hold it: the answer to the first request goes on until the container is started or gone, and a connection that ends before
//! takes the container along. That it is held is on record, since the connection ends with the agent, too: what was held
//! then is removed at the next start.

use std::convert::Infallible;
use std::sync::Arc;

use agent_core::find::Find;
use tokio::sync::oneshot;

use super::Containers;
use crate::locks::lock;

/// The container's side of a hold. The last copy's end is the hold's.
pub(super) type Holder = Arc<oneshot::Sender<Infallible>>;

/// Takes the container along when it goes, unless that was started.
pub(crate) struct Hold {
    containers: Arc<Containers>,
    id: String,
    over: Option<oneshot::Receiver<Infallible>>,
}

pub(super) fn hold() -> (Holder, oneshot::Receiver<Infallible>) {
    let (holder, over) = oneshot::channel();
    (Arc::new(holder), over)
}

impl Hold {
    pub(super) fn new(
        containers: Arc<Containers>,
        id: String,
        over: oneshot::Receiver<Infallible>,
    ) -> Self {
        Self {
            containers,
            id,
            over: Some(over),
        }
    }

    /// Ends when the container is started or gone; asked for once.
    pub(crate) fn over(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let over = self.over.take();
        async move {
            if let Some(over) = over {
                let _ = over.await;
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.containers.is_held(&self.id) {
            return;
        }
        let (containers, id) = (Arc::clone(&self.containers), self.id.clone());
        let runtime = self.containers.ground.runtime.clone();
        runtime.spawn_blocking(move || containers.let_go(&id));
    }
}

impl Containers {
    fn is_held(&self, id: &str) -> bool {
        self.get(id).is_some_and(|found| found.record.is_held())
    }

    /// Removes a container that is still held.
    pub(crate) fn let_go(&self, id: &str) {
        let turn = self.turns.take(id.to_owned());
        if self.is_held(id) {
            tracing::info!(container = id, "its client went before it was started");
            self.discard(&turn);
        }
    }

    /// Removes all that are held: their clients lose the agent.
    pub(crate) fn let_all_go(&self) {
        let held = self
            .all()
            .into_iter()
            .filter(|found| found.record.is_held());
        for container in held {
            self.let_go(&container.record.id);
        }
    }

    /// Nobody holds it from now on. It is on record with the start that comes now.
    pub(super) fn take_over(&self, id: &str, called: &str) -> Result<(), Find> {
        let _turn = self.turns.take(id.to_owned());
        let mut table = lock(&self.table);
        let container = table.get_mut(id);
        let container = container.ok_or_else(|| Find::NoContainer(called.to_owned()))?;
        container.record.held = false;
        container.holder = None;
        Ok(())
    }
}
