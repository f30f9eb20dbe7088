//! What a switch tells its owner.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use switch_core::{Block, PortId, lock};

/// A change the owner of a switch did not ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchEvent {
    /// Nothing will ever come from this port again: its sandbox died, or its station hung up. The port stays attached
    /// until it is removed.
    PortGone(PortId),
    /// Nothing passes this port until further notice.
    PortBlocked(PortId, Block),
    /// Frames pass this port again, which was blocked for that.
    PortUnblocked(PortId, Block),
    /// The switch cannot go on: its owner should end, and start anew.
    Broken,
}

/// Hands events to every subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<SyncSender<SwitchEvent>>>>);

impl Events {
    pub(crate) fn subscribe(&self) -> Receiver<SwitchEvent> {
        let (sender, receiver) = sync_channel(BACKLOG);
        lock(&self.0).push(sender);
        receiver
    }

    /// A subscriber that is [`BACKLOG`] events behind misses this one.
    pub(crate) fn emit(&self, event: SwitchEvent) {
        lock(&self.0).retain(|subscriber| match subscriber.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                tracing::warn!(?event, "a subscriber of switch events does not keep up");
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }
}

/// More than the ports of any host.
const BACKLOG: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_sees_every_event() {
        let events = Events::default();
        let (first, second) = (events.subscribe(), events.subscribe());
        events.emit(SwitchEvent::PortGone(PortId(3)));
        assert_eq!(first.try_recv(), Ok(SwitchEvent::PortGone(PortId(3))));
        assert_eq!(second.try_recv(), Ok(SwitchEvent::PortGone(PortId(3))));
    }
}
