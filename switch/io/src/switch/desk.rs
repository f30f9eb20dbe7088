//! Who reads which port: additions, removals and moves, one at a time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use switch_core::{Bridge, PortConfig, PortId, lock};

use super::registry::Registry;
use crate::error::AddPort;
use crate::events::{Events, SwitchEvent};
use crate::frame_port::FramePort;
use crate::port::Port;
use crate::worker::WorkerHandle;

/// The workers and the ports they have been given.
#[derive(Debug)]
pub(super) struct Desk {
    workers: Vec<WorkerHandle>,
    pub(super) registry: Registry,
    events: Events,
    /// Held by who changes anything.
    turn: Mutex<()>,
}

impl Desk {
    pub(super) fn new(workers: Vec<WorkerHandle>, registry: Registry, events: Events) -> Self {
        Self {
            workers,
            registry,
            events,
            turn: Mutex::new(()),
        }
    }

    pub(super) fn add(
        &self,
        bridge: &Arc<Bridge>,
        port: Box<dyn FramePort>,
        config: PortConfig,
    ) -> Result<PortId, AddPort> {
        let _turn = lock(&self.turn);
        let (id, reader) = self.registry.next().ok_or(AddPort::Exhausted)?;
        port.attached(id);
        let port = Arc::new(Port::new(
            id,
            port,
            Arc::clone(bridge),
            config,
            self.workers.len(),
        ));
        for worker in &self.workers {
            worker
                .attach(Arc::clone(&port))
                .map_err(|_| AddPort::WorkerStopped)?;
        }
        bridge.add_port(id, config);
        self.registry.insert(Arc::clone(&port), reader);
        if let Err(error) = self.workers[reader].listen(id) {
            drop(self.detach(id));
            return Err(AddPort::Watch(error));
        }
        Ok(id)
    }

    /// The last hold on the port, if there was one.
    pub(super) fn remove(&self, id: PortId) -> Option<Arc<Port>> {
        let _turn = lock(&self.turn);
        self.detach(id)
    }

    pub(super) fn move_port(&self, id: PortId, worker: usize) {
        let _turn = lock(&self.turn);
        if let Some(reader) = self.registry.reader(id)
            && reader != worker
            && worker < self.workers.len()
        {
            self.give(id, reader, worker);
        }
    }

    /// Hands some of what `worker` reads to the one that reads least. Whether there was something to hand.
    pub(super) fn relieve(&self, worker: usize) -> bool {
        let _turn = lock(&self.turn);
        let Some((helper, ports)) = self.registry.relief(worker) else {
            return false;
        };
        for id in &ports {
            self.give(*id, worker, helper);
        }
        !ports.is_empty()
    }

    /// The CPU time that all workers have used.
    pub(super) fn worked(&self) -> Duration {
        self.workers.iter().map(WorkerHandle::worked).sum()
    }

    /// Hands everything back to the first worker.
    pub(super) fn gather(&self) {
        let _turn = lock(&self.turn);
        for (id, reader) in self.registry.strays() {
            self.give(id, reader, 0);
        }
    }

    /// The port is read by `to` instead of `from`; one that cannot be is as good as gone.
    fn give(&self, id: PortId, from: usize, to: usize) {
        let listening = self.workers[from]
            .release(id)
            .and_then(|()| self.workers[to].listen(id));
        self.registry.moved(id, to);
        if let Err(error) = listening {
            tracing::error!(port = id.0, %error, "a port cannot be read by another worker");
            self.events.emit(SwitchEvent::PortGone(id));
        }
    }

    fn detach(&self, id: PortId) -> Option<Arc<Port>> {
        let port = self.registry.remove(id)?;
        port.bridge.remove_port(id);
        let pending: Vec<_> = self
            .workers
            .iter()
            .filter_map(|worker| worker.detach(id))
            .collect();
        for confirmation in pending {
            // A worker that stopped has dropped its ports.
            let _ = confirmation.recv();
        }
        Some(port)
    }
}
