//! Goes the way of probes, and knows what the kernel knows of it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};

/// A UDP socket that is connected to a remote: the kernel keeps a route for it, and on that what routers have said to any packet of
/// this host that went there (`IP_MTU`, ip(7)). It is made by who adds a port, since workers may not connect anything.
#[derive(Debug)]
pub(super) struct Scout {
    socket: Socket,
    is_v4: bool,
}

impl Scout {
    /// In the network namespace of the calling thread.
    pub(super) fn open(local: IpAddr, remote: SocketAddr) -> io::Result<Self> {
        let local = SocketAddr::new(local, 0);
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        let is_v4 = local.is_ipv4();
        // Never fragments, and goes by what the link carries alone.
        if is_v4 {
            sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
        } else {
            socket.set_only_v6(true)?;
            sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
        }
        socket.bind(&local.into())?;
        socket.connect(&remote.into())?;
        socket.set_nonblocking(true)?;
        let _ = setsockopt(&socket, RcvBuf, &0);
        Ok(Self { socket, is_v4 })
    }

    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        // The first failure may be what a router said of an earlier one.
        self.socket
            .send(datagram)
            .or_else(|_| self.socket.send(datagram))
            .map(drop)
    }

    /// The MTU of the path as routes and routers had it when the last datagram was sent.
    pub(super) fn look(&self) -> Option<u32> {
        let mtu = match self.is_v4 {
            true => sockopt::ip_mtu(&self.socket),
            false => sockopt::ipv6_mtu(&self.socket),
        };
        mtu.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_oneself_is_as_wide_as_the_loopback() {
        let local = "127.0.0.1".parse().unwrap();
        let scout = Scout::open(local, "127.0.0.2:4789".parse().unwrap()).unwrap();
        assert!(scout.look().unwrap() > 16_000);
        // Nobody is there, which a router says, and which is no reason not to send again.
        for _ in 0..3 {
            scout.send(b"x").unwrap();
        }
    }
}
