//! Taking ports on the host's addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use agent_api::{PortRun, TransportProtocol};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, UdpSocket};

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishPort {
    #[error(
        "{address}/{protocol} is in use by another program; choose another host port or stop it"
    )]
    AddressInUse {
        address: SocketAddr,
        protocol: &'static str,
    },
    #[error("{address} is no address of this host; leave it out or choose one of the host's")]
    NotOurs { address: IpAddr },
    #[error("cannot listen on {address}/{protocol}: {source}")]
    Listen {
        address: SocketAddr,
        protocol: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the container has no address to publish ports of; connect it to a network with a host port"
    )]
    NoTarget,
    #[error("no port is free in both IPv4 and IPv6; choose one")]
    NoneFree,
    #[error(
        "the packet filter cannot lead it to the container, and the proxy serves no more than {} ports of one; \
         publish fewer, or on an address of the container's family",
        super::PROXIED_MAX
    )]
    BeyondProxy,
    #[error(
        "the packet filter cannot lead it to the container, and where the container's engine keeps the port no proxy serves it; \
         publish on an address of the container's family"
    )]
    BeyondFilter,
}

/// A socket that holds a port and can serve it.
#[derive(Clone, Debug)]
pub(super) enum Held {
    Tcp(Arc<TcpListener>),
    Udp(Arc<UdpSocket>),
}

impl Held {
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Whether an address that the host does not have yet may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    Refused,
    /// It was the host's when the port was published, and the port is served as soon as it is again.
    Awaited,
}

/// One socket per family that the host has, and the port they share. Called inside a runtime.
pub(super) fn hold(
    run: &PortRun,
    host_port: u16,
    absent: Absent,
) -> Result<(Vec<Held>, u16), PublishPort> {
    let mut held = Vec::new();
    let mut port = host_port;
    for_each_address(run, host_port, |ip| {
        let address = SocketAddr::new(ip, port);
        let socket = bound(run.protocol, address, absent)?;
        let socket = match run.protocol {
            TransportProtocol::Tcp => {
                rustix::net::listen(&socket, BACKLOG)?;
                Held::Tcp(Arc::new(TcpListener::from_std(socket.into())?))
            }
            TransportProtocol::Udp => Held::Udp(Arc::new(UdpSocket::from_std(socket.into())?)),
        };
        port = socket.local_addr()?.port();
        held.push(socket);
        Ok(())
    })?;
    Ok((held, port))
}

/// Whether the port is nobody else's at this moment.
pub(super) fn probe(run: &PortRun, host_port: u16, absent: Absent) -> Result<(), PublishPort> {
    for_each_address(run, host_port, |ip| {
        bound(run.protocol, SocketAddr::new(ip, host_port), absent).map(drop)
    })
}

/// Where a proxy on the address `local` connects to, its own family first.
pub(super) fn targets(container: &[IpAddr], local: SocketAddr, port: u16) -> Vec<SocketAddr> {
    let mut targets: Vec<SocketAddr> = container
        .iter()
        .map(|address| SocketAddr::new(*address, port))
        .collect();
    targets.sort_by_key(|target| target.is_ipv6() != local.is_ipv6());
    targets
}

fn for_each_address(
    run: &PortRun,
    host_port: u16,
    mut take: impl FnMut(IpAddr) -> io::Result<()>,
) -> Result<(), PublishPort> {
    let any = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::from(Ipv6Addr::UNSPECIFIED),
    ];
    let addresses = match &run.host_ip {
        Some(ip) => std::slice::from_ref(ip),
        None => &any,
    };
    for (index, ip) in addresses.iter().enumerate() {
        match take(*ip) {
            Ok(()) => {}
            // A host without IPv6 publishes on IPv4 alone.
            Err(error) if index > 0 && lacks_family(&error) => {}
            Err(error) => {
                let address = SocketAddr::new(*ip, host_port);
                return Err(refused(address, word(run.protocol), error));
            }
        }
    }
    Ok(())
}

fn bound(protocol: TransportProtocol, address: SocketAddr, absent: Absent) -> io::Result<OwnedFd> {
    let kind = match protocol {
        TransportProtocol::Tcp => SocketType::STREAM,
        TransportProtocol::Udp => SocketType::DGRAM,
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == TransportProtocol::Tcp {
        // As every server does, so that connections of a former one in TIME_WAIT do not hold the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if absent == Absent::Awaited {
        match address {
            SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
            SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
        }
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn refused(address: SocketAddr, protocol: &'static str, source: io::Error) -> PublishPort {
    match source.kind() {
        io::ErrorKind::AddrInUse => PublishPort::AddressInUse { address, protocol },
        io::ErrorKind::AddrNotAvailable => PublishPort::NotOurs {
            address: address.ip(),
        },
        _ => PublishPort::Listen {
            address,
            protocol,
            source,
        },
    }
}

const fn word(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    }
}

const BACKLOG: i32 = 1024;
