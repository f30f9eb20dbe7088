//! What frames of a flow have in common.

use std::net::IpAddr;

use switch_core::{Mac, PortId, Summary};

/// What frames of a flow have in common. The port is among that: who sends with another's address makes a flow of his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub ingress: PortId,
    pub src: Mac,
    pub dst: Mac,
    pub vid: Option<u16>,
    pub ethertype: u16,
    /// Source and destination.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The IP protocol number.
    pub protocol: Option<u8>,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
}

impl FlowKey {
    pub fn new(ingress: PortId, summary: &Summary) -> Self {
        Self {
            ingress,
            src: summary.src,
            dst: summary.dst,
            vid: summary.vid,
            ethertype: summary.ethertype,
            addresses: summary.addresses,
            protocol: summary.protocol,
            ports: summary.ports,
        }
    }
}
