//! What workers tell whoever looks after bridges: who looks for loops, and asks hosts for their groups.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

use switch_core::vlan::Vid;
use switch_core::{Bridge, PortId, Probe};

/// Where a worker tells what it saw. Never waits: what matters is seen again.
#[derive(Clone, Debug)]
pub(crate) struct Lookout(SyncSender<Sighting>);

#[derive(Debug)]
pub(crate) enum Sighting {
    /// Something on this bridge looks like a loop, in that VLAN where it is aware of them.
    Suspicion(Arc<Bridge>, Option<Vid>),
    /// This bridge has something to ask.
    Call(Arc<Bridge>),
    /// A probe of this bridge came back by a port.
    Probe(Arc<Bridge>, Probe, PortId),
    /// A BPDU came by a port that is guarded against them.
    Bpdu(Arc<Bridge>, PortId),
    /// Nobody is to look any more.
    Stop,
}

/// Sightings that nobody has looked at.
#[derive(Debug)]
pub(crate) struct Sightings {
    lookout: Lookout,
    received: Receiver<Sighting>,
}

impl Lookout {
    pub(crate) fn suspect(&self, bridge: &Arc<Bridge>, vlan: Option<Vid>) {
        let _ = self
            .0
            .try_send(Sighting::Suspicion(Arc::clone(bridge), vlan));
    }

    pub(crate) fn call(&self, bridge: &Arc<Bridge>) {
        let _ = self.0.try_send(Sighting::Call(Arc::clone(bridge)));
    }

    pub(crate) fn saw(&self, bridge: &Arc<Bridge>, probe: Probe, by: PortId) {
        let _ = self
            .0
            .try_send(Sighting::Probe(Arc::clone(bridge), probe, by));
    }

    pub(crate) fn saw_bpdu(&self, bridge: &Arc<Bridge>, by: PortId) {
        let _ = self.0.try_send(Sighting::Bpdu(Arc::clone(bridge), by));
    }

    /// Waits until that is queued.
    pub(crate) fn stop(&self) {
        let _ = self.0.send(Sighting::Stop);
    }
}

impl Sightings {
    pub(crate) fn new() -> Self {
        let (sender, received) = sync_channel(WAITING);
        Self {
            lookout: Lookout(sender),
            received,
        }
    }

    pub(crate) fn lookout(&self) -> Lookout {
        self.lookout.clone()
    }

    /// The next sighting; waits for it until `due`, or for as long as it takes.
    pub(crate) fn next_before(&self, due: Option<Instant>) -> Result<Sighting, RecvTimeoutError> {
        match due {
            Some(due) => self
                .received
                .recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self.received.recv().map_err(RecvTimeoutError::from),
        }
    }
}

const WAITING: usize = 64;
