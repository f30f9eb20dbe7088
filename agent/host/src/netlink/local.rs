//! Waiting until packets for an IPv6 address arrive.
//!
//! # Theory of operation
//!
//! The kernel acknowledges an IPv6 address before it takes packets for it. The route that makes them local comes from a work
//! queue, with duplicate detection or without, and on a busy machine milliseconds later. Until then they are others' packets
//! to it, and a host drops those. So whoever is told that an address is there has to wait for that route.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::NetlinkError;
use super::socket::Netlink;

impl Netlink {
    /// Waits until all of a link's addresses receive. A kernel that takes too long is left to itself.
    pub(super) fn await_local(
        &mut self,
        link_index: u32,
        addresses: &[IpNet],
    ) -> Result<(), NetlinkError> {
        let deadline = Instant::now() + LIMIT;
        let mut pause = FIRST_PAUSE;
        for address in addresses {
            let IpNet::V6(address) = address else {
                continue;
            };
            while !self.is_local(link_index, address.addr())? && Instant::now() < deadline {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    fn is_local(&mut self, link_index: u32, address: Ipv6Addr) -> Result<bool, NetlinkError> {
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet6;
        question.header.destination_prefix_length = 128;
        question.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet6(address)),
            RouteAttribute::Oif(link_index),
        ];
        let answer = self.ask(RouteNetlinkMessage::GetRoute(question))?;
        // No route at all is a refusal.
        Ok(matches!(answer, Ok(RouteNetlinkMessage::NewRoute(route))
            if route.header.kind == RouteType::Local))
    }
}

const LIMIT: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
