//! A DNS question seen on its way, without the edge's state.
//!
//! Whoever can answer at once need not hand the frame to the [`Edge`](super::Edge): the question knows its way back.
//! What is unusual in any way is no question here, and the edge's to judge.

use std::net::{IpAddr, SocketAddr};

use super::config::EdgeConfig;
use super::frame::{Datagram, Ethernet, Ip};
use super::{DNS_PORT, is_host, serves_names};
use crate::Mac;
use smoltcp::wire::IpProtocol;

/// A short DNS message over UDP from a host to the gateway, or to a server beyond it in whose place the edge answers.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    mac: Mac,
    datagram: Datagram<'a>,
}

impl<'a> Question<'a> {
    /// `None` for every other frame.
    pub fn parse(config: &EdgeConfig, frame: &'a [u8]) -> Option<Self> {
        let ethernet = Ethernet::parse(frame)?;
        if ethernet.destination != config.gateway_mac || !ethernet.source.is_station() {
            return None;
        }
        let packet = Ip::parse(ethernet.ethertype, ethernet.packet)?;
        if packet.fragment || packet.protocol != IpProtocol::Udp {
            return None;
        }
        let datagram = packet.udp()?;
        let is_dns = datagram.destination.port() == DNS_PORT && datagram.source.port() != 0;
        let is_short = (1..=SHORT).contains(&datagram.payload.len());
        let is_ours = serves_names(config, packet.destination) && is_host(config, packet.source);
        (is_dns && is_short && is_ours).then_some(Self {
            mac: ethernet.source,
            datagram,
        })
    }

    pub fn source(&self) -> IpAddr {
        self.datagram.source.ip()
    }

    /// The DNS message.
    pub fn message(&self) -> &'a [u8] {
        self.datagram.payload
    }

    /// The frame that carries the answer back. `None` when the network does not carry one so long.
    pub fn reply(&self, config: &EdgeConfig, message: &[u8]) -> Option<Vec<u8>> {
        let (client, server): (SocketAddr, SocketAddr) =
            (self.datagram.source, self.datagram.destination);
        let back = Datagram {
            source: server,
            destination: client,
            payload: message,
        };
        back.to_frame(config.gateway_mac, self.mac, config.mtu)
    }
}

/// Longest message, in bytes: a name of any length with room for options.
const SHORT: usize = 512;
