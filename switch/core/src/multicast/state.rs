//! What a bridge that snoops has heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::address::{Address, Family, Reach};
use super::counts::MulticastCounts;
use super::election::{Election, OTHER_PRESENT};
use super::inquiry::{Inquiry, LAST_RESPONSE, LAST_RESPONSES};
use super::lists::{Fixed, List, Lists};
use super::message::{Message, Query, Report};
use super::query::Asker;
use super::record::{Doubt, MEMBERSHIP};
use super::room::Room;
use super::seat::Seat;
use super::table::{GroupKey, Table};
use super::{Heard, SnoopingConfig};
use crate::{PortConfig, PortId, PortKind, Time};

/// Everything that reports and queries change.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) config: SnoopingConfig,
    pub(super) table: Table,
    pub(super) seats: BTreeMap<PortId, Seat>,
    pub(super) elections: [Election; 2],
    /// What was asked because somebody left.
    pub(super) inquiries: Vec<Inquiry>,
    /// When something is due, or earlier.
    pub(super) due: Option<Time>,
    pub(super) counts: MulticastCounts,
    /// Groups with other listeners than the lists say.
    changed: BTreeSet<GroupKey>,
    /// Everything may be otherwise.
    is_all_changed: bool,
}

impl State {
    pub(super) fn new(config: SnoopingConfig, room: Arc<Room>) -> Self {
        Self {
            config,
            table: Table::new(room),
            seats: BTreeMap::new(),
            elections: Default::default(),
            inquiries: Vec::new(),
            due: None,
            counts: MulticastCounts::default(),
            changed: BTreeSet::new(),
            is_all_changed: false,
        }
    }

    /// The same, whose records have their place in that room.
    pub(super) fn copy(&self, room: Arc<Room>) -> Self {
        Self {
            table: self.table.copy(room),
            seats: self.seats.clone(),
            elections: self.elections.clone(),
            inquiries: self.inquiries.clone(),
            changed: self.changed.clone(),
            ..*self
        }
    }

    pub(super) fn add_port(&mut self, id: PortId, config: &PortConfig) {
        let new = Seat::new(config);
        match self.seats.get_mut(&id) {
            Some(seat) => seat.is_router = new.is_router,
            None => {
                self.seats.insert(id, new);
            }
        }
        self.is_all_changed = true;
        self.due = Some(Time::default());
    }

    pub(super) fn remove_port(&mut self, id: PortId) {
        self.seats.remove(&id);
        self.table.remove_port(id);
        self.inquiries.retain(|inquiry| inquiry.port != id);
        for election in &mut self.elections {
            election.remove_port(id);
        }
        self.is_all_changed = true;
        self.due = Some(Time::default());
    }

    pub(super) fn hear(&mut self, now: Time, heard: Heard<'_>) {
        let family = heard.dialect.family();
        let version = heard.dialect.index();
        match heard.message {
            Message::Query(ref query) => {
                self.counts.queries[version] += 1;
                self.hear_query(now, family, &heard, query);
            }
            Message::Report(records) => {
                self.counts.reports[version] += 1;
                for report in records {
                    self.hear_report(now, heard.port, &report);
                }
            }
            Message::Leave(group) => {
                self.counts.leaves[version] += 1;
                self.hear_report(now, heard.port, &Report::leave(group));
            }
            Message::Router => self.note_router(now, heard.port, family),
        }
    }

    fn hear_query(&mut self, now: Time, family: Family, heard: &Heard<'_>, query: &Query<'_>) {
        let is_nobodys =
            query.from == Asker::NOBODY.address(family) || heard.from == Asker::NOBODY.mac;
        if is_nobodys {
            return;
        }
        let election = &mut self.elections[family.index()];
        let Some(group) = query.group else {
            let own = heard.own.address(family);
            let own = (own != Asker::NOBODY.address(family)).then_some(own);
            election.hear(now, own, (query.from, heard.port), query.response);
            self.note_router(now, heard.port, family);
            return;
        };
        let is_elected = election
            .other()
            .is_some_and(|other| (other.address, other.port) == (query.from, heard.port));
        if is_elected && !query.suppressed {
            let doubt = Doubt {
                group: query.sources.len() == 0,
                sources: query.sources.iter().collect(),
            };
            let until = now + query.response.max(LAST_RESPONSE) * LAST_RESPONSES.into();
            self.shorten_others(now, heard.port, GroupKey { group }, &doubt, until);
        }
    }

    /// The querier has asked; who does not answer is forgotten.
    fn shorten_others(
        &mut self,
        now: Time,
        asker: PortId,
        key: GroupKey,
        doubt: &Doubt,
        until: Time,
    ) {
        let others = self.table.group(key).map(|(port, _)| port);
        let others: Vec<_> = others.filter(|port| *port != asker).collect();
        for port in others {
            if self.table.shorten(now, (key, port), doubt, until) {
                self.changed.insert(key);
            }
        }
        self.wake_at(until);
    }

    fn note_router(&mut self, now: Time, port: PortId, family: Family) {
        let Some(seat) = self.seats.get_mut(&port) else {
            return;
        };
        let until = &mut seat.router_until[family.index()];
        self.is_all_changed |= until.is_none();
        *until = Some(now + OTHER_PRESENT);
        self.wake_at(now + OTHER_PRESENT);
    }

    fn hear_report(&mut self, now: Time, port: PortId, report: &Report<'_>) {
        let reach = report.group.reach();
        let Some(seat) = self.seats.get(&port) else {
            return;
        };
        if !matches!(reach, Some(Reach::Link | Reach::Listeners)) {
            return;
        }
        let key = GroupKey {
            group: report.group,
        };
        let heard = self.table.hear(now, (port, seat.kind), key, report);
        if heard.is_full {
            self.counts.full += 1;
            self.give_everything(now, port);
        }
        if heard.is_news {
            self.changed.insert(key);
        }
        self.wake_at(now + MEMBERSHIP);
        if !heard.doubt.is_none() {
            self.doubt(now, key, port, heard.doubt);
        }
    }

    /// There is no room for what the port wants: it shall miss nothing.
    fn give_everything(&mut self, now: Time, port: PortId) {
        if let Some(seat) = self.seats.get_mut(&port) {
            let until = now + MEMBERSHIP;
            self.is_all_changed |= seat.everything_until.is_none();
            seat.everything_until = seat.everything_until.max(Some(until));
        }
    }

    /// Somebody has left, and others may be there.
    fn doubt(&mut self, now: Time, key: GroupKey, port: PortId, doubt: Doubt) {
        let Some(seat) = self.seats.get(&port) else {
            return;
        };
        let is_asking = self.elections[key.group.family().index()].other().is_none();
        let (is_tunnel, is_fast) = (
            seat.is_tunnel(),
            self.config.fast_leave && !seat.is_shared(),
        );
        let has_tunnels = self.seats.values().any(Seat::is_tunnel);
        let until = match (is_fast, is_tunnel || is_asking) {
            (true, _) => now,
            (false, true) => now + LAST_RESPONSE * LAST_RESPONSES.into(),
            // Whoever asks will, and be heard.
            (false, false) => return,
        };
        if self.table.shorten(now, (key, port), &doubt, until) {
            self.changed.insert(key);
        }
        self.wake_at(until);
        if is_asking && !is_tunnel && (!is_fast || has_tunnels) {
            self.inquire(now, key, port, doubt);
        }
    }

    /// Whoever still listens is to say so.
    fn inquire(&mut self, now: Time, key: GroupKey, port: PortId, doubt: Doubt) {
        let has_tunnels = self.seats.values().any(Seat::is_tunnel);
        let is_same =
            |known: &&mut Inquiry| known.key == key && (has_tunnels || known.port == port);
        if let Some(known) = self.inquiries.iter_mut().find(is_same) {
            known.renew(doubt);
        } else if self.inquiries.len() < INQUIRIES_MAX {
            self.inquiries.push(Inquiry::new(now, key, port, doubt));
            self.wake_at(now);
        }
    }

    pub(super) fn wake_at(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Forgets what is over.
    pub(super) fn age(&mut self, now: Time) {
        self.changed.extend(self.table.age(now));
        for seat in self.seats.values_mut() {
            self.is_all_changed |= seat.age(now);
        }
    }

    /// The lists in place of these, if they have to be others.
    pub(super) fn take_lists(&mut self, lists: &Lists) -> Option<Lists> {
        let changed = std::mem::take(&mut self.changed);
        if self.is_all_changed {
            self.is_all_changed = false;
            let mut next = lists.after();
            for key in self.table.groups() {
                next.with_group(key, self.lists_of(key));
            }
            for fixed in Fixed::ALL {
                next.set_fixed(fixed, self.fixed(fixed));
            }
            return Some(next);
        }
        if changed.is_empty() {
            return None;
        }
        let mut next = lists.next();
        for key in changed {
            next.with_group(key, self.lists_of(key));
        }
        Some(next)
    }

    fn lists_of(&self, key: GroupKey) -> Vec<(Address, List)> {
        if self.table.group(key).next().is_none() {
            return Vec::new();
        }
        let sources: BTreeSet<_> = self.table.sources(key).chain([Address::ANY]).collect();
        let others: Vec<_> = self.others(key).collect();
        let lists = sources.into_iter().map(|source| {
            let group = self.table.group(key);
            let listeners = group.filter(|(_, record)| record.passes(source));
            let listeners: Vec<_> = listeners.map(|(port, _)| port).collect();
            (source, List::new(&listeners, others.iter().copied()))
        });
        lists.collect()
    }

    /// Ports that get a group's frames although nobody there asked.
    fn others(&self, key: GroupKey) -> impl Iterator<Item = PortId> {
        let (family, reach) = (key.group.family(), key.group.reach());
        let gets = move |seat: &Seat| {
            let is_ours = seat.kind == PortKind::Edge && reach == Some(Reach::Link);
            is_ours || seat.is_router(family) || seat.everything_until.is_some()
        };
        let seats = self.seats.iter().filter(move |(_, seat)| gets(seat));
        seats.map(|(port, _)| *port)
    }

    fn fixed(&self, fixed: Fixed) -> List {
        let gets = |seat: &Seat| match fixed {
            Fixed::Unasked(family) => seat.is_router(family) || seat.everything_until.is_some(),
            Fixed::Reports(family) => seat.is_router(family) || seat.is_tunnel(),
            Fixed::FarReports(family) => seat.is_router(family),
        };
        let seats = self.seats.iter().filter(|(_, seat)| gets(seat));
        List::new(&[], seats.map(|(port, _)| *port))
    }
}

impl Report<'_> {
    /// Of an older version's leave.
    fn leave(group: Address) -> Self {
        Self {
            group,
            change: super::message::Change::ToInclude,
            sources: super::message::Addresses::NONE,
        }
    }
}

/// Questions that wait for answers; who leaves beyond that is forgotten after the same time, unasked.
const INQUIRIES_MAX: usize = 1024;
