//! The groups of a bridge, for people to read.

use std::net::IpAddr;
use std::time::Duration;

use super::Heard;
use super::address::{Address, Family};
use super::counts::MulticastCounts;
use super::message::{Dialect, Message};
use super::query::Asker;
use super::record::{FilterMode, Record};
use super::state::State;
use super::table::GroupKey;
use crate::vlan::Vid;
use crate::{PortId, PortKind, Time};

/// What a bridge knows of groups at one moment, in one VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastView {
    /// Absent where the bridge is not aware of VLANs.
    pub vlan: Option<Vid>,
    /// By group and port.
    pub records: Vec<RecordView>,
    /// Ports that get groups without having asked.
    pub routers: Vec<RouterView>,
    /// IPv4's and IPv6's.
    pub queriers: [QuerierView; 2],
    pub counts: MulticastCounts,
}

/// What the hosts behind a port want of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    pub group: IpAddr,
    pub port: PortId,
    pub mode: FilterMode,
    /// Until it excludes no more.
    pub expires_in: Option<Duration>,
    /// Each with the time that it is wanted for; those without are blocked.
    pub sources: Vec<(IpAddr, Option<Duration>)>,
}

/// A port that gets more than it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterView {
    pub port: PortId,
    pub access: Access,
    /// Only that family's; both where it is not said.
    pub family: Option<Family>,
    /// For so long; without end where it is not said.
    pub expires_in: Option<Duration>,
}

/// Why a port gets a group's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Somebody there asked for it.
    Listener,
    /// Somebody there asked for it, and not for this source.
    Filtered,
    /// A router was heard there.
    Router,
    /// Somebody said that a router is there.
    StaticRouter,
    /// It is new, and has not had time to answer; or it wants more groups than are kept for one port.
    Everything,
    /// The gateway's own party, for groups of the link.
    Edge,
}

/// Who asks in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuerierView {
    /// Zeros: it has none.
    pub address: IpAddr,
    /// Behind which port; nothing where it is the bridge itself.
    pub port: Option<PortId>,
    pub expires_in: Option<Duration>,
}

/// What a message about groups says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Query {
        dialect: Dialect,
        from: IpAddr,
        /// `None`: whatever there is.
        group: Option<IpAddr>,
    },
    /// By group: what is wanted of it, in RFC 3376's words, and of how many sources.
    Report {
        dialect: Dialect,
        records: Vec<(IpAddr, &'static str, usize)>,
    },
    Leave {
        dialect: Dialect,
        group: IpAddr,
    },
    /// A multicast router is there.
    Router,
    /// Something that hosts ignore.
    Invalid,
}

impl Told {
    pub(crate) fn of(heard: &Heard<'_>) -> Self {
        let dialect = heard.dialect;
        match &heard.message {
            Message::Query(query) => Self::Query {
                dialect,
                from: query.from.ip(),
                group: query.group.map(Address::ip),
            },
            Message::Report(records) => Self::Report {
                dialect,
                records: records
                    .clone()
                    .map(|report| {
                        (
                            report.group.ip(),
                            report.change.name(),
                            report.sources.len(),
                        )
                    })
                    .collect(),
            },
            Message::Leave(group) => Self::Leave {
                dialect,
                group: group.ip(),
            },
            Message::Router => Self::Router,
        }
    }
}

impl Access {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Filtered => "filtered",
            Self::Router => "router",
            Self::StaticRouter => "static",
            Self::Everything => "everything",
            Self::Edge => "edge",
        }
    }
}

impl State {
    pub(super) fn view(&self, now: Time, own: Asker) -> MulticastView {
        let records = self.table.groups().flat_map(|key| {
            let group = self.table.group(key);
            group.map(move |(port, record)| RecordView::new(now, key, port, record))
        });
        MulticastView {
            vlan: None,
            records: records.collect(),
            routers: self.routers(now),
            queriers: Family::ALL.map(|family| self.querier(now, own, family)),
            counts: self.counts,
        }
    }

    fn routers(&self, now: Time) -> Vec<RouterView> {
        let mut routers = Vec::new();
        for (port, seat) in &self.seats {
            let mut add = |access, family, until: Option<Time>| {
                routers.push(RouterView {
                    port: *port,
                    access,
                    family,
                    expires_in: until.map(|until| until.since(now)),
                });
            };
            if seat.is_router {
                add(Access::StaticRouter, None, None);
            }
            for family in Family::ALL {
                if let Some(until) = seat.router_until[family.index()] {
                    add(Access::Router, Some(family), Some(until));
                }
            }
            if let Some(until) = seat.everything_until {
                add(Access::Everything, None, Some(until));
            }
        }
        routers
    }

    fn querier(&self, now: Time, own: Asker, family: Family) -> QuerierView {
        match self.elections[family.index()].other() {
            Some(other) => QuerierView {
                address: other.address.ip(),
                port: Some(other.port),
                expires_in: Some(other.until.since(now)),
            },
            None => QuerierView {
                address: own.address(family).ip(),
                port: None,
                expires_in: None,
            },
        }
    }

    pub(super) fn access(&self, key: GroupKey, source: Address) -> Vec<(PortId, Access)> {
        let family = key.group.family();
        let is_link = key.group.reach() == Some(super::Reach::Link);
        let access = |port: &PortId| {
            let record = self.table.record(key, *port);
            let seat = self.seats.get(port)?;
            Some(match record.map(|record| record.passes(source)) {
                Some(true) => Access::Listener,
                _ if seat.is_router => Access::StaticRouter,
                _ if seat.is_router(family) => Access::Router,
                _ if seat.everything_until.is_some() => Access::Everything,
                _ if is_link && seat.kind == PortKind::Edge => Access::Edge,
                Some(false) => Access::Filtered,
                None => return None,
            })
        };
        let ports = self.seats.keys();
        ports
            .filter_map(|port| Some((*port, access(port)?)))
            .collect()
    }
}

impl RecordView {
    fn new(now: Time, key: GroupKey, port: PortId, record: &Record) -> Self {
        let left = |until: Time| until.since(now);
        let sources = record.sources().iter();
        Self {
            group: key.group.ip(),
            port,
            mode: record.mode(),
            expires_in: record.expires().map(left),
            sources: sources
                .map(|(source, until)| (source.ip(), until.map(left)))
                .collect(),
        }
    }
}
