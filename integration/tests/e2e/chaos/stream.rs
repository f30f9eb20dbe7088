//! A thousand datagrams a second from one sandbox to another.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::gaps::{Arrival, Trace};
use crate::harness::{enter, eventually};

/// Flows until it is ended.
pub(super) struct Stream {
    arrived: Arc<AtomicUsize>,
    pause: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<Vec<Arrival>>,
}

impl Stream {
    /// To `address`, which the sandbox `to` has; flows when this returns.
    pub(super) fn start(from: &Path, to: &Path, address: IpAddr) -> Self {
        let any: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let receiver = enter(to, || UdpSocket::bind((any, UDP_PORT))).unwrap();
        receiver.set_read_timeout(Some(QUIET)).unwrap();
        let sender = enter(from, || UdpSocket::bind((any, 0))).unwrap();
        let target = SocketAddr::new(address, UDP_PORT);
        let arrived = Arc::<AtomicUsize>::default();
        let [pause, end] = [(); 2].map(|()| Arc::<AtomicBool>::default());
        let (over, counter, ended) = (Arc::clone(&pause), Arc::clone(&arrived), Arc::clone(&end));
        let stream = Self {
            arrived,
            pause,
            end,
            sender: std::thread::spawn(move || send(&sender, target, &over)),
            receiver: std::thread::spawn(move || receive(&receiver, &counter, &ended)),
        };
        stream.flows(ENOUGH);
        stream
    }

    /// Waits until so many `more` have come through.
    pub(super) fn flows(&self, more: usize) {
        let before = self.arrived.load(Ordering::Relaxed);
        eventually(PATIENCE, "the stream flows", || {
            (self.arrived.load(Ordering::Relaxed) > before + more).then_some(())
        });
    }

    /// Ends it, once what is on its way has come.
    pub(super) fn end(self) -> Trace {
        self.pause.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        self.end.store(true, Ordering::Relaxed);
        let arrivals = self.receiver.join().unwrap();
        Trace { sent, arrivals }
    }
}

fn send(socket: &UdpSocket, target: SocketAddr, over: &AtomicBool) -> Vec<Instant> {
    let mut sent: Vec<Instant> = Vec::new();
    let mut next = Instant::now();
    let mut payload = [0; 64];
    while !over.load(Ordering::Relaxed) && sent.len() < DATAGRAMS_MAX {
        payload[..8].copy_from_slice(&sent.len().to_le_bytes());
        sent.push(Instant::now());
        // What the kernel does not take, as when the link is gone, is as lost as what the network does not carry.
        let _ = socket.send_to(&payload, target);
        next += PERIOD;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    sent
}

fn receive(socket: &UdpSocket, counter: &AtomicUsize, ended: &AtomicBool) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut payload = [0; 64];
    loop {
        match socket.recv(&mut payload) {
            Ok(64) => {
                let at = Instant::now();
                let number: [u8; 8] = payload[..8].try_into().unwrap();
                let number = usize::from_le_bytes(number);
                arrivals.push(Arrival { number, at });
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Err(error)
                if error.kind() == ErrorKind::WouldBlock && ended.load(Ordering::Relaxed) =>
            {
                return arrivals;
            }
            // Nothing yet, or somebody else's, or what an ICMP message said.
            _ => {}
        }
    }
}

const PERIOD: Duration = Duration::from_millis(1);
/// After so long without any, nothing is on its way any more.
const QUIET: Duration = Duration::from_millis(500);
/// Then it flows again.
pub(super) const ENOUGH: usize = 200;
const PATIENCE: Duration = Duration::from_secs(30);
const UDP_PORT: u16 = 7001;
/// An hour.
const DATAGRAMS_MAX: usize = 3_600_000;
