//! Which ports hosts of the cluster need of each other.

use std::collections::BTreeSet;

use agent_api::TransportProtocol;
use agent_core::firewall::Service;
use agent_core::shared::{ALIVE, AliveRecord, HOSTS, HostRecord};

use crate::member::Member;

impl Member {
    /// Where hosts of the cluster listen to each other: the ports of tunnels over QUIC, and the ports of the signer and its
    /// etcd on every host that may be the signer. This host comes first, whatever its address.
    pub fn services(&self) -> BTreeSet<Service> {
        let signer = self.signer();
        let quic = |address, port| Service {
            protocol: TransportProtocol::Udp,
            address,
            port,
        };
        let mut services = BTreeSet::from([quic(None, self.settings.quic_udp_port)]);
        let mut addresses = BTreeSet::from([None, Some(signer.ip())]);
        let world = self.world();
        for (_, alive) in world.under::<AliveRecord>(ALIVE) {
            let port = alive.quic_udp_port;
            services.extend(port.map(|port| quic(Some(alive.address), port)));
            addresses.insert(Some(alive.address));
        }
        for (_, host) in world.under::<HostRecord>(HOSTS) {
            services.insert(quic(Some(host.address), self.settings.quic_udp_port));
            addresses.insert(Some(host.address));
        }
        for address in addresses {
            let ports = (0..SIGNER_PORTS).filter_map(|place| signer.port().checked_add(place));
            services.extend(ports.map(|port| Service {
                protocol: TransportProtocol::Tcp,
                address,
                port,
            }));
        }
        services
    }
}

/// The signer's own port, and the next two, which an etcd that it runs has.
const SIGNER_PORTS: u16 = 3;
