//! Endpoints on namespaces of the test's own: attached through the API, driven with raw frames.

use std::net::{Ipv4Addr, Ipv6Addr};

use agent_api::{EndpointCreate, EndpointDetail, EndpointSettings};
use ipnet::IpNet;
use serde_json::to_value;
use switch_core::Mac;
use switch_io::packet::PacketSocket;

use super::{Host, Netns};

/// A namespace with one link on a network of `host`.
pub(crate) struct Endpoint<'h> {
    host: &'h Host,
    pub(crate) netns: Netns,
    pub(crate) detail: EndpointDetail,
}

impl<'h> Endpoint<'h> {
    pub(super) fn attach(
        host: &'h Host,
        network: &str,
        name: &str,
        settings: EndpointSettings,
    ) -> Self {
        Self::attach_namespace(host, network, name, settings, Netns::new(name))
    }

    pub(super) fn attach_namespace(
        host: &'h Host,
        network: &str,
        name: &str,
        settings: EndpointSettings,
        netns: Netns,
    ) -> Self {
        let (network, name, sandbox) = (network.to_owned(), name.to_owned(), netns.path());
        let create = EndpointCreate {
            network,
            name,
            sandbox: Some(sandbox),
            settings,
            ..EndpointCreate::default()
        };
        let detail = host
            .api("POST", "/v1/endpoints", Some(&to_value(create).unwrap()))
            .ok();
        Self {
            host,
            netns,
            detail,
        }
    }

    pub(crate) fn mac(&self) -> Mac {
        self.detail.mac.parse().unwrap()
    }

    pub(crate) fn ipv4(&self) -> Ipv4Addr {
        let mut addresses = self.detail.addresses.iter();
        addresses
            .find_map(|net| {
                if let IpNet::V4(net) = net {
                    Some(net.addr())
                } else {
                    None
                }
            })
            .unwrap()
    }

    pub(crate) fn ipv6(&self) -> Ipv6Addr {
        let mut addresses = self.detail.addresses.iter();
        addresses
            .find_map(|net| {
                if let IpNet::V6(net) = net {
                    Some(net.addr())
                } else {
                    None
                }
            })
            .unwrap()
    }

    /// A packet socket on its link: sends past the namespace's own stack and sees what arrives.
    pub(crate) fn wire(&self) -> PacketSocket {
        self.netns
            .enter(|| PacketSocket::open(&self.detail.link))
            .unwrap()
    }

    /// Frames dropped on this endpoint's port for `reason`.
    pub(crate) fn drops(&self, reason: &str) -> u64 {
        let ports = self.host.ports(&self.detail.network);
        let port = ports
            .iter()
            .find(|port| Some(port.port) == self.detail.port);
        port.unwrap_or_else(|| panic!("no port of {:?} in {ports:#?}", self.detail))
            .drops
            .get(reason)
            .copied()
            .unwrap_or(0)
    }
}

impl Drop for Endpoint<'_> {
    fn drop(&mut self) {
        // The agent may be gone on purpose; then its ports went with it.
        let _ = self
            .host
            .try_api("DELETE", &format!("/v1/endpoints/{}", self.detail.id), None);
    }
}
