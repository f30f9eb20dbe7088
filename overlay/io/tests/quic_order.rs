//! Datagrams of a flow leave a QUIC tunnel in the order in which they arrived. These tests need root and fail without it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use overlay_lab::quic_pair::{V4, hosts};
use overlay_lab::{Station, Underlay, eventually, ip};
use switch_io::EngineChoice;

/// Datagrams on their way that the queues between two hosts have room for.
const LAG_MAX: u64 = 400;

/// What a receiver saw of the numbers in its datagrams.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    received: u64,
    /// Datagrams whose number is below one that came before.
    late: u64,
    /// How far below at most.
    late_by: u64,
    highest: u64,
}

impl Seen {
    fn see(&mut self, number: u64) {
        self.received += 1;
        if number < self.highest {
            self.late += 1;
            self.late_by = self.late_by.max(self.highest - number);
        }
        self.highest = self.highest.max(number);
    }
}

/// Reads numbered datagrams until it is told that the last was sent.
struct Receiver {
    is_over: Arc<AtomicBool>,
    highest: Arc<AtomicU64>,
    thread: JoinHandle<Seen>,
}

impl Receiver {
    fn start(at: &Station) -> Self {
        let socket = at.run(|| UdpSocket::bind(address(2)).unwrap());
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        let pause = Duration::from_millis(200);
        socket.set_read_timeout(Some(pause)).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let highest = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&highest);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut bytes = [0; 2048];
            loop {
                match socket.recv(&mut bytes) {
                    Ok(_) => {
                        seen.see(u64::from_le_bytes(*bytes.first_chunk().unwrap()));
                        told.store(seen.highest, Ordering::Relaxed);
                    }
                    Err(_) if over.load(Ordering::Relaxed) => return seen,
                    Err(_) => {}
                }
            }
        });
        Self {
            is_over,
            highest,
            thread,
        }
    }

    /// Waits until the tunnel has carried nearly all that was sent before `number`.
    fn keep_up(&self, number: u64) {
        let lag = || number.saturating_sub(self.highest.load(Ordering::Relaxed));
        if lag() > LAG_MAX {
            eventually("the tunnel keeps up", || lag() <= LAG_MAX / 2);
        }
    }

    fn finish(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn sender(at: &Station) -> UdpSocket {
    at.run(|| {
        let socket = UdpSocket::bind(address(1)).unwrap();
        socket.connect(address(2)).unwrap();
        socket
    })
}

fn address(host: u8) -> SocketAddr {
    (ip(&format!("10.9.0.{host}")), 4000).into()
}

fn datagram(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![7; len];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Every hundredth datagram of the tunnel is lost at both hosts.
fn lose(underlay: &Underlay) {
    for host in &underlay.hosts {
        host.sh("nft add table inet loss; nft 'add chain inet loss in { type filter hook prerouting priority -300; }'; \
                 nft add rule inet loss in udp dport 4790 numgen random mod 100 '<' 1 drop");
    }
}

#[test]
fn a_loss_puts_no_datagram_of_a_flow_behind_a_later_one() {
    let underlay = Underlay::new();
    underlay.segment();
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    lose(&underlay);
    let receiver = Receiver::start(&b.container);
    let socket = sender(&a.container);
    let count = 30_000;
    for number in 0..count {
        // Half of them fit into one datagram of the tunnel, half do not.
        let len = 1300 + usize::try_from(number * 37 % 173).unwrap();
        socket.send(&datagram(number, len)).unwrap();
        if number % 8 == 0 {
            std::thread::sleep(Duration::from_micros(300));
            receiver.keep_up(number);
        }
    }
    let seen = receiver.finish();
    assert_eq!(seen.late, 0, "{seen:?}");
    assert!(seen.received > count * 9 / 10, "{seen:?}");
    assert!(seen.received < count, "nothing was lost: {seen:?}");
}

/// Sends datagrams of `len` bytes as fast as it can, so many in one piece with each write, over and over.
fn flood(socket: &UdpSocket, len: usize, segments: &[usize], span: Duration) {
    let size = i32::try_from(len).unwrap();
    setsockopt(socket, sockopt::UdpGsoSegment, &size).unwrap();
    let end = Instant::now() + span;
    let mut number = 0;
    for segments in segments.iter().cycle() {
        let mut bytes = Vec::with_capacity(segments * len);
        for _ in 0..*segments {
            bytes.extend(datagram(number, len));
            number += 1;
        }
        let _ = socket.send(&bytes);
        if Instant::now() > end {
            return;
        }
    }
}

fn a_flood_stays_in_order(engine: EngineChoice) {
    let underlay = Underlay::new();
    let [a, b] = hosts(&underlay, V4, engine, 1500, 1472);
    // A kernel that still asks for its neighbour reorders by itself.
    assert!(a.container.pings("10.9.0.2"));
    for (len, segments) in [
        (1200, &[40, 1, 3, 1, 1][..]),
        (1472, &[40]),
        (1472, &[1]),
        (100, &[60, 1]),
    ] {
        let receiver = Receiver::start(&b.container);
        flood(&sender(&a.container), len, segments, Duration::from_secs(2));
        let seen = receiver.finish();
        assert!(seen.received > 1000, "{seen:?}");
        assert!(seen.received < seen.highest, "nothing was lost: {seen:?}");
        assert_eq!(seen.late, 0, "{segments:?} of {len} bytes: {seen:?}");
    }
}

#[test]
fn a_sender_faster_than_the_tunnel_is_cut_short_and_stays_in_order() {
    a_flood_stays_in_order(EngineChoice::Uring);
}

#[test]
fn a_flood_stays_in_order_where_two_workers_meet() {
    a_flood_stays_in_order(EngineChoice::Epoll);
}
