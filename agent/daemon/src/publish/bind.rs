//! Taking a port on the host's addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, UdpSocket};

use super::PublishSpec;

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
}

/// One listener per family that the host has, and the port they share.
pub(super) fn tcp(
    host_ip: Option<IpAddr>,
    host_port: u16,
) -> Result<(Vec<TcpListener>, u16), PublishPort> {
    bind_all(host_ip, host_port, "tcp", |address| {
        let socket = socket(address, SocketType::STREAM)?;
        // As every server does, so that connections of a former one in TIME_WAIT do not hold the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    })
}

/// One socket per family that the host has, and the port they share.
pub(super) fn udp(
    host_ip: Option<IpAddr>,
    host_port: u16,
) -> Result<(Vec<UdpSocket>, u16), PublishPort> {
    bind_all(host_ip, host_port, "udp", |address| {
        let socket = socket(address, SocketType::DGRAM)?;
        rustix::net::bind(&socket, &address)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let port = socket.local_addr()?.port();
        Ok((socket, port))
    })
}

/// The container's addresses, the one of the client's family first.
pub(super) fn targets(spec: &PublishSpec, local: io::Result<SocketAddr>) -> Vec<SocketAddr> {
    let v6 = local.is_ok_and(|address| address.is_ipv6());
    let mut targets = spec.container.clone();
    targets.sort_by_key(|target| target.is_ipv6() != v6);
    targets
}

fn bind_all<T>(
    host_ip: Option<IpAddr>,
    host_port: u16,
    protocol: &'static str,
    bind: impl Fn(SocketAddr) -> io::Result<(T, u16)>,
) -> Result<(Vec<T>, u16), PublishPort> {
    let addresses = match host_ip {
        Some(ip) => vec![ip],
        None => vec![
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
        ],
    };
    let mut bound = Vec::new();
    let mut port = host_port;
    for (index, ip) in addresses.into_iter().enumerate() {
        let address = SocketAddr::new(ip, port);
        match bind(address) {
            Ok((socket, actual)) => {
                bound.push(socket);
                port = actual;
            }
            // A host without IPv6 publishes on IPv4 alone.
            Err(error) if index > 0 && lacks_family(&error) => {}
            Err(error) => return Err(refused(address, protocol, error)),
        }
    }
    Ok((bound, port))
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
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

const BACKLOG: i32 = 1024;
