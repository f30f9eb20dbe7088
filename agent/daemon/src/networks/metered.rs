//! Networks as they are measured: all of them at one look, with what was counted.

use std::sync::Arc;

use agent_api::Driver;
use agent_core::firewall::Drops;
use agent_core::record::Owner;
use switch_core::{FdbCounts, MulticastCounts, PortCounts, PortId, PortKind};

use super::segment::Segment;
use super::{Network, Networks};
use crate::edge::EdgeCounts;
use crate::locks::lock;

/// A network that has ports.
pub(crate) struct MeteredNetwork {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) driver: &'static str,
    pub(crate) endpoints: usize,
    /// It has no way out, and should have one.
    pub(crate) is_closed: bool,
    /// At ports that are gone too; never less than before.
    pub(crate) totals: PortCounts,
    pub(crate) stations: FdbCounts,
    /// Where it snoops.
    pub(crate) multicast: Option<MulticastCounts>,
    /// What rules of its access list decided, by priority, and `None` what none did; empty where it has none.
    pub(crate) acl: Vec<(Option<u32>, u64)>,
    pub(crate) edge: EdgeCounts,
    pub(crate) ports: Vec<MeteredPort>,
    /// What the packet filter dropped, by reason.
    pub(crate) filtered: Vec<(&'static str, u64)>,
}

/// A port of it.
pub(crate) struct MeteredPort {
    pub(crate) kind: PortKind,
    /// Who is behind it, as `port ls` has it.
    pub(crate) owner: String,
    pub(crate) station: Option<Station>,
    pub(crate) is_up: bool,
    pub(crate) counts: PortCounts,
    port: PortId,
}

/// What is behind the port of an endpoint.
pub(crate) struct Station {
    /// Empty where it is no container of the agent's.
    pub(crate) container: String,
    /// In its sandbox.
    pub(crate) link: String,
}

/// What is seen of a network before anything is counted.
struct Sight {
    metered: MeteredNetwork,
    segment: Arc<Segment>,
    host_link: String,
}

impl Networks {
    /// Nobody is waited for but the kernel.
    pub(crate) fn metered(&self) -> Vec<MeteredNetwork> {
        let mut sights: Vec<_> = {
            let table = lock(&self.table);
            table.present().filter_map(Network::sight).collect()
        };
        let ports = sights.iter().flat_map(|sight| &sight.metered.ports);
        let ids: Vec<_> = ports.map(|port| port.port).collect();
        let (mut counted, filtered) = std::thread::scope(|scope| {
            // Each takes some milliseconds.
            let filtered = scope.spawn(|| self.filter.drops());
            let counted = self.ground.switch.counters_of(&ids);
            (counted, filtered.join().unwrap_or_default())
        });
        // What is told is kept before.
        self.keep_counters();
        let totals = self.totals();
        for Sight {
            metered,
            segment,
            host_link,
        } in &mut sights
        {
            metered.totals = totals.get(&metered.id).cloned().unwrap_or_default();
            metered.stations = segment.bridge.fdb().counts();
            metered.multicast = segment.bridge.multicast_counts();
            metered.acl = self.acl_counts(&metered.id, segment);
            metered.edge = segment.edge.counts();
            metered.filtered = by_reason(&filtered, host_link);
            for port in &mut metered.ports {
                port.is_up = segment.bridge.port_config(port.port).is_some()
                    && segment.bridge.blocked(port.port).is_none();
                port.counts = counted.remove(&port.port).unwrap_or_default();
            }
        }
        sights.into_iter().map(|sight| sight.metered).collect()
    }
}

impl Network {
    fn sight(&self) -> Option<Sight> {
        let segment = self.segment.clone()?;
        let record = &self.record;
        let ports = self.metered_ports(&segment);
        let endpoints = ports.iter().filter(|port| port.station.is_some());
        let metered = MeteredNetwork {
            name: record.name.clone(),
            id: record.id.clone(),
            driver: match record.driver {
                Driver::Overlay => "overlay",
                Driver::Macvlan => "macvlan",
                Driver::Ipvlan => "ipvlan",
                Driver::Bridge | Driver::Host | Driver::Null => "bridge",
            },
            endpoints: endpoints.count(),
            is_closed: self.is_closed(),
            totals: PortCounts::default(),
            stations: FdbCounts::default(),
            multicast: None,
            acl: Vec::new(),
            edge: EdgeCounts::default(),
            ports,
            filtered: Vec::new(),
        };
        Some(Sight {
            metered,
            segment,
            host_link: record.host_link(),
        })
    }

    fn metered_ports(&self, segment: &Segment) -> Vec<MeteredPort> {
        let plain = |port, kind, owner: &str| MeteredPort {
            kind,
            owner: owner.to_owned(),
            station: None,
            is_up: false,
            counts: PortCounts::default(),
            port,
        };
        let mut ports = Vec::new();
        if !self.record.is_lan() {
            ports.push(plain(segment.edge_port, PortKind::Edge, "gateway"));
        }
        let uplink = self.ways.uplink.iter();
        ports.extend(uplink.map(|uplink| plain(uplink.port, PortKind::Uplink, &uplink.nic.link)));
        let host = self.ways.host.iter();
        ports.extend(host.map(|host| plain(host.port, PortKind::Host, "host")));
        let tunnels = self.ways.tunnels.values();
        ports.extend(tunnels.map(|tunnel| {
            let remote = tunnel.address.to_string();
            plain(tunnel.port.port, PortKind::Tunnel, &remote)
        }));
        let patches = self.ways.patches.values();
        ports.extend(patches.map(|patch| plain(patch.port, PortKind::Patch, &patch.leads_to)));
        let endpoints = self.seats.plugged().into_iter();
        ports.extend(endpoints.filter_map(|(record, plug)| {
            let station = Station {
                container: match &record.owner {
                    Owner::Container(id) => id.clone(),
                    Owner::Sandbox(_) | Owner::Engine(_) => String::new(),
                },
                link: plug.link,
            };
            Some(MeteredPort {
                station: Some(station),
                ..plain(plug.port?, PortKind::Tap, &record.name)
            })
        }));
        ports
    }
}

fn by_reason(filtered: &Drops, link: &str) -> Vec<(&'static str, u64)> {
    let drops = filtered.of(link).into_iter();
    drops
        .map(|(reason, packets)| (reason.name(), packets))
        .collect()
}
