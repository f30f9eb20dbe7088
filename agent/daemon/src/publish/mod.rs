//! Published ports on the host's own addresses.
//!
//! # Theory of operation
//!
//! Packets from other hosts are redirected by the packet filter and never seen here. But a published port must also be
//! taken, so that no other program gets it silently, and connections the host makes to itself do not pass the filter's
//! prerouting hook. So the agent binds every published port: a taken one is an error at once, and whoever connects
//! locally is served by a small proxy that connects on to the container through the network's host port.
//!
//! A TCP connection is copied in both directions with each end's half-close passed on. UDP keeps one connected socket
//! per client address, bounded, and forgotten when idle; at the bound the one idle for longest goes. Dropping a
//! [`PublishedPort`] ends its tasks and connections.

mod bind;
mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};

use agent_api::TransportProtocol;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use bind::PublishPort;

/// What to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSpec {
    pub protocol: TransportProtocol,
    /// Every address, IPv4 and IPv6, where absent.
    pub host_ip: Option<IpAddr>,
    /// Zero: the kernel picks a free one.
    pub host_port: u16,
    /// The container's addresses with its port, at most one per family. A client whose family is missing gets the other.
    pub container: Vec<SocketAddr>,
}

/// A taken port and its proxy. Dropping it frees the port soon; [`PublishedPort::close`] when it returns.
#[derive(Debug)]
pub struct PublishedPort {
    host_port: u16,
    tasks: JoinSet<()>,
}

/// Takes the port and starts its proxy on `runtime`. Blocks only for the binding itself.
pub fn publish(spec: &PublishSpec, runtime: &Handle) -> Result<PublishedPort, PublishPort> {
    if spec.container.is_empty() {
        return Err(PublishPort::NoTarget);
    }
    let _inside = runtime.enter();
    let mut tasks = JoinSet::new();
    let host_port = match spec.protocol {
        TransportProtocol::Tcp => {
            let (listeners, host_port) = bind::tcp(spec.host_ip, spec.host_port)?;
            for listener in listeners {
                let targets = bind::targets(spec, listener.local_addr());
                tasks.spawn_on(tcp::serve(listener, targets), runtime);
            }
            host_port
        }
        TransportProtocol::Udp => {
            let (sockets, host_port) = bind::udp(spec.host_ip, spec.host_port)?;
            for socket in sockets {
                let targets = bind::targets(spec, socket.local_addr());
                tasks.spawn_on(udp::serve(socket, targets), runtime);
            }
            host_port
        }
    };
    Ok(PublishedPort { host_port, tasks })
}

impl PublishedPort {
    /// The host's port, picked by the kernel where zero was asked for.
    pub const fn host_port(&self) -> u16 {
        self.host_port
    }

    /// Ends the proxy; the port is free when this returns.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}
