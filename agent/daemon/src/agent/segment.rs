//! Bringing a network's parts up on this host, and taking them down again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use overlay_io::Gateway;
use switch_core::{Bridge, BridgeConfig, FdbConfig, PortCounts, PortId, PortKind, Vni};
use switch_io::{BasicTap, FramePort, OffloadTap, OpenTap};

use super::Agent;
use super::overlay::{Tunnels, local_address};
use super::state::Segment;
use crate::edge::{EdgeHandle, EdgeSettings, NamesSettings};
use crate::random::random_seed;
use crate::record::NetworkRecord;

/// A TAP of either driver, before it becomes a port.
pub(super) struct Tap {
    pub(super) port: Box<dyn FramePort>,
    pub(super) ifindex: u32,
}

/// In whose name packets are answered that are too big for a tunnel.
pub(super) fn gateway(record: &NetworkRecord, edge: PortId) -> Gateway {
    Gateway {
        port: edge,
        mac: record.gateway_mac(),
        addresses: record.gateway_addresses(),
    }
}

impl Agent {
    /// Makes the bridge, its edge and its tunnels to fixed remotes; its host port comes by [`Agent::open_host_ports`]. What
    /// was made is gone again after a failure.
    pub(super) fn raise_segment(
        &self,
        tunnels: &mut Tunnels,
        record: &NetworkRecord,
    ) -> Result<Segment, String> {
        let gateway_mac = record.gateway_mac();
        let defaults = FdbConfig::default();
        let bridge = Arc::new(Bridge::new(BridgeConfig {
            fdb: FdbConfig {
                hash_seed: random_seed(),
                age_limit: record.fdb_ageing().unwrap_or(defaults.age_limit),
                ..defaults
            },
            transparent: record.is_transparent(),
        }));
        bridge.set_gateway(gateway_mac, &record.gateway_addresses());
        let settings = self.edge_settings(record);
        let (edge, port) = EdgeHandle::start(&self.runtime, settings)
            .map_err(|error| format!("no edge: {error}"))?;
        let edge_port = self
            .switch
            .add_port(&bridge, port, record.port_config(PortKind::Edge))
            .map_err(|error| format!("no edge port: {error}"))?;
        let mut segment = Segment {
            bridge,
            gateway_mac,
            edge,
            edge_port,
            host: None,
            tunnels: BTreeMap::new(),
            patches: BTreeMap::new(),
            hosts: BTreeMap::new(),
            remotes: BTreeMap::new(),
            gone: PortCounts::default(),
        };
        match self.raise_tunnels(tunnels, record, &mut segment) {
            Ok(()) => Ok(segment),
            Err(why) => {
                self.lower_segment(tunnels, segment);
                Err(why)
            }
        }
    }

    /// The ports that lead to fixed remotes.
    fn raise_tunnels(
        &self,
        tunnels: &mut Tunnels,
        record: &NetworkRecord,
        segment: &mut Segment,
    ) -> Result<(), String> {
        let Some(overlay) = &record.overlay else {
            return Ok(());
        };
        let vni = Vni::new(overlay.vni).ok_or("the VNI does not fit 24 bits")?;
        for remote in &overlay.remotes {
            let local = local_address(*remote).ok_or(format!("no route to {remote}"))?;
            let place = (vni, record.port_config(PortKind::Tunnel));
            let tunnel = tunnels.open_vxlan(
                &self.switch,
                &segment.bridge,
                (local, *remote),
                place,
                gateway(record, segment.edge_port),
            )?;
            segment.tunnels.insert(*remote, tunnel);
        }
        Ok(())
    }

    /// Takes the ports away; the bridge and the edge go with the last hold on them.
    pub(super) fn lower_segment(&self, tunnels: &mut Tunnels, segment: Segment) {
        for tunnel in segment.tunnels.values() {
            tunnels.close(&self.switch, tunnel);
        }
        for patch in segment.patches.values() {
            self.switch.remove_port(patch.port);
        }
        if let Some(host) = &segment.host {
            self.switch.remove_port(host.port);
        }
        self.switch.remove_port(segment.edge_port);
    }

    fn edge_settings(&self, record: &NetworkRecord) -> EdgeSettings {
        EdgeSettings {
            edge: record.edge_config(random_seed()),
            names: NamesSettings {
                zone: record.zone_config(),
                policy: record.dns_policy(),
                dns: record.dns.clone(),
                resolv_conf: self.config.resolv_conf.clone(),
                blocks_private: record.blocks_private_answers(),
            },
        }
    }
}

/// Opens a TAP of the named driver in the agent's namespace.
pub(super) fn open_tap(driver: &str, link: &str) -> Result<Tap, OpenTap> {
    if driver == "basic" {
        let tap = BasicTap::create(link)?;
        let ifindex = tap.ifindex();
        return Ok(Tap {
            port: Box::new(tap),
            ifindex,
        });
    }
    let tap = OffloadTap::create(link)?;
    let ifindex = tap.ifindex();
    Ok(Tap {
        port: Box::new(tap),
        ifindex,
    })
}

/// An address with its subnet's prefix length, as a link carries it.
pub(super) fn on_link(address: IpAddr, net: IpNet) -> IpNet {
    // Both are of one family, so the prefix length fits.
    IpNet::new(address, net.prefix_len()).unwrap_or_else(|_| address.into())
}
