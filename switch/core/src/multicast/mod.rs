//! Who listens to which multicast group, and who is asked.
//!
//! # Theory of operation
//!
//! A bridge floods multicast, and [`listeners`] only decides what of it counts as a storm. One that *snoops* (RFC 4541)
//! sends a frame for a group to the ports behind which somebody asked for it, and to multicast routers. The parts:
//!
//! - [`message`] reads reports, leaves and queries; [`record`] is what the hosts behind one port want of one group, and [`table`] has
//!   all records, with their bounds.
//! - [`lists`] are what forwarding reads. They are made anew when a record lets other frames pass than before.
//! - [`seat`] has what is known of each port: whether a router is behind it, and whether it gets everything. A port gets everything from
//!   when it is attached until the hosts behind it have had time to answer. So nothing is lost when ports come, and after a restart of the
//!   process, when all of them come at once and the table is empty.
//! - [`election`] says who asks: the querier with the lowest address (RFC 3376 §6.6.2). [`query`] writes the questions, and
//!   [`rounds`] says when which is due. Sending them is the caller's.
//!
//! Reports go to routers, and over tunnels, never to other listeners, who would keep silent if they heard them.
//!
//! *Between hosts* each bridge asks its own stations, and hears by tunnels what other hosts' stations answer theirs. Its
//! queries do not cross tunnels, because every host has the same gateway, and none of them would be another's querier. So the
//! bridge that hears a leave asks all its stations that listen to the group, in order that others hear what is left; one that
//! hears a leave by a tunnel waits for that. Only a tunnel that is new is asked, in nobody's name ([`query::Asker::NOBODY`]).
//!
//! *In VLANs* all of this is each VLAN's own: groups, routers, queriers, counts ([`in_vlans`]). They share the room that there is
//! ([`room`]). A network that knows no VLANs is as one of them.
//!
//! Reports change the table under a lock, on the worker that has them. Frames of groups take none.

mod address;
mod counts;
mod election;
mod in_vlans;
mod inquiry;
mod listeners;
mod lists;
mod message;
mod query;
mod record;
mod room;
mod rounds;
mod seat;
mod snoopers;
mod state;
mod table;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

pub use self::address::Family;
pub(crate) use self::address::{Address, Reach};
pub use self::counts::MulticastCounts;
pub(crate) use self::listeners::Listeners;
pub(crate) use self::lists::{Fixed, List, Lists};
pub use self::message::Dialect;
pub(crate) use self::message::{Message, Read, read};
pub(crate) use self::query::Asker;
pub use self::record::FilterMode;
use self::room::Room;
pub(crate) use self::snoopers::{Query, Snoopers};
use self::state::State;
pub(crate) use self::table::GroupKey;
pub use self::view::{Access, MulticastView, QuerierView, RecordView, RouterView, Told};
use crate::{PortConfig, PortId, Time, lock};

/// How a bridge snoops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnoopingConfig {
    /// A sandbox that leaves a group is not asked whether it means it.
    pub fast_leave: bool,
}

/// The groups of a bridge that snoops, or of one of its VLANs.
#[derive(Debug)]
pub(crate) struct Snooper {
    state: Mutex<State>,
    lists: ArcSwap<Lists>,
    common: Common,
}

/// What the VLANs of a bridge have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    room: Arc<Room>,
    /// Something is due earlier than whoever asks was told.
    call: Arc<AtomicBool>,
}

impl Common {
    /// The same, for itself.
    fn copy(&self) -> Self {
        Self {
            room: Arc::new(self.room.copy()),
            call: Arc::default(),
        }
    }

    #[inline]
    fn take_call(&self) -> bool {
        self.call.load(Ordering::Relaxed) && self.call.swap(false, Ordering::Relaxed)
    }
}

/// A message about groups, and where it came from.
pub(crate) struct Heard<'a> {
    pub(crate) port: PortId,
    pub(crate) from: crate::Mac,
    /// The bridge's own name.
    pub(crate) own: Asker,
    pub(crate) dialect: Dialect,
    pub(crate) message: Message<'a>,
}

impl Snooper {
    fn new(config: SnoopingConfig, common: Common) -> Self {
        Self {
            state: Mutex::new(State::new(config, Arc::clone(&common.room))),
            lists: ArcSwap::default(),
            common,
        }
    }

    /// The same, for itself, beside others that have this in common.
    fn copy(&self, common: Common) -> Self {
        let state = lock(&self.state);
        Self {
            state: Mutex::new(state.copy(Arc::clone(&common.room))),
            lists: ArcSwap::new(self.lists.load_full()),
            common,
        }
    }

    pub(crate) fn add_port(&self, id: PortId, config: &PortConfig) {
        self.change(|state| state.add_port(id, config));
    }

    pub(crate) fn remove_port(&self, id: PortId) {
        self.change(|state| state.remove_port(id));
    }

    pub(crate) fn hear(&self, now: Time, heard: Heard<'_>) {
        self.change(|state| state.hear(now, heard));
    }

    pub(crate) fn hear_invalid(&self) {
        lock(&self.state).counts.invalid += 1;
    }

    /// When [`Self::take_queries`] is due.
    pub(crate) fn due(&self) -> Option<Time> {
        lock(&self.state).due
    }

    fn is_due(&self, now: Time) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// Forgets what is over, and gives the frames that are to be sent now, each by its port.
    pub(crate) fn take_queries(&self, now: Time, own: Asker) -> Vec<(PortId, Vec<u8>)> {
        let mut queries = Vec::new();
        self.change(|state| {
            queries = state.take_queries(now, own);
            // Who takes queries asks when the next are due as well.
            self.common.call.store(false, Ordering::Relaxed);
        });
        queries
    }

    pub(crate) fn lists(&self) -> Guard<Arc<Lists>> {
        self.lists.load()
    }

    pub(crate) fn view(&self, now: Time, own: Asker) -> MulticastView {
        lock(&self.state).view(now, own)
    }

    pub(crate) fn counts(&self) -> MulticastCounts {
        lock(&self.state).counts
    }

    /// Why frames of a group go to each port that they go to.
    pub(crate) fn access(&self, key: GroupKey, source: Address) -> Vec<(PortId, Access)> {
        lock(&self.state).access(key, source)
    }

    fn change(&self, act: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        let due = state.due;
        act(&mut state);
        if let Some(next) = state.take_lists(&self.lists.load()) {
            self.lists.store(Arc::new(next));
        }
        if state
            .due
            .is_some_and(|next| due.is_none_or(|due| next < due))
        {
            self.common.call.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
