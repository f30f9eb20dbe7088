//! What the API shows of networks.

use std::collections::{BTreeMap, HashMap};

use agent_api::{
    Driver, FdbEntryView, FdbKind, NetworkDetail, NetworkSummary, OverlayDetail, PortTotals,
    PortView, RateSettings, RemoteEndpoint, Scope, StationsReport,
};
use agent_cluster::{ENDPOINTS, EndpointShared};
use agent_core::find::Find;
use agent_core::firewall::Drops;
use agent_core::network::DRIVER_OFFLOAD;
use agent_core::record::NetworkRecord;
use agent_core::shared::others::name_of;
use switch_core::vlan::Vid;
use switch_core::{Mac, PortCounts, PortId, PortKind};

use super::adopt::KeptOut;
use super::segment::Segment;
use super::{FarEnd, Network, Networks, Place, Ways, mdb, uplink};
use crate::locks::lock;
use crate::seats::Attached;
use crate::sharing::view::{self as tunnels, drops};

/// A network as it is at one moment.
pub(super) struct Seen {
    pub(super) place: Place,
    pub(super) ways: Ways,
    closed: Option<String>,
    no_uplink: Option<String>,
    overlaps: Option<String>,
    gone: PortCounts,
    pub(super) attached: Vec<Attached>,
}

impl Networks {
    pub(crate) fn list(&self) -> Vec<NetworkSummary> {
        let mut summaries: Vec<_> = {
            let table = lock(&self.table);
            let summaries = table.present().map(|network| NetworkSummary {
                no_way_out: network.closed.clone(),
                overlaps: network.overlaps.clone(),
                ..summary(&network.record)
            });
            let kept_out = table.kept_out.values().map(KeptOut::summary);
            summaries.chain(kept_out).collect()
        };
        summaries.sort_by(|one, other| one.name.cmp(&other.name));
        summaries
    }

    /// The networks that have no way out, and why.
    pub(crate) fn closed(&self) -> Vec<(String, String)> {
        let table = lock(&self.table);
        let closed = table.present().filter_map(|network| {
            let why = network.closed.clone()?;
            Some((network.record.name.clone(), why))
        });
        closed.collect()
    }

    /// Counters cost a look into each port's namespace and a call of `nft`, so that they are left out unless `counted`.
    pub(crate) fn inspect(&self, called: &str, counted: bool) -> Result<NetworkDetail, Find> {
        let seen = match self.see(called) {
            Err(error @ Find::NotHere { .. }) => {
                return self.inspect_kept_out(called).ok_or(error);
            }
            seen => seen?,
        };
        let record = &seen.place.record;
        let segment = seen.place.segment.as_deref();
        let attached = seen.attached.iter();
        let detail = NetworkDetail {
            summary: NetworkSummary {
                no_way_out: seen.closed.clone(),
                overlaps: seen.overlaps.clone(),
                ..summary(record)
            },
            gateway_mac: segment.map(|segment| segment.gateway_mac.to_string()),
            host_link: seen.ways.host.as_ref().map(|host| host.link.clone()),
            endpoints: attached.map(|attached| attached.detail(record)).collect(),
            remote_endpoints: match counted {
                true => self.remote_endpoints(&seen),
                false => Vec::new(),
            },
            drops: match counted {
                true => self.drops(&seen),
                false => BTreeMap::new(),
            },
            gone: segment
                .filter(|_| counted)
                .map(|_| totals(&self.gone(&seen))),
            forwarder: segment.and_then(|segment| segment.edge.report()),
            dhcp: segment.and_then(|segment| segment.edge.dhcp()),
            stations: segment.map(stations),
            multicast: segment
                .and_then(|segment| segment.bridge.multicast_counts())
                .map(|counts| mdb::report(&counts)),
            overlay: self.overlay(&seen),
            patches: self.patched_to(&record.id),
            uplink: uplink::view(record, seen.ways.uplink.as_ref(), seen.no_uplink.clone()),
            ..bare(record)
        };
        if counted {
            self.keep_counters();
        }
        Ok(detail)
    }

    /// The endpoints elsewhere, as their hosts tell of them, of those that were taken in.
    pub(super) fn remote_endpoints(&self, seen: &Seen) -> Vec<RemoteEndpoint> {
        let Some(member) = self.sharing.member() else {
            return Vec::new();
        };
        let remotes = &seen.ways.remotes;
        let is_known = |shared: &EndpointShared| {
            let at = remotes.get(&Mac::new(shared.mac));
            at.is_some_and(|at| at.host.as_str() == shared.host)
        };
        let world = member.world();
        let prefix = format!("{ENDPOINTS}{}/", seen.place.record.id);
        let shared = world.under::<EndpointShared>(&prefix);
        let known = shared.filter(|(_, shared)| is_known(shared));
        let rows = known.map(|(id, shared)| RemoteEndpoint {
            id: id.to_owned(),
            host_name: name_of(&world, &shared.host),
            mac: Mac::new(shared.mac).to_string(),
            addresses: shared.addresses(),
            name: shared.name,
            host: shared.host,
        });
        rows.collect()
    }

    /// What the network's ports and the packet filter at its host port dropped.
    fn drops(&self, seen: &Seen) -> BTreeMap<String, u64> {
        let ids: Vec<_> = seen.owners().into_keys().collect();
        let mut sum = self.gone(seen);
        for counts in self.ground.switch.counters_of(&ids).values() {
            sum += counts;
        }
        let mut dropped = drops(&sum);
        let host_link = seen.place.record.host_link();
        dropped.extend(filter_drops(&self.filter.drops(), &host_link));
        dropped
    }

    /// What was counted at ports that are not there.
    pub(super) fn gone(&self, seen: &Seen) -> PortCounts {
        let mut sum = seen.gone.clone();
        sum += &self.waiting(&seen.place.record.id);
        sum
    }

    pub(crate) fn fdb(&self, called: &str) -> Result<Vec<FdbEntryView>, Find> {
        let seen = self.see(called)?;
        let Some(segment) = &seen.place.segment else {
            return Ok(Vec::new());
        };
        let owners = seen.owners();
        let entries = segment.bridge.fdb().snapshot(self.ground.switch.now());
        let mut rows: Vec<_> = entries
            .into_iter()
            .map(|entry| FdbEntryView {
                mac: entry.mac.to_string(),
                vlan: entry.vlan.map(Vid::get),
                port: entry.port.0,
                owner: owners.get(&entry.port).cloned().unwrap_or_default(),
                kind: match entry.kind {
                    switch_core::FdbKind::Learned => FdbKind::Learned,
                    switch_core::FdbKind::Static => FdbKind::Static,
                    switch_core::FdbKind::Sticky => FdbKind::Sticky,
                },
                age_s: (entry.kind == switch_core::FdbKind::Learned).then_some(entry.age.as_secs()),
            })
            .collect();
        rows.sort_by(|one, other| (&one.mac, one.vlan).cmp(&(&other.mac, other.vlan)));
        Ok(rows)
    }

    pub(crate) fn ports(&self, called: &str) -> Result<Vec<PortView>, Find> {
        let seen = self.see(called)?;
        let Some(segment) = &seen.place.segment else {
            return Ok(Vec::new());
        };
        let owners = seen.owners();
        let ids: Vec<_> = owners.keys().copied().collect();
        let mut counters = self.ground.switch.counters_of(&ids);
        self.keep_counters();
        let filtered = self.filter.drops();
        let mut rows: Vec<_> = owners
            .into_iter()
            .map(|(port, owner)| {
                let counts = counters.remove(&port).unwrap_or_default();
                seen.port(segment, &filtered, (port, owner), &counts)
            })
            .collect();
        rows.sort_by_key(|row| row.port);
        Ok(rows)
    }

    /// The network that has the port, and who is behind it; for the log.
    pub(crate) fn owner_of(&self, port: PortId) -> (String, String) {
        let table = lock(&self.table);
        let found = table.networks.values().find_map(|network| {
            let owner = Seen::of(network).owners().remove(&port)?;
            Some((network.record.name.clone(), owner))
        });
        found.unwrap_or_default()
    }

    /// A look at one network; nothing is asked of the kernel.
    pub(super) fn see(&self, called: &str) -> Result<Seen, Find> {
        let table = lock(&self.table);
        let id = table.id(called)?;
        let network = table.networks.get(&id);
        let network = network.ok_or_else(|| Find::NoNetwork(called.to_owned()))?;
        Ok(Seen::of(network))
    }

    /// The network's way over hosts.
    fn overlay(&self, seen: &Seen) -> Option<OverlayDetail> {
        let overlay = seen.place.record.overlay.as_ref()?;
        seen.place.segment.as_ref()?;
        let (ways, sockets) = (&seen.ways, &self.sharing.tunnels);
        let rows = ways.tunnels.iter().map(|(far, tunnel)| {
            let host = match far {
                FarEnd::Host(host) => Some(host),
                FarEnd::Fixed(_) => None,
            };
            let counts = self.ground.switch.counters(tunnel.port.port);
            tunnels::row(
                sockets,
                (tunnel.address, host),
                &tunnel.port,
                &counts.unwrap_or_default(),
            )
        });
        Some(OverlayDetail {
            encap: overlay.encap.name().to_owned(),
            vni: overlay.vni,
            tunnels: rows.collect(),
            drops: tunnels::socket_drops(
                sockets,
                overlay.encap,
                ways.tunnels.values().map(|tunnel| &tunnel.port),
            ),
        })
    }
}

impl Seen {
    pub(super) fn of(network: &Network) -> Self {
        Self {
            place: network.place(),
            ways: network.ways.clone(),
            closed: network.closed.clone(),
            no_uplink: network.no_uplink.clone(),
            overlaps: network.overlaps.clone(),
            gone: network.gone.clone(),
            attached: network.seats.attached(),
        }
    }

    /// Every port of the network, and who is behind it.
    pub(super) fn owners(&self) -> HashMap<PortId, String> {
        let mut owners = HashMap::new();
        if let Some(segment) = &self.place.segment
            && !self.place.record.is_lan()
        {
            owners.insert(segment.edge_port, "gateway".to_owned());
        }
        if let Some(uplink) = &self.ways.uplink {
            owners.insert(uplink.port, uplink.nic.link.clone());
        }
        if let Some(host) = &self.ways.host {
            owners.insert(host.port, "host".to_owned());
        }
        let tunnels = self.ways.tunnels.values();
        owners.extend(tunnels.map(|tunnel| (tunnel.port.port, tunnel.address.to_string())));
        let patches = self.ways.patches.values();
        owners.extend(patches.map(|patch| (patch.port, patch.leads_to.clone())));
        let endpoints = self.attached.iter();
        owners.extend(endpoints.filter_map(|attached| {
            let name = attached.record.name.clone();
            attached.plug.port.map(|port| (port, name))
        }));
        owners
    }

    pub(super) fn link(&self, port: PortId) -> Option<String> {
        let host = self.ways.host.as_ref().filter(|host| host.port == port);
        if let Some(host) = host {
            return Some(host.link.clone());
        }
        let uplink = self.ways.uplink.as_ref();
        if let Some(uplink) = uplink.filter(|uplink| uplink.port == port) {
            return Some(uplink.nic.link.clone());
        }
        let mut attached = self.attached.iter();
        let behind = attached.find(|attached| attached.plug.port == Some(port))?;
        Some(behind.plug.link.clone())
    }

    /// What the endpoint behind a port may get and send, where that is limited.
    pub(super) fn rates(&self, port: PortId) -> Option<RateSettings> {
        let mut attached = self.attached.iter();
        let behind = attached.find(|attached| attached.plug.port == Some(port))?;
        let rates = behind.record.rates.over(&self.place.record.rates());
        (rates.to_core() != (None, None)).then_some(rates)
    }

    fn port(
        &self,
        segment: &Segment,
        filtered: &Drops,
        (port, owner): (PortId, String),
        counts: &PortCounts,
    ) -> PortView {
        // A port that is down is none of the bridge's; only those of endpoints can be.
        let config = segment.bridge.port_config(port);
        let kind = config.as_ref().map_or(PortKind::Tap, |config| config.kind);
        let state = match (config, segment.bridge.blocked(port)) {
            (None, _) => "down".to_owned(),
            (_, Some(why)) => format!("blocked ({why})"),
            _ => "up".to_owned(),
        };
        let link = self.link(port);
        let mut drops = drops(counts);
        if let Some(link) = &link {
            drops.extend(filter_drops(filtered, link));
        }
        PortView {
            port: port.0,
            kind: kind.name().to_owned(),
            link,
            tap_driver: match kind {
                PortKind::Tap => Some(self.place.record.tap_driver().to_owned()),
                PortKind::Host => Some(DRIVER_OFFLOAD.to_owned()),
                _ => None,
            },
            owner,
            state,
            rate: self.rates(port).map(|rates| rates.to_string()),
            rx_frames: counts.rx_frames,
            rx_bytes: counts.rx_bytes,
            tx_frames: counts.tx_frames,
            tx_bytes: counts.tx_bytes,
            drops,
        }
    }
}

impl Networks {
    /// As [`Networks::inspect`] shows a network that is kept out.
    pub(super) fn inspect_kept_out(&self, called: &str) -> Option<NetworkDetail> {
        let table = lock(&self.table);
        let kept_out = table.find_kept_out(called)?;
        Some(NetworkDetail {
            summary: kept_out.summary(),
            ..bare(&kept_out.record)
        })
    }
}

impl KeptOut {
    pub(super) fn summary(&self) -> NetworkSummary {
        NetworkSummary {
            not_here: Some(self.why.clone()),
            ..summary(&self.record)
        }
    }
}

/// What the record says, of a network that has nothing here.
fn bare(record: &NetworkRecord) -> NetworkDetail {
    NetworkDetail {
        summary: summary(record),
        subnets: record.subnets.iter().map(|subnet| subnet.net).collect(),
        gateways: record.gateway_addresses(),
        gateway_mac: None,
        ip_range: record.ip_range,
        aux_addresses: record.aux_addresses.clone(),
        ipv6: record.subnet_v6().is_some(),
        internal: record.internal,
        mtu: record.mtu,
        dns: record.dns.clone(),
        options: record.options.clone(),
        host_link: None,
        endpoints: Vec::new(),
        remote_endpoints: Vec::new(),
        drops: BTreeMap::new(),
        gone: None,
        forwarder: None,
        dhcp: None,
        stations: None,
        multicast: None,
        overlay: None,
        patches: Vec::new(),
        uplink: uplink::view(record, None, None),
    }
}

pub(super) fn summary(record: &NetworkRecord) -> NetworkSummary {
    NetworkSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        driver: record.driver,
        scope: if record.driver == Driver::Overlay {
            Scope::Global
        } else {
            Scope::Local
        },
        no_way_out: None,
        not_here: record.why_cut_off(),
        overlaps: None,
        labels: record.labels.clone(),
    }
}

fn stations(segment: &Segment) -> StationsReport {
    let fdb = segment.bridge.fdb().counts();
    StationsReport {
        learned: fdb.learned,
        moved: fdb.moved,
        aged: fdb.aged,
        evicted: fdb.evicted,
        refused: fdb.refused,
        port_full: fdb.port_full,
        listeners_full: segment.bridge.listeners_full(),
    }
}

fn totals(counts: &PortCounts) -> PortTotals {
    PortTotals {
        rx_frames: counts.rx_frames,
        rx_bytes: counts.rx_bytes,
        tx_frames: counts.tx_frames,
        tx_bytes: counts.tx_bytes,
        drops: drops(counts),
    }
}

/// What the packet filter dropped on the way through the host port `link`.
fn filter_drops(filtered: &Drops, link: &str) -> impl Iterator<Item = (String, u64)> {
    let drops = filtered.of(link).into_iter();
    drops.map(|(reason, packets)| (reason.name().to_owned(), packets))
}
