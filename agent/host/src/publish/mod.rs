//! Published ports on the host's own addresses.
//!
//! # Theory of operation
//!
//! The packet filter leads connections to a published port on to the container, those from other hosts and those that the
//! host makes to itself, loopback addresses included. What it cannot lead is served by a small proxy that connects on
//! to the container through the network's host port: connections to link-local addresses, whose packets the
//! kernel keeps on their link, and clients of a family that the container has no address of.
//!
//! A published port is also held, so that no other program gets it silently and a taken one is an error at once. Both cost
//! sockets, so they end at [`PROXIED_MAX`] ports of a container, the longest runs going without: those are looked at once,
//! whether somebody else has them, and then are the filter's alone. So are those that an engine keeps itself.
//!
//! A TCP connection is copied in both directions with each end's half-close passed on. UDP keeps one connected socket
//! per client address, bounded, and forgotten when idle; at the bound the one idle for longest goes. When the container's
//! addresses change, what was connected to the old ones ends before the new ones are served. Dropping [`PublishedPorts`]
//! ends all of it.

mod bind;
mod tcp;
mod udp;

use std::net::IpAddr;

use agent_api::PortRun;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use self::bind::Held;
pub use self::bind::{Absent, PublishPort};

/// A run of ports that is taken. Dropping it frees them soon; [`PublishedPorts::close`] when it returns.
#[derive(Debug)]
pub struct PublishedPorts {
    run: PortRun,
    /// Each with the container's port that it stands for.
    held: Vec<(Held, u16)>,
    proxies: JoinSet<()>,
}

impl PublishedPorts {
    /// Takes the ports; blocks only for the binding itself. Without `proxied`, they are only seen to be nobody else's.
    pub fn take(
        run: PortRun,
        proxied: bool,
        absent: Absent,
        runtime: &Handle,
    ) -> Result<Self, PublishPort> {
        let _inside = runtime.enter();
        let mut taken = Self {
            run,
            held: Vec::new(),
            proxies: JoinSet::new(),
        };
        for (host_port, container_port) in run.pairs() {
            if !proxied {
                bind::probe(&run, host_port, absent)?;
                continue;
            }
            let (held, picked) = bind::hold(&run, host_port, absent)?;
            if host_port == 0 {
                taken.run.host_port = picked;
            }
            let held = held.into_iter().map(|socket| (socket, container_port));
            taken.held.extend(held);
        }
        Ok(taken)
    }

    /// Ports that somebody else keeps, for whom they are served.
    pub fn kept_elsewhere(run: PortRun) -> Self {
        Self {
            run,
            held: Vec::new(),
            proxies: JoinSet::new(),
        }
    }

    /// With the port that the kernel picked where zero was asked for.
    pub const fn run(&self) -> &PortRun {
        &self.run
    }

    /// Whether connections that the filter cannot lead are served.
    pub const fn is_proxied(&self) -> bool {
        !self.held.is_empty()
    }

    /// Serves connections by the container's addresses; what went to its former ones has ended when this returns.
    pub async fn lead_to(&mut self, container: &[IpAddr]) {
        self.proxies.shutdown().await;
        for (held, container_port) in &self.held {
            let Ok(local) = held.local_addr() else {
                continue;
            };
            let targets = bind::targets(container, local, *container_port);
            match held.clone() {
                Held::Tcp(listener) => self.proxies.spawn(tcp::serve(listener, targets)),
                Held::Udp(socket) => {
                    let limits = udp::Limits::default();
                    self.proxies.spawn(udp::serve(socket, targets, limits))
                }
            };
        }
    }

    /// Ends the proxies; the ports are free when this returns.
    pub async fn close(mut self) {
        self.proxies.shutdown().await;
    }
}

/// Which of a container's runs get sockets: the shortest, up to [`PROXIED_MAX`] ports.
pub fn proxied(runs: &[PortRun]) -> Vec<bool> {
    let mut shortest_first: Vec<usize> = (0..runs.len()).collect();
    shortest_first.sort_by_key(|at| runs[*at].ports);
    let mut left = PROXIED_MAX;
    let mut proxied = vec![false; runs.len()];
    for at in shortest_first {
        let Some(rest) = left.checked_sub(usize::from(runs[at].ports)) else {
            break;
        };
        left = rest;
        proxied[at] = true;
    }
    proxied
}

/// How many ports of one container are held and served by proxies.
pub const PROXIED_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::time::Duration;

    use agent_api::TransportProtocol;
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

    fn run(protocol: TransportProtocol, container_port: u16) -> PortRun {
        PortRun {
            protocol,
            host_ip: Some(LOOPBACK),
            host_port: 0,
            container_port,
            ports: 1,
        }
    }

    /// Taken, and leading to the loopback address.
    fn publish(run: PortRun, runtime: &Runtime) -> Result<PublishedPorts, PublishPort> {
        let mut ports = PublishedPorts::take(run, true, Absent::Refused, runtime.handle())?;
        runtime.block_on(ports.lead_to(&[LOOPBACK]));
        Ok(ports)
    }

    fn reached_at(ports: &PublishedPorts) -> SocketAddr {
        (LOOPBACK, ports.run().host_port).into()
    }

    #[test]
    fn a_connection_is_relayed_with_half_closes() {
        let runtime = runtime();
        let server = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let target = server.local_addr().unwrap();
        let port = publish(run(TransportProtocol::Tcp, target.port()), &runtime).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut question = String::new();
            // Ends only when the client's half-close arrives.
            stream.read_to_string(&mut question).unwrap();
            stream
                .write_all(question.to_uppercase().as_bytes())
                .unwrap();
        });
        let mut client = TcpStream::connect(reached_at(&port)).unwrap();
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
        let port = publish(run(TransportProtocol::Udp, target.port()), &runtime).unwrap();
        let clients = [(); 2].map(|()| UdpSocket::bind((LOOPBACK, 0)).unwrap());
        let mut buffer = [0; 16];
        for (client, text) in clients.iter().zip([b"a", b"b"]) {
            client
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            client.send_to(text, reached_at(&port)).unwrap();
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
            let first = publish(run(protocol, 1), &runtime).unwrap();
            let mut again = *first.run();
            for host_ip in [Some(LOOPBACK), None] {
                again.host_ip = host_ip;
                for proxied in [true, false] {
                    let handle = runtime.handle();
                    let taken = PublishedPorts::take(again, proxied, Absent::Refused, handle);
                    let refused = taken.unwrap_err();
                    assert!(
                        matches!(refused, PublishPort::AddressInUse { .. }),
                        "{refused}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_address_of_another_host_is_refused_or_awaited() {
        let runtime = runtime();
        let mut run = run(TransportProtocol::Tcp, 1);
        run.host_ip = Some("192.0.2.77".parse().unwrap());
        let refused = publish(run, &runtime).unwrap_err();
        assert!(matches!(refused, PublishPort::NotOurs { .. }), "{refused}");
        for address in ["192.0.2.77", "2001:db8::77"] {
            run.host_ip = Some(address.parse().unwrap());
            PublishedPorts::take(run, true, Absent::Awaited, runtime.handle()).unwrap();
        }
    }

    #[test]
    fn a_closed_port_is_free_and_its_connections_end() {
        let runtime = runtime();
        let server = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let target = server.local_addr().unwrap();
        let port = publish(run(TransportProtocol::Tcp, target.port()), &runtime).unwrap();
        let address = reached_at(&port);
        let mut client = TcpStream::connect(address).unwrap();
        let (_container, _) = server.accept().unwrap();
        runtime.block_on(port.close());
        assert!(TcpStream::connect(address).is_err());
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn connections_to_a_former_address_end_and_new_ones_go_to_the_new() {
        let runtime = runtime();
        let old = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let container_port = old.local_addr().unwrap().port();
        let second: IpAddr = "127.0.0.2".parse().unwrap();
        let new = TcpListener::bind((second, container_port)).unwrap();
        let mut port = publish(run(TransportProtocol::Tcp, container_port), &runtime).unwrap();
        let mut client = TcpStream::connect(reached_at(&port)).unwrap();
        let (_stranger, _) = old.accept().unwrap();
        runtime.block_on(port.lead_to(&[second]));
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
        let _client = TcpStream::connect(reached_at(&port)).unwrap();
        new.accept().unwrap();
    }

    #[test]
    fn a_connection_that_the_container_refuses_is_reset() {
        let runtime = runtime();
        let closed = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let container_port = closed.local_addr().unwrap().port();
        drop(closed);
        let port = publish(run(TransportProtocol::Tcp, container_port), &runtime).unwrap();
        let error = TcpStream::connect(reached_at(&port))
            .and_then(|mut client| client.read(&mut [0; 1]))
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn dropping_a_port_frees_it_soon() {
        let runtime = runtime();
        let port = publish(run(TransportProtocol::Udp, 1), &runtime).unwrap();
        let again = *port.run();
        drop(port);
        let free = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            publish(again, &runtime).is_ok()
        });
        assert!(free);
    }

    #[test]
    fn the_longest_runs_go_without_a_proxy() {
        let of = |ports| PortRun {
            ports,
            ..run(TransportProtocol::Udp, 1)
        };
        assert_eq!(proxied(&[of(10_000), of(1), of(2)]), [false, true, true]);
        assert_eq!(proxied(&[of(256)]), [true]);
        assert_eq!(proxied(&[of(200), of(57), of(1)]), [false, true, true]);
    }
}
