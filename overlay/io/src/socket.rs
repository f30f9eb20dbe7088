//! UDP sockets with segmentation offload.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{
    Ipv4PacketInfo, Ipv6DontFrag, Ipv6RecvPacketInfo, RcvBuf, RcvBufForce, ReceiveTimestampns,
    SndBufForce,
};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};

/// A UDP socket that sends and receives trains of equal datagrams (`UDP_SEGMENT`, `UDP_GRO`), never fragments and never
/// blocks.
#[derive(Debug)]
pub(crate) struct TunnelSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl TunnelSocket {
    /// Binds in the calling thread's network namespace. An IPv6 socket carries IPv6 alone.
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&local.into())?;
        Self::of(socket)
    }

    /// Binds a socket that sends alone. What comes to its port is not wanted, and finds next to no room.
    pub(crate) fn bind_to_send(local: SocketAddr) -> io::Result<Self> {
        let bound = Self::bind(local)?;
        let _ = setsockopt(&bound.socket, RcvBuf, &0);
        Ok(bound)
    }

    /// Lets the host and, over IPv4, routers cut datagrams that are too long.
    pub(crate) fn allow_fragments(&self) -> io::Result<()> {
        match self.local {
            SocketAddr::V4(_) => {
                sockopt::set_ip_mtu_discover(&self.socket, Ipv4PathMtuDiscovery::DONT)?;
            }
            SocketAddr::V6(_) => {
                sockopt::set_ipv6_mtu_discover(&self.socket, Ipv6PathMtuDiscovery::DONT)?;
                setsockopt(&self.socket, Ipv6DontFrag, &false)?;
            }
        }
        Ok(())
    }

    /// Goes on with a socket that was kept, with all that waits there. Binds another where it is not at `local`.
    pub(crate) fn keep_or_bind(kept: Option<OwnedFd>, local: SocketAddr) -> io::Result<Self> {
        if let Some(socket) = kept.map(Socket::from) {
            let is_at = socket.local_addr().ok().and_then(|at| at.as_socket());
            if is_at == Some(local) {
                return Self::of(socket);
            }
        }
        Self::bind(local)
    }

    fn of(socket: Socket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let socket: UdpSocket = socket.into();
        let local = socket.local_addr()?;
        let tunnel = Self {
            socket,
            state,
            local,
        };
        tunnel.enlarge_buffers();
        tunnel.receive_no_more_than_needed();
        Ok(tunnel)
    }

    /// Where the socket is bound.
    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether the socket takes datagrams to any address of the host.
    pub(crate) const fn is_bound_to_any(&self) -> bool {
        self.local.ip().is_unspecified()
    }

    pub(crate) fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self
            .state
            .try_send(UdpSockRef::from(&self.socket), transmit)
        {
            Err(_) if self.must_send_singly(transmit) => self.send_singly(transmit),
            result => result,
        }
    }

    /// Fills buffers from the front, each with datagrams of one sender, and says in `metas` what is in each.
    pub(crate) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state
            .recv(UdpSockRef::from(&self.socket), buffers, metas)
    }

    /// Packets that the socket had no room for, so far; a train that was joined counts once. Zero where the kernel does not say.
    pub(crate) fn unreceived(&self) -> u64 {
        switch_io::unreceived(self.socket.as_fd()).unwrap_or(0)
    }

    /// Most datagrams of one [`Self::send`].
    pub(crate) fn segments_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// The device turned out not to segment; the state learns that from the first failure.
    fn must_send_singly(&self, transmit: &Transmit<'_>) -> bool {
        transmit.segment_size.is_some() && self.segments_max() == 1
    }

    fn send_singly(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(usize::MAX);
        for contents in transmit.contents.chunks(size) {
            let single = Transmit {
                contents,
                segment_size: None,
                ..transmit.clone()
            };
            self.state
                .try_send(UdpSockRef::from(&self.socket), &single)?;
        }
        Ok(())
    }

    /// quinn-udp asks for arrival times and, on a socket bound to one address, for the destination of every datagram, which
    /// cost a tenth of a receive.
    fn receive_no_more_than_needed(&self) {
        let _ = setsockopt(&self.socket, ReceiveTimestampns, &false);
        if !self.is_bound_to_any() {
            let _ = setsockopt(&self.socket, Ipv4PacketInfo, &false);
            let _ = setsockopt(&self.socket, Ipv6RecvPacketInfo, &false);
        }
    }

    /// Beyond the host's limit where that is permitted, else up to it.
    fn enlarge_buffers(&self) {
        if setsockopt(&self.socket, RcvBufForce, &BUFFER_LEN).is_err() {
            let _ = self
                .state
                .set_recv_buffer_size(UdpSockRef::from(&self.socket), BUFFER_LEN);
        }
        if setsockopt(&self.socket, SndBufForce, &BUFFER_LEN).is_err() {
            let _ = self
                .state
                .set_send_buffer_size(UdpSockRef::from(&self.socket), BUFFER_LEN);
        }
    }
}

impl AsFd for TunnelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Some milliseconds at 10 Gbit/s: wireguard-go doubled its rate with buffers of this size.
pub(crate) const BUFFER_LEN: usize = 7 << 20;

/// Longest payload of one send: an IPv4 packet's, whatever the family.
pub(crate) const SEND_LEN_MAX: usize = 65_535 - 20 - 8;
/// What one received train may take.
pub(crate) const RECEIVE_LEN_MAX: usize = 65_535;
