//! The two ends of a path through the switch, whatever they are: an endpoint's link or the host's.

use std::net::IpAddr;

use switch_core::Mac;
use switch_io::packet::PacketSocket;

use crate::harness::{Endpoint, Host};
use crate::packets::{Segment, Transport};

/// One end of a path: where frames leave and arrive, and who they are from and for.
pub(crate) struct End {
    pub(crate) wire: PacketSocket,
    pub(crate) mac: Mac,
    addresses: [IpAddr; 2],
}

impl End {
    pub(crate) fn of_endpoint(endpoint: &Endpoint<'_>) -> Self {
        let addresses = [endpoint.ipv4().into(), endpoint.ipv6().into()];
        Self {
            wire: endpoint.wire(),
            mac: endpoint.mac(),
            addresses,
        }
    }

    /// The host's own link on `network`, which takes offloads whatever the driver of the network's other TAPs.
    pub(crate) fn of_host(host: &Host, network: &str) -> Self {
        let detail = host.network(network);
        let link = detail.host_link.unwrap();
        let of_family = |v4: bool| {
            *detail
                .gateways
                .iter()
                .find(|gateway| gateway.is_ipv4() == v4)
                .unwrap()
        };
        Self {
            wire: host.netns.enter(|| PacketSocket::open(&link)).unwrap(),
            mac: detail.gateway_mac.unwrap().parse().unwrap(),
            addresses: [of_family(true), of_family(false)],
        }
    }

    /// A segment from here to `other`.
    pub(crate) fn segment(
        &self,
        other: &Self,
        family: Family,
        transport: Transport,
        payload: Vec<u8>,
    ) -> Segment {
        Segment {
            source_mac: self.mac,
            destination_mac: other.mac,
            source: self.addresses[family as usize],
            destination: other.addresses[family as usize],
            transport,
            port: 5000,
            payload,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// Which driver each end of a path has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    OffloadToOffload,
    OffloadToBasic,
    BasicToOffload,
    BasicToBasic,
}

impl Path {
    /// Makes the network and runs `check` with the sending and the receiving end.
    pub(crate) fn with(self, check: impl FnOnce(&End, &End)) {
        let host = Host::start();
        let driver = if self == Self::OffloadToOffload {
            "tap=offload"
        } else {
            "tap=basic"
        };
        let subnets = [
            "--ipv6",
            "--subnet",
            "10.64.0.0/24",
            "--subnet",
            "fd00:64::/64",
        ];
        host.tapestry(
            &[
                &["network", "create", "-o", driver],
                &subnets[..],
                &["path"],
            ]
            .concat(),
        )
        .ok();
        let endpoints = ["one", "two"].map(|name| host.endpoint("path", name));
        for port in host.ports("path") {
            let expected = match port.kind.as_str() {
                "tap" => driver.strip_prefix("tap="),
                "host" => Some("offload"),
                _ => None,
            };
            assert_eq!(port.tap_driver.as_deref(), expected, "{port:?}");
        }
        let [one, two] = [0, 1].map(|which| End::of_endpoint(&endpoints[which]));
        let the_host = || End::of_host(&host, "path");
        match self {
            Self::OffloadToOffload | Self::BasicToBasic => check(&one, &two),
            Self::OffloadToBasic => check(&the_host(), &two),
            Self::BasicToOffload => check(&one, &the_host()),
        }
    }
}
