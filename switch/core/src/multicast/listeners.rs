//! Who listens to which multicast group, where multicast floods.
//!
//! # Theory of operation
//!
//! Without snooping everybody gets multicast, and this table only decides what of it counts as a storm. What has listeners on other
//! ports than the sender's is asked for, and costs its sender less ([`crate::storm`]). Listeners are heard from their
//! reports ([`super::message`]). Groups of the link itself are left out: hosts report those that discovery uses, and for discovery
//! the budget against storms is made.
//!
//! A listener is forgotten when it leaves, when its port goes, or when neither a report nor a frame for it was seen for the
//! time that queriers reckon with. Frames count, because a network without a querier hears each report only once.
//!
//! Readers search a list that never changes, in the order of groups; whoever hears something new makes the next. Bounds: so
//! many listeners on a port, so many in all; those beyond have their groups charged as before.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::address::{Address, Reach};
use super::message::{Change, Message, Report};
use crate::{Mac, PortId, Time, lock};

/// The listeners of one network.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    listeners: ArcSwap<Vec<Arc<Listener>>>,
    /// Held while the next list is made.
    turn: Mutex<()>,
    /// Reports that found no room.
    full: AtomicU64,
}

#[derive(Debug)]
struct Listener {
    group: Mac,
    port: PortId,
    /// When it was last heard or sent to, in seconds.
    active_at: AtomicU32,
}

impl Listeners {
    /// A report came from `port`. Tells `note` of each group that it joins or leaves.
    pub(crate) fn hear(
        &self,
        now: Time,
        port: PortId,
        message: Message<'_>,
        mut note: impl FnMut(Mac, bool),
    ) {
        let mut hear = |group, joins| {
            note(group, joins);
            match joins {
                true => self.join(now, group, port),
                false => self.leave(group, port),
            }
        };
        match message {
            Message::Report(records) => {
                for report in records {
                    if let (Some(group), Some(joins)) = (mac_of(report.group), joins(&report)) {
                        hear(group, joins);
                    }
                }
            }
            Message::Leave(group) => {
                if let Some(group) = mac_of(group) {
                    hear(group, false);
                }
            }
            Message::Query(_) | Message::Router => {}
        }
    }

    /// How many listen to `group` on other ports than `sender`; of more than `most`, so many.
    pub(crate) fn listeners(&self, now: Time, group: Mac, sender: PortId, most: usize) -> usize {
        let listeners = self.listeners.load();
        let first = listeners.partition_point(|listener| listener.group < group);
        let others = listeners[first..]
            .iter()
            .take_while(|listener| listener.group == group)
            .filter(|listener| listener.port != sender);
        others
            .take(most)
            .inspect(|listener| listener.touch(now))
            .count()
    }

    /// The same listeners, for themselves.
    pub(crate) fn copy(&self) -> Self {
        let listeners = self.listeners.load();
        let copies = listeners.iter().map(|listener| {
            Arc::new(Listener {
                active_at: AtomicU32::new(listener.active_at.load(Ordering::Relaxed)),
                ..**listener
            })
        });
        Self {
            listeners: ArcSwap::from_pointee(copies.collect()),
            ..Self::default()
        }
    }

    /// A report of `group` came from `port`.
    pub(crate) fn join(&self, now: Time, group: Mac, port: PortId) {
        let _turn = lock(&self.turn);
        let listeners = self.listeners.load();
        match listeners.binary_search_by_key(&(group, port), |known| known.key()) {
            Ok(at) => listeners[at].touch(now),
            Err(at) => {
                let on_port = listeners.iter().filter(|known| known.port == port);
                if listeners.len() >= LISTENERS_MAX || on_port.count() >= LISTENERS_PER_PORT_MAX {
                    self.full.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let mut next = Vec::clone(&listeners);
                next.insert(at, Arc::new(Listener::new(now, group, port)));
                self.listeners.store(Arc::new(next));
            }
        }
    }

    /// Reports that found no room, so far.
    pub(crate) fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Nobody on `port` listens to `group` any more.
    fn leave(&self, group: Mac, port: PortId) {
        self.retain(|listener| listener.key() != (group, port));
    }

    pub(crate) fn remove_port(&self, port: PortId) {
        self.retain(|listener| listener.port != port);
    }

    /// Forgets who has been silent for too long.
    pub(crate) fn age(&self, now: Time) {
        let now = second(now);
        self.retain(|listener| {
            let active_at = listener.active_at.load(Ordering::Relaxed);
            now.saturating_sub(active_at) <= AGE_LIMIT_S
        });
    }

    fn retain(&self, is_kept: impl Fn(&Listener) -> bool) {
        let _turn = lock(&self.turn);
        let listeners = self.listeners.load();
        if !listeners.iter().all(|listener| is_kept(listener)) {
            let kept = listeners.iter().filter(|listener| is_kept(listener));
            self.listeners.store(Arc::new(kept.cloned().collect()));
        }
    }
}

impl Listener {
    fn new(now: Time, group: Mac, port: PortId) -> Self {
        Self {
            group,
            port,
            active_at: AtomicU32::new(second(now)),
        }
    }

    const fn key(&self) -> (Mac, PortId) {
        (self.group, self.port)
    }

    /// Writes once a second, however many frames there are.
    fn touch(&self, now: Time) {
        let now = second(now);
        if self.active_at.load(Ordering::Relaxed) != now {
            self.active_at.store(now, Ordering::Relaxed);
        }
    }
}

/// Of a group that is wider than the link, unless its frames look like those of one that is not.
fn mac_of(group: Address) -> Option<Mac> {
    let mac = group.group_mac();
    let is_wide = group.reach() == Some(Reach::Listeners);
    let is_shared = mac.octets()[..5] == [1, 0, 0x5e, 0, 0];
    (is_wide && !is_shared).then_some(mac)
}

/// Whether somebody listens from now on, if it says.
fn joins(report: &Report<'_>) -> Option<bool> {
    match report.change {
        // "Include" of nobody: the host has left.
        Change::IsInclude | Change::ToInclude => Some(report.sources.len() > 0),
        Change::IsExclude | Change::ToExclude | Change::Allow => Some(true),
        Change::Block => None,
    }
}

fn second(now: Time) -> u32 {
    u32::try_from(now.as_millis() / 1000).unwrap_or(u32::MAX)
}

const LISTENERS_MAX: usize = 1024;
const LISTENERS_PER_PORT_MAX: usize = 64;
/// Group membership interval (RFC 3376 §8.4), multicast address listening interval (RFC 3810 §9.4).
const AGE_LIMIT_S: u32 = 260;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PortId = PortId(1);
    const TWO: PortId = PortId(2);

    fn has_listener(groups: &Listeners, now: Time, group: Mac, sender: PortId) -> bool {
        groups.listeners(now, group, sender, 1) > 0
    }

    fn group(n: u8) -> Mac {
        Mac::new([1, 0, 0x5e, 1, 2, n])
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_listener_counts_for_others_than_its_own_port() {
        let groups = Listeners::default();
        groups.join(at(0), group(1), ONE);
        assert!(has_listener(&groups, at(0), group(1), TWO));
        assert!(!has_listener(&groups, at(0), group(1), ONE));
        assert!(!has_listener(&groups, at(0), group(2), TWO));
        groups.join(at(0), group(1), TWO);
        assert!(has_listener(&groups, at(0), group(1), ONE));
        groups.leave(group(1), TWO);
        assert!(!has_listener(&groups, at(0), group(1), ONE));
        groups.remove_port(ONE);
        assert!(!has_listener(&groups, at(0), group(1), TWO));
    }

    #[test]
    fn a_listener_ages_unless_it_reports_or_is_sent_to() {
        let groups = Listeners::default();
        groups.join(at(0), group(1), ONE);
        groups.join(at(0), group(2), ONE);
        groups.join(at(0), group(3), ONE);
        groups.join(at(100), group(2), ONE);
        assert!(has_listener(&groups, at(100), group(3), TWO));
        groups.age(at(300));
        let has = |n| has_listener(&groups, at(300), group(n), TWO);
        assert_eq!([has(1), has(2), has(3)], [false, true, true]);
    }

    #[test]
    fn listeners_are_counted_as_far_as_it_matters() {
        let groups = Listeners::default();
        for port in 1..=9 {
            groups.join(at(0), group(1), PortId(port));
            groups.join(at(0), group(2), PortId(port));
        }
        let count = |most| groups.listeners(at(0), group(1), ONE, most);
        assert_eq!([count(4), count(8), count(100)], [4, 8, 8]);
    }

    #[test]
    fn a_port_registers_no_more_than_its_share() {
        let groups = Listeners::default();
        for n in 0..=255 {
            groups.join(at(0), group(n), ONE);
        }
        let heard = (0..=255).filter(|n| has_listener(&groups, at(0), group(*n), TWO));
        assert_eq!(heard.count(), LISTENERS_PER_PORT_MAX);
        assert_eq!(groups.full(), 256 - 64);
        for port in 2..100 {
            for n in 0..=255 {
                groups.join(at(0), group(n), PortId(port));
            }
        }
        assert_eq!(groups.listeners.load().len(), LISTENERS_MAX);
    }
}
