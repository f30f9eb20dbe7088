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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
    use std::time::Duration;

    use tokio::runtime::Runtime;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    fn spec(protocol: TransportProtocol, container: SocketAddr) -> PublishSpec {
        PublishSpec {
            protocol,
            host_ip: Some(LOOPBACK),
            host_port: 0,
            container: vec![container],
        }
    }

    #[test]
    fn a_connection_is_relayed_with_half_closes() {
        let runtime = runtime();
        let server = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let target = server.local_addr().unwrap();
        let port = publish(&spec(TransportProtocol::Tcp, target), runtime.handle()).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut question = String::new();
            // Ends only when the client's half-close arrives.
            stream.read_to_string(&mut question).unwrap();
            stream
                .write_all(question.to_uppercase().as_bytes())
                .unwrap();
        });
        let mut client = TcpStream::connect((LOOPBACK, port.host_port())).unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "QUESTION");
        server.join().unwrap();
    }

    #[test]
    fn datagrams_of_two_clients_go_back_to_their_own_sender() {
        let runtime = runtime();
        let server = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let target = server.local_addr().unwrap();
        let port = publish(&spec(TransportProtocol::Udp, target), runtime.handle()).unwrap();
        let clients = [(); 2].map(|()| UdpSocket::bind((LOOPBACK, 0)).unwrap());
        let mut buffer = [0; 16];
        for (client, text) in clients.iter().zip([b"a", b"b"]) {
            client
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            client.send_to(text, (LOOPBACK, port.host_port())).unwrap();
        }
        for _ in &clients {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
        }
        for (client, text) in clients.iter().zip([b"a", b"b"]) {
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text);
        }
    }

    #[test]
    fn a_taken_port_is_refused_by_name() {
        let runtime = runtime();
        for protocol in [TransportProtocol::Tcp, TransportProtocol::Udp] {
            let first = publish(&spec(protocol, (LOOPBACK, 1).into()), runtime.handle()).unwrap();
            let mut again = spec(protocol, (LOOPBACK, 1).into());
            again.host_port = first.host_port();
            let refused = publish(&again, runtime.handle()).unwrap_err();
            assert!(
                matches!(refused, PublishPort::AddressInUse { .. }),
                "{refused}"
            );
            again.host_ip = None;
            let refused = publish(&again, runtime.handle()).unwrap_err();
            assert!(
                matches!(refused, PublishPort::AddressInUse { .. }),
                "{refused}"
            );
        }
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let runtime = runtime();
        let mut spec = spec(TransportProtocol::Tcp, (LOOPBACK, 1).into());
        spec.host_ip = Some("192.0.2.77".parse().unwrap());
        let refused = publish(&spec, runtime.handle()).unwrap_err();
        assert!(matches!(refused, PublishPort::NotOurs { .. }), "{refused}");
        spec.container.clear();
        let refused = publish(&spec, runtime.handle()).unwrap_err();
        assert!(matches!(refused, PublishPort::NoTarget), "{refused}");
    }

    #[test]
    fn a_closed_port_is_free_and_its_connections_end() {
        let runtime = runtime();
        let server = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let spec = spec(TransportProtocol::Tcp, server.local_addr().unwrap());
        let port = publish(&spec, runtime.handle()).unwrap();
        let address = (LOOPBACK, port.host_port());
        let mut client = TcpStream::connect(address).unwrap();
        let (_container, _) = server.accept().unwrap();
        runtime.block_on(port.close());
        assert!(TcpStream::connect(address).is_err());
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn dropping_a_port_frees_it_soon() {
        let runtime = runtime();
        let mut spec = spec(TransportProtocol::Udp, (LOOPBACK, 1).into());
        let port = publish(&spec, runtime.handle()).unwrap();
        spec.host_port = port.host_port();
        drop(port);
        let free = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            publish(&spec, runtime.handle()).is_ok()
        });
        assert!(free);
    }
}
