//! Asks hosts for the groups that they listen to, when a bridge says so.
//!
//! # Theory of operation
//!
//! A bridge that snoops says when it has questions and which. It is called here when that is earlier than before: by a worker
//! that had a report, and by whoever attached a port. A call that found no room is made good by the ager.
//! Where no bridge snoops there is nothing to wait for.

use std::sync::{Arc, Weak};

use switch_core::{Bridge, Time, VnetHeader};

use super::desk::Desk;

/// The bridges that ever had something to ask.
#[derive(Debug, Default)]
pub(super) struct Rounds(Vec<Asking>);

#[derive(Debug)]
struct Asking {
    bridge: Weak<Bridge>,
    due: Option<Time>,
}

impl Rounds {
    /// The bridge has something to ask.
    pub(super) fn begin(&mut self, bridge: &Arc<Bridge>) {
        let is_it = |known: &&mut Asking| std::ptr::eq(known.bridge.as_ptr(), Arc::as_ptr(bridge));
        let due = bridge.queries_due();
        match self.0.iter_mut().find(is_it) {
            Some(known) => known.due = due,
            None => self.0.push(Asking {
                bridge: Arc::downgrade(bridge),
                due,
            }),
        }
    }

    /// When [`Self::ask`] is due.
    pub(super) fn due(&self) -> Option<Time> {
        self.0.iter().filter_map(|known| known.due).min()
    }

    /// Sends what is due.
    pub(super) fn ask(&mut self, desk: &Desk, now: Time) {
        self.0.retain_mut(|known| {
            let Some(bridge) = known.bridge.upgrade() else {
                return false;
            };
            if known.due.is_some_and(|due| due <= now) {
                send(desk, &bridge, now);
                known.due = bridge.queries_due();
            }
            true
        });
    }
}

/// What is not taken is lost: each question is asked twice.
fn send(desk: &Desk, bridge: &Bridge, now: Time) {
    for (id, frame) in bridge.take_queries(now) {
        for port in desk.registry.ports(&[id]) {
            let envelope = [&VnetHeader::NONE.to_bytes()[..], &frame].concat();
            if !port.is_down() {
                port.device.write(&[&envelope]);
            }
        }
    }
}
