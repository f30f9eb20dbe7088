//! A container of one network that tries to reach another without pause, while the agent comes and goes.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::figures::Row;
use super::outage::Outage;
use super::scaled;
use crate::harness::{Endpoint, Host, Netns, enter};

#[test]
fn another_network_is_never_reached_while_the_agent_comes_and_goes() {
    let host = Host::start();
    for name in ["red", "blue"] {
        host.tapestry(&["network", "create", name]).ok();
    }
    let intruder = host.endpoint("red", "intruder");
    let [victim, friend] = ["victim", "friend"].map(|name| host.endpoint("blue", name));
    let door = Door::open(&victim);
    friend.netns.enter(|| {
        knock_over_tcp(door.address);
        knock_over_udp(door.address);
    });
    assert_eq!(door.came_in(), 2, "its own network comes in");

    let tries = Tries::start(door.address, &intruder.netns);
    let rounds = [Outage::Kill, Outage::Stop, Outage::Kill, Outage::KillAll].repeat(scaled(5, 1));
    for outage in &rounds {
        outage.strike(&host);
    }
    let tried = tries.end();
    let mut row = Row::new(
        6,
        format_args!(
            "connections into another network, through {} outages",
            rounds.len()
        ),
        "0",
        "0",
    );
    row.figure(format_args!("{tried} tries"));
    row.hold(tried > 100, "hardly anything was tried");
    row.none("came through", door.came_in(), &[]);
    row.finish();
}

/// A TCP and a UDP port in a sandbox.
struct Door {
    address: IpAddr,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Door {
    fn open(endpoint: &Endpoint<'_>) -> Self {
        let address: IpAddr = endpoint.ipv4().into();
        let (tcp, udp) = endpoint.netns.enter(|| {
            let tcp = TcpListener::bind((address, TCP_PORT)).unwrap();
            (tcp, UdpSocket::bind((address, UDP_PORT)).unwrap())
        });
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { address, tcp, udp }
    }

    /// How many came in since it was asked last.
    fn came_in(&self) -> usize {
        let over_tcp = std::iter::from_fn(|| self.tcp.accept().ok()).count();
        let over_udp = std::iter::from_fn(|| self.udp.recv(&mut [0; 64]).ok()).count();
        over_tcp + over_udp
    }
}

/// From the namespace that it is called in.
fn knock_over_tcp(address: IpAddr) {
    let failed = TcpStream::connect_timeout(&SocketAddr::new(address, TCP_PORT), PATIENCE).err();
    if failed.is_some_and(|error| error.kind() != ErrorKind::TimedOut) {
        // Refused at once, as where there is no route: no need to ask all the time.
        std::thread::sleep(PAUSE);
    }
}

fn knock_over_udp(address: IpAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let _ = socket.send_to(b"knock", (address, UDP_PORT));
    std::thread::sleep(PAUSE);
}

/// Knock until they are ended.
struct Tries {
    over: Arc<AtomicBool>,
    knockers: Vec<JoinHandle<usize>>,
}

impl Tries {
    fn start(address: IpAddr, netns: &Netns) -> Self {
        let over = Arc::<AtomicBool>::default();
        let ways: [fn(IpAddr); 9] = std::array::from_fn(|number| -> fn(IpAddr) {
            match number {
                0 => knock_over_udp,
                _ => knock_over_tcp,
            }
        });
        let start = |knock: fn(IpAddr)| {
            let (over, sandbox) = (Arc::clone(&over), netns.path());
            let tries = move || {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    knock(address);
                    count += 1;
                }
                count
            };
            std::thread::spawn(move || enter(&sandbox, tries))
        };
        let knockers = ways.map(start).into();
        Self { over, knockers }
    }

    /// How many there were.
    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let counts = self.knockers.into_iter().map(|knocker| knocker.join());
        counts.map(Result::unwrap).sum()
    }
}

const TCP_PORT: u16 = 7201;
const UDP_PORT: u16 = 7202;
/// How long an unanswered connection is waited for.
const PATIENCE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(1);
