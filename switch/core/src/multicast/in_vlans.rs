//! A snooper for each VLAN in which somebody speaks of groups.
//!
//! # Theory of operation
//!
//! A VLAN is awake where a port has it without tags, or is a trunk of few VLANs. One that only trunks of many have *sleeps*
//! until there is a frame for a group, or for everybody. Multicast of one that sleeps goes to everybody in it, as it does for a while in one that
//! was just woken, where every port is asked first. So VLANs that a trunk merely could use cost nothing.
//!
//! A VLAN to which no port but tunnels belongs is not looked after.
//!
//! The bound is on *seats*, a port in a VLAN each. Beyond it nothing more is woken, and floods, but for VLANs that a port has without
//! tags: there are no more of those than ports.
//!
//! Forwarding reads a list of the VLANs that are awake, which never changes; whoever changes it holds the roster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

use super::{Common, MulticastCounts, Snooper, SnoopingConfig};
use crate::vlan::{PortVlans, Vid, VidSet};
use crate::{PortConfig, PortId, PortKind, Time, lock};

/// The snoopers of a bridge that is aware of VLANs.
#[derive(Debug)]
pub(crate) struct InVlans {
    config: SnoopingConfig,
    common: Common,
    awake: ArcSwap<Awake>,
    roster: Mutex<Roster>,
    /// To which ports of this host belong.
    local: ArcSwap<VidSet>,
    /// No seats are left.
    is_full: AtomicBool,
}

/// The VLANs that are awake, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Awake(Vec<(Vid, Arc<Snooper>)>);

/// Who belongs where.
#[derive(Clone, Debug, Default)]
struct Roster {
    members: BTreeMap<PortId, Member>,
    /// In VLANs that are awake.
    seats: usize,
    /// Of VLANs that are forgotten.
    counts: MulticastCounts,
}

#[derive(Clone, Debug)]
struct Member {
    config: PortConfig,
    vlans: PortVlans,
}

impl InVlans {
    pub(crate) fn new(config: SnoopingConfig) -> Self {
        Self {
            config,
            common: Common::default(),
            awake: ArcSwap::default(),
            roster: Mutex::default(),
            local: ArcSwap::default(),
            is_full: AtomicBool::new(false),
        }
    }

    /// The same, for themselves.
    pub(crate) fn copy(&self) -> Self {
        let roster = lock(&self.roster);
        let common = self.common.copy();
        let awake = self.awake.load();
        let copies = awake
            .iter()
            .map(|(vid, snooper)| (vid, Arc::new(snooper.copy(common.clone()))));
        Self {
            config: self.config,
            awake: ArcSwap::from_pointee(Awake(copies.collect())),
            common,
            roster: Mutex::new(roster.clone()),
            local: ArcSwap::new(self.local.load_full()),
            is_full: AtomicBool::new(self.is_full.load(Ordering::Relaxed)),
        }
    }

    /// A port belongs to these VLANs, and to no others from now on.
    pub(crate) fn add_port(&self, id: PortId, config: &PortConfig, vlans: &PortVlans) {
        let member = Member {
            config: config.clone(),
            vlans: vlans.clone(),
        };
        let is_local = member.is_local();
        let mut roster = lock(&self.roster);
        let before = roster.members.insert(id, member);
        for (vid, snooper) in self.awake.load().iter() {
            let was = before.as_ref().is_some_and(|before| before.is_in(vid));
            match (was, vlans.shape(vid).is_some()) {
                (true, false) => roster.leave(id, snooper),
                (false, false) => {}
                (_, true) => {
                    snooper.add_port(id, config);
                    roster.seats += usize::from(!was);
                }
            }
        }
        self.settle(&mut roster);
        if is_local {
            vlans
                .native()
                .into_iter()
                .for_each(|vid| self.rouse(&mut roster, vid));
            if vlans.tagged().len() <= FEW {
                let tagged = vlans.tagged().iter();
                tagged.for_each(|vid| self.rouse_if_room(&mut roster, vid));
            }
        }
    }

    pub(crate) fn remove_port(&self, id: PortId) {
        let mut roster = lock(&self.roster);
        let Some(member) = roster.members.remove(&id) else {
            return;
        };
        for (vid, snooper) in self.awake.load().iter() {
            if member.is_in(vid) {
                roster.leave(id, snooper);
            }
        }
        self.settle(&mut roster);
    }

    #[inline]
    pub(crate) fn awake(&self) -> Guard<Arc<Awake>> {
        self.awake.load()
    }

    pub(crate) const fn common(&self) -> &Common {
        &self.common
    }

    /// Somebody speaks to several there.
    #[inline]
    pub(crate) fn wake(&self, vid: Vid) {
        if self.awake.load().of(vid).is_none() {
            self.wake_sleeping(vid);
        }
    }

    #[cold]
    fn wake_sleeping(&self, vid: Vid) {
        if self.local.load().contains(vid) && !self.is_full.load(Ordering::Relaxed) {
            self.rouse_if_room(&mut lock(&self.roster), vid);
        }
    }

    fn rouse_if_room(&self, roster: &mut Roster, vid: Vid) {
        if roster.seats + roster.members_in(vid).count() > SEATS_MAX {
            self.is_full.store(true, Ordering::Relaxed);
            roster.counts.full += 1;
            return;
        }
        self.rouse(roster, vid);
    }

    fn rouse(&self, roster: &mut Roster, vid: Vid) {
        let awake = self.awake.load();
        let Err(at) = awake.place(vid) else {
            return;
        };
        let snooper = Snooper::new(self.config, self.common.clone());
        for (id, member) in roster.members_in(vid) {
            snooper.add_port(id, &member.config);
        }
        roster.seats += roster.members_in(vid).count();
        let mut next = Awake::clone(&awake);
        next.0.insert(at, (vid, Arc::new(snooper)));
        self.awake.store(Arc::new(next));
    }

    /// Forgets the VLANs in which no port of this host is left.
    fn settle(&self, roster: &mut Roster) {
        let awake = self.awake.load();
        let (kept, gone): (Vec<_>, Vec<_>) = awake.0.iter().cloned().partition(|(vid, _)| {
            let mut members = roster.members_in(*vid);
            members.any(|(_, member)| member.is_local())
        });
        for (vid, snooper) in &gone {
            let left: Vec<_> = roster.members_in(*vid).map(|(id, _)| id).collect();
            left.into_iter().for_each(|id| roster.leave(id, snooper));
            roster.counts += snooper.counts();
        }
        if !gone.is_empty() {
            self.awake.store(Arc::new(Awake(kept)));
        }
        let mut local = VidSet::default();
        let members = roster.members.values().filter(|member| member.is_local());
        for member in members {
            local.add(member.vlans.tagged(), member.vlans.native());
        }
        self.local.store(Arc::new(local));
        self.is_full.store(false, Ordering::Relaxed);
    }

    pub(crate) fn due(&self) -> Option<Time> {
        let awake = self.awake.load();
        awake.iter().filter_map(|(_, snooper)| snooper.due()).min()
    }

    pub(crate) fn counts(&self) -> MulticastCounts {
        let roster = lock(&self.roster);
        let mut counts = roster.counts;
        for (_, snooper) in self.awake.load().iter() {
            counts += snooper.counts();
        }
        counts
    }
}

impl Awake {
    /// `None`: it sleeps.
    #[inline]
    pub(crate) fn of(&self, vid: Vid) -> Option<&Snooper> {
        let at = self.place(vid).ok()?;
        Some(&self.0[at].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Vid, &Snooper)> {
        self.0.iter().map(|(vid, snooper)| (*vid, &**snooper))
    }

    fn place(&self, vid: Vid) -> Result<usize, usize> {
        self.0.binary_search_by_key(&vid, |(vid, _)| *vid)
    }
}

impl Roster {
    fn members_in(&self, vid: Vid) -> impl Iterator<Item = (PortId, &Member)> {
        let members = self.members.iter().map(|(id, member)| (*id, member));
        members.filter(move |(_, member)| member.is_in(vid))
    }

    fn leave(&mut self, id: PortId, snooper: &Snooper) {
        snooper.remove_port(id);
        self.seats = self.seats.saturating_sub(1);
    }
}

impl Member {
    fn is_in(&self, vid: Vid) -> bool {
        self.vlans.shape(vid).is_some()
    }

    const fn is_local(&self) -> bool {
        !matches!(self.config.kind, PortKind::Tunnel)
    }
}

/// VLANs of a trunk that are awake from the beginning.
const FEW: usize = 64;
/// Of ports in VLANs that are awake.
pub(crate) const SEATS_MAX: usize = 65_536;
