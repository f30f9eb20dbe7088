//! Hosts and containers as network namespaces, for the tests of the tunnels and for measuring them. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::new_without_default,
    reason = "in a test, a panic is the report"
)]

mod authority;
pub mod loopback;
pub mod quic_pair;
mod traffic;
mod underlay;

use std::net::IpAddr;
use std::sync::Arc;

use overlay_core::HostId;
use switch_core::{Bridge, BridgeConfig, PortConfig, PortId, PortKind, Vni};
use switch_io::{
    Capabilities, ChannelEnd, EngineChoice, FramePort, OffloadTap, Switch, SwitchConfig,
};

pub use authority::{Authority, quic_config};
pub use switch_lab::{Process, Station, eventually};
pub use traffic::{
    TRANSFER, datagrams_stay_as_they_were_sent, everything_crosses, iperf, transfer,
};
pub use underlay::Underlay;

/// A host whose switch has one network.
pub struct Network {
    pub switch: Switch,
    pub bridge: Arc<Bridge>,
    pub mtu: u32,
    trunk: Option<PortId>,
}

impl Network {
    pub fn new(engine: EngineChoice, mtu: u32) -> Self {
        let switch = Switch::start(SwitchConfig {
            engine,
            // Two workers meet in the tunnel's ports.
            workers: if engine == EngineChoice::Epoll { 2 } else { 1 },
            ..SwitchConfig::default()
        })
        .unwrap();
        Self {
            switch,
            bridge: Arc::new(Bridge::new(BridgeConfig::default())),
            mtu,
            trunk: None,
        }
    }

    pub fn trunk(&mut self, trunk: impl FramePort + 'static) -> PortId {
        let id = self.switch.add_trunk(Box::new(trunk)).unwrap();
        self.trunk = Some(id);
        id
    }

    pub fn tunnel(&self, port: impl FramePort + 'static) -> PortId {
        let config = PortConfig::new(PortKind::Tunnel, self.mtu);
        self.switch
            .add_port(&self.bridge, Box::new(port), config)
            .unwrap()
    }

    /// A container inside this process.
    pub fn station(&self) -> (PortId, ChannelEnd) {
        let (port, end) = switch_io::channel(1024, Capabilities::ALL).unwrap();
        let config = PortConfig {
            bum_limit: None,
            ..PortConfig::new(PortKind::Tap, self.mtu)
        };
        let id = self
            .switch
            .add_port(&self.bridge, Box::new(port), config)
            .unwrap();
        (id, end)
    }

    /// A container: a TAP made in `host`, with `addresses` inside.
    pub fn container(&self, host: &Station, addresses: &[&str]) -> (PortId, Station) {
        let name = "tap-lab";
        let tap = host.run(move || OffloadTap::create(name).unwrap());
        let config = PortConfig {
            bum_limit: None,
            ..PortConfig::new(PortKind::Tap, self.mtu)
        };
        let port = self
            .switch
            .add_port(&self.bridge, Box::new(tap), config)
            .unwrap();
        let station = Station::new();
        host.give(name, &station, "eth0");
        station.ip(&format!("link set eth0 mtu {}", self.mtu));
        station.address(addresses);
        (port, station)
    }
}

/// The kernel's own VXLAN device and bridge in `host`, and a container behind them. It is at UDP 4789 unless `vxlan` says
/// otherwise.
pub fn kernel_container(host: &Station, vxlan: &str, mtu: u32, addresses: &[&str]) -> Station {
    let dstport = match vxlan.contains("dstport") {
        true => "",
        false => "dstport 4789",
    };
    host.ip(&format!("link add vx type vxlan {dstport} {vxlan}"));
    host.ip("link add name br0 type bridge");
    host.ip("link add name veth0 type veth peer name inner");
    for link in ["vx", "veth0"] {
        host.ip(&format!("link set {link} master br0 mtu {mtu}"));
    }
    for link in ["vx", "veth0", "br0"] {
        host.ip(&format!("link set {link} up"));
    }
    let station = Station::new();
    host.give("inner", &station, "eth0");
    station.ip(&format!("link set eth0 mtu {mtu}"));
    station.address(addresses);
    station
}

pub fn vni(value: u32) -> Vni {
    Vni::new(value).unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}
