//! Sockets that send, by flow.
//!
//! # Theory of operation
//!
//! A socket has one source port, so the dynamic range is divided into shares of equal size, and each socket is at a free port
//! of its share. A flow leaves by the socket whose share its source port lies in ([`source_udp_port`]).

use std::io;
use std::net::{IpAddr, SocketAddr};

use overlay_core::{DYNAMIC_FIRST, DYNAMIC_PORTS, source_udp_port};

use crate::socket::TunnelSocket;

/// At least one socket.
#[derive(Debug)]
pub(super) struct FlowSockets {
    sockets: Vec<TunnelSocket>,
    share: u16,
}

impl FlowSockets {
    /// `count` sockets, in the network namespace of the calling thread.
    pub(super) fn bind(address: IpAddr, count: u16) -> io::Result<Self> {
        let count = count.clamp(1, DYNAMIC_PORTS);
        let share = DYNAMIC_PORTS / count;
        let sockets = (0..count).map(|n| bind_in_share(address, n * share, share));
        Ok(Self {
            sockets: sockets.collect::<io::Result<_>>()?,
            share,
        })
    }

    pub(super) fn allow_fragments(&self) -> io::Result<()> {
        self.sockets
            .iter()
            .try_for_each(TunnelSocket::allow_fragments)
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.sockets.len()).unwrap_or(DYNAMIC_PORTS)
    }

    /// Which socket a flow leaves by.
    pub(super) fn index(&self, flow_hash: u64) -> usize {
        let share = (source_udp_port(flow_hash) - DYNAMIC_FIRST) / self.share;
        // The last share has what the division leaves.
        usize::from(share).min(self.sockets.len() - 1)
    }

    pub(super) fn socket(&self, index: usize) -> &TunnelSocket {
        &self.sockets[index]
    }
}

/// At a free port of a share; where all are taken, at any other that is free.
fn bind_in_share(address: IpAddr, first: u16, share: u16) -> io::Result<TunnelSocket> {
    // So that tunnels of several processes do not want the same ports.
    let start = u16::try_from(std::process::id() % u32::from(share)).unwrap_or(0);
    let within = (0..share).map(|step| first + (start + step) % share);
    let beyond = (share..DYNAMIC_PORTS).map(|step| (first + step) % DYNAMIC_PORTS);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for offset in within.chain(beyond) {
        let local = SocketAddr::new(address, DYNAMIC_FIRST + offset);
        match TunnelSocket::bind_to_send(local) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            result => return result,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn sockets_are_spread_over_the_dynamic_range_and_so_are_flows() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [one, two] = [(); 2].map(|()| FlowSockets::bind(loopback, 256).unwrap());
        for flows in [&one, &two] {
            let ports: BTreeSet<u16> = (0..256).map(|n| flows.socket(n).local().port()).collect();
            assert_eq!(ports.len(), 256);
            assert!(*ports.first().unwrap() < DYNAMIC_FIRST + 64);
            assert!(*ports.last().unwrap() >= u16::MAX - 64);
        }
        let used: BTreeSet<usize> = (0..1000_u64)
            .map(|flow| one.index(flow.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        assert!(used.len() >= 200, "{}", used.len());
        assert!(one.index(u64::from(DYNAMIC_PORTS) - 1) == 255);
    }

    #[test]
    fn a_count_that_does_not_divide_the_range_is_fine() {
        let flows = FlowSockets::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 3).unwrap();
        let indices: BTreeSet<usize> = (0..16_384).map(|flow| flows.index(flow)).collect();
        assert_eq!(indices, [0, 1, 2].into());
    }
}
