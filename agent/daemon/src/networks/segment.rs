//! The running L2 segment of a network: a bridge and its edge.

use std::sync::Arc;

use overlay_io::Gateway;
use switch_core::{Bridge, BridgeConfig, FdbConfig, Mac, PortId, PortKind};
use switch_io::{AddPort, BasicTap, FramePort, OffloadTap, OpenTap};

use agent_core::events::Notice;
use agent_core::record::NetworkRecord;

use crate::edge::{EdgeHandle, EdgeSettings, HostNames, Leases, NamesSettings};
use crate::ground::Ground;
use crate::random::{random_secret, random_seed};

/// A network's bridge and edge. The bridge and the edge go with the last hold on them, their ports by [`Segment::lower`].
pub(crate) struct Segment {
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) gateway_mac: Mac,
    pub(crate) edge: EdgeHandle,
    pub(crate) edge_port: PortId,
}

/// A TAP of either driver, before it becomes a port.
pub(crate) struct OpenedTap {
    pub(crate) port: Box<dyn FramePort>,
    pub(crate) ifindex: u32,
}

/// Why a network has no segment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RaiseSegment {
    #[error("no edge: {0}")]
    Edge(std::io::Error),
    #[error("no edge port: {0}")]
    EdgePort(AddPort),
}

impl Segment {
    pub(super) fn raise(
        ground: &Ground,
        names: &Arc<HostNames>,
        record: &NetworkRecord,
    ) -> Result<Self, RaiseSegment> {
        let gateway_mac = record.gateway_mac();
        let defaults = FdbConfig::default();
        let bridge = Arc::new(Bridge::new(BridgeConfig {
            fdb: FdbConfig {
                hash_seed: random_seed(),
                age_limit: record.fdb_ageing().unwrap_or(defaults.age_limit),
                ..defaults
            },
            transparent: record.is_transparent(),
            probe_secret: random_secret(),
            snooping: record.snooping(),
            vlans: record.vlans(),
        }));
        bridge.set_gateway(gateway_mac, &record.own_gateways());
        let settings = edge_settings(ground, names, record);
        let (edge, port) =
            EdgeHandle::start(&ground.runtime, settings).map_err(RaiseSegment::Edge)?;
        // A LAN has its own router, and an edge that it does not see.
        let edges_bridge = match record.is_lan() {
            true => Arc::new(Bridge::new(BridgeConfig::default())),
            false => Arc::clone(&bridge),
        };
        let edge_port = ground
            .switch
            .add_port(&edges_bridge, port, record.port_config(PortKind::Edge))
            .map_err(RaiseSegment::EdgePort)?;
        Ok(Self {
            bridge,
            gateway_mac,
            edge,
            edge_port,
        })
    }

    pub(super) fn lower(&self, ground: &Ground) {
        ground.switch.remove_port(self.edge_port);
    }

    /// In whose name packets are answered that are too big for a tunnel.
    pub(super) fn gateway(&self, record: &NetworkRecord) -> Gateway {
        Gateway {
            port: self.edge_port,
            mac: self.gateway_mac,
            addresses: record.gateway_addresses(),
        }
    }
}

fn edge_settings(ground: &Ground, names: &Arc<HostNames>, record: &NetworkRecord) -> EdgeSettings {
    EdgeSettings {
        edge: record.edge_config(random_seed()),
        names: NamesSettings {
            zone: record.zone_config(),
            policy: record.dns_policy(),
            dns: record.dns.clone(),
            resolv_conf: ground.config.resolv_conf.clone(),
            blocks_private: record.blocks_private_answers(),
            host: Arc::clone(names),
        },
        leases: leases(ground, record),
    }
}

/// Tells of them as events of the network.
fn leases(ground: &Ground, record: &NetworkRecord) -> Leases {
    let (events, record) = (Arc::clone(&ground.events), record.clone());
    Box::new(move |endpoint, mac, address| {
        let notice = Notice::network(&record, "lease")
            .with("endpoint", endpoint)
            .with("mac", mac)
            .with("address", address);
        events.tell(notice);
    })
}

/// Opens a TAP of the named driver in the calling thread's namespace.
pub(crate) fn open_tap(driver: &str, link: &str) -> Result<OpenedTap, OpenTap> {
    if driver == DRIVER_BASIC {
        let tap = BasicTap::create(link)?;
        let ifindex = tap.ifindex();
        return Ok(OpenedTap {
            port: Box::new(tap),
            ifindex,
        });
    }
    let tap = OffloadTap::create(link)?;
    let ifindex = tap.ifindex();
    Ok(OpenedTap {
        port: Box::new(tap),
        ifindex,
    })
}

/// Attaches to a TAP that an agent before left in the calling thread's namespace.
pub(crate) fn attach_tap(driver: &str, link: &str) -> Result<Box<dyn FramePort>, OpenTap> {
    Ok(match driver {
        DRIVER_BASIC => Box::new(BasicTap::attach(link)?),
        _ => Box::new(OffloadTap::attach(link)?),
    })
}

const DRIVER_BASIC: &str = "basic";
