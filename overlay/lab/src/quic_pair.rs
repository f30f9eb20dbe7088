//! Two hosts that are connected by QUIC.

use std::net::SocketAddr;

use overlay_io::QuicTunnel;
use switch_core::PortId;
use switch_io::EngineChoice;

use crate::{Authority, Network, Station, Underlay, eventually, host, ip, quic_config, vni};

const INSIDE: [[&str; 2]; 2] = [["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"]];
pub const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
pub const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];
const NAMES: [&str; 2] = ["alpha", "beta"];
pub const UDP_PORT: u16 = 4790;

pub struct Host {
    pub container: Station,
    pub tunnel: QuicTunnel,
    pub network: Network,
    pub port: PortId,
}

/// Connected, each with a container in the same network.
pub fn hosts(
    underlay: &Underlay,
    outside: [&'static str; 2],
    engine: EngineChoice,
    mtu: u32,
    udp_payload_max: u16,
) -> [Host; 2] {
    let authority = Authority::new();
    let addresses = outside.map(|address| SocketAddr::new(ip(address), UDP_PORT));
    let hosts = [0, 1].map(|n| {
        let outer = &underlay.hosts[n];
        let mut network = Network::new(engine, mtu);
        let mut config = quic_config(NAMES[n], addresses[n], authority.host(NAMES[n], |_| {}));
        config.udp_payload_max = udp_payload_max;
        let (tunnel, trunk) = outer.run(move || QuicTunnel::start(config).unwrap());
        network.trunk(trunk);
        let remote = host(NAMES[1 - n]);
        let port = network.tunnel(tunnel.port(vni(42), &remote, mtu).unwrap());
        tunnel.connect(&remote, addresses[1 - n]);
        let (_, container) = network.container(outer, &INSIDE[n]);
        Host {
            container,
            tunnel,
            network,
            port,
        }
    });
    for n in [0, 1] {
        eventually("the hosts are connected", || {
            hosts[n].tunnel.is_up(&host(NAMES[1 - n]))
        });
    }
    hosts
}
