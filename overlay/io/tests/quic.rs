//! QUIC between namespaces. These tests need root and fail without it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use overlay_io::QuicEvent;
use overlay_lab::quic_pair::{UDP_PORT, V4, V6, hosts};
use overlay_lab::{
    Station, Underlay, datagrams_stay_as_they_were_sent, eventually, everything_crosses, host, ip,
    transfer,
};
use switch_io::EngineChoice;
use switch_io::packet::PacketSocket;

fn all_of_it(
    outside: [&'static str; 2],
    engine: EngineChoice,
    segmented: bool,
    udp_payload_max: u16,
) {
    let underlay = Underlay::new();
    if segmented {
        underlay.segment();
    }
    if udp_payload_max > 1472 {
        underlay.mtu(9000);
    }
    let [a, b] = hosts(&underlay, outside, engine, 1500, udp_payload_max);
    everything_crosses(&a.container, &b.container);
    datagrams_stay_as_they_were_sent(&a.container, &b.container, "10.9.0.2");
    // Full frames of the inner MTU, not one of them TCP.
    let whole = a
        .container
        .output("ping -c 5 -i 0.05 -W 1 -M do -s 1472 10.9.0.2");
    assert!(whole.status.success());
    for (at, remote) in [(&a, "beta"), (&b, "alpha")] {
        eventually("datagrams are as long as the underlay carries", || {
            let path = at.tunnel.peer(&host(remote)).unwrap().path.unwrap();
            path.udp_payload == udp_payload_max
        });
    }
    let counts = a.network.switch.counters(a.port).unwrap();
    assert!(
        counts.rx_bytes / counts.rx_frames > 3000,
        "superframes did not stay whole: {counts:?}"
    );
    let (peer, reassembly) = a.tunnel.peer_counts(&host("beta")).unwrap();
    assert_eq!((peer.ups, peer.downs), (1, 0));
    assert_eq!(
        (reassembly.invalid, reassembly.mismatched),
        (0, 0),
        "{reassembly:?}"
    );
}

/// As over veth pairs: the kernel of the receiver cuts it, if its reader needs that.
#[test]
fn datagrams_that_were_handed_over_in_one_piece_arrive_in_one_piece() {
    let underlay = Underlay::new();
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    assert!(a.container.pings("10.9.0.2"));
    let receiver = b.container.run(|| UdpSocket::bind("10.9.0.2:19").unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let sender = a.container.run(|| UdpSocket::bind("10.9.0.1:0").unwrap());
    sender.connect("10.9.0.2:19").unwrap();
    setsockopt(&sender, UdpGsoSegment, &100).unwrap();
    let capture = b.container.run(|| PacketSocket::open("eth0").unwrap());
    sender.send(&[7; 4000]).unwrap();
    let is_udp = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 17;
    let len = std::iter::from_fn(|| capture.receive(Duration::from_secs(5)).unwrap())
        .find(|received| is_udp(&received.frame))
        .map(|received| received.frame.len());
    assert_eq!(len, Some(14 + 28 + 4000));
    for _ in 0..40 {
        assert_eq!(receiver.recv(&mut [0; 5000]).unwrap(), 100);
    }
}

#[test]
fn ipv4_underlay() {
    all_of_it(V4, EngineChoice::Uring, false, 1472);
}

#[test]
fn ipv6_underlay() {
    all_of_it(V6, EngineChoice::Epoll, false, 1452);
}

#[test]
fn segmented_underlay() {
    all_of_it(V4, EngineChoice::Uring, true, 1472);
}

#[test]
fn jumbo_underlay() {
    all_of_it(V4, EngineChoice::Uring, true, 8972);
}

/// A stream that goes on for as long as it is not stopped, and how many bytes arrived.
struct Stream {
    arrived: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Stream {
    fn new(from: &Station, to: &Station) -> Self {
        let address = (ip("10.9.0.2"), 9);
        let listener = to.run(move || TcpListener::bind(address).unwrap());
        let mut sender = from.run(move || TcpStream::connect(address).unwrap());
        let stream = Self {
            arrived: Arc::default(),
            stop: Arc::default(),
        };
        let (arrived, stop) = (Arc::clone(&stream.arrived), Arc::clone(&stream.stop));
        std::thread::spawn(move || {
            let (mut receiver, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 1 << 16];
            while let Ok(len @ 1..) = receiver.read(&mut bytes) {
                arrived.fetch_add(len, Ordering::Relaxed);
            }
        });
        std::thread::spawn(move || {
            let bytes = vec![7; 1 << 16];
            while !stop.load(Ordering::Relaxed) && sender.write_all(&bytes).is_ok() {}
        });
        stream
    }

    /// The longest time without a byte within `span`.
    fn stall(&self, span: Duration) -> Duration {
        let end = Instant::now() + span;
        let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
        while Instant::now() < end {
            let arrived = self.arrived.load(Ordering::Relaxed);
            if arrived != last {
                last = arrived;
                since = Instant::now();
            }
            longest = longest.max(since.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        longest
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_underlay_that_shrinks_stalls_a_stream_for_less_than_two_seconds() {
    let underlay = Underlay::new();
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    let stream = Stream::new(&a.container, &b.container);
    assert!(stream.stall(Duration::from_secs(1)) < Duration::from_secs(1));
    underlay.mtu(1280);
    let stall = stream.stall(Duration::from_secs(3));
    assert!(stall < Duration::from_secs(2), "{stall:?}");
    assert!(stream.stall(Duration::from_secs(1)) < Duration::from_millis(500));
}

#[test]
fn an_underlay_that_shrinks_out_of_sight_stalls_a_stream_for_less_than_two_seconds() {
    let underlay = Underlay::new();
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    let stream = Stream::new(&a.container, &b.container);
    assert!(stream.stall(Duration::from_secs(1)) < Duration::from_secs(1));
    // Long packets vanish on the way, and nobody says so. A train would count as one.
    underlay.segment();
    for host in &underlay.hosts {
        host.sh("nft add table inet hole; nft 'add chain inet hole in { type filter hook prerouting priority -300; }'; \
                 nft add rule inet hole in udp dport 4790 meta length gt 1280 drop");
    }
    let stall = stream.stall(Duration::from_secs(4));
    assert!(stall < Duration::from_secs(2), "{stall:?}");
}

#[test]
fn a_host_cut_off_is_dead_and_healed_within_a_second_each() {
    let underlay = Underlay::new();
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    let events = a.tunnel.events();
    underlay.hosts[1].ip("link set eth0 down");
    let start = Instant::now();
    let event = events.recv_timeout(Duration::from_secs(3)).unwrap();
    assert_eq!(event, QuicEvent::PeerDown { host: host("beta") });
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    // Away so long that dials have become rare.
    let dials = || a.tunnel.peer_counts(&host("beta")).unwrap().0.dials;
    let before = dials();
    eventually("dials without an answer", || dials() >= before + 3);
    underlay.hosts[1].ip("link set eth0 up");
    let start = Instant::now();
    let event = events.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(matches!(event, QuicEvent::PeerUp { .. }));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert!(a.container.pings("10.9.0.2"));
    drop(b);
}

#[test]
fn an_address_that_changes_under_load_ends_nothing() {
    let underlay = Underlay::new();
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    let stream = Stream::new(&a.container, &b.container);
    assert!(stream.stall(Duration::from_secs(1)) < Duration::from_secs(1));
    underlay.hosts[0].sh("sysctl -w net.ipv4.conf.eth0.promote_secondaries=1");
    underlay.hosts[0].ip("addr add 192.0.2.9/24 dev eth0");
    let tunnel = Arc::new(a.tunnel);
    let moved = Arc::clone(&tunnel);
    underlay.hosts[0].run(move || moved.rebind((ip("192.0.2.9"), UDP_PORT).into()).unwrap());
    underlay.hosts[0].ip("addr del 192.0.2.1/24 dev eth0");
    let stall = stream.stall(Duration::from_secs(2));
    assert!(stall < Duration::from_secs(1), "{stall:?}");
    assert_eq!(tunnel.peer_counts(&host("beta")).unwrap().0.downs, 0);
}

#[test]
fn lost_datagrams_make_the_others_no_shorter() {
    let underlay = Underlay::new();
    underlay.segment();
    for host in &underlay.hosts {
        host.sh("nft add table inet loss; nft 'add chain inet loss in { type filter hook prerouting priority -300; }'; \
                 nft add rule inet loss in udp dport 4790 numgen random mod 100 0 drop");
    }
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    let _stream = Stream::new(&a.container, &b.container);
    let payload = || {
        a.tunnel
            .peer(&host("beta"))
            .unwrap()
            .path
            .unwrap()
            .udp_payload
    };
    eventually("long datagrams", || payload() == 1472);
    let samples = 400;
    let is_long = |_: &usize| {
        std::thread::sleep(Duration::from_millis(5));
        payload() >= 1400
    };
    let long = (0..samples).filter(is_long).count();
    assert!(long > samples * 2 / 3, "{long} of {samples}");
}

#[test]
fn lost_datagrams_cost_no_connection() {
    let underlay = Underlay::new();
    let [a, b] = hosts(&underlay, V4, EngineChoice::Auto, 1500, 1472);
    underlay.segment();
    for host in &underlay.hosts {
        host.sh("nft add table inet loss; nft 'add chain inet loss in { type filter hook prerouting priority -300; }'; \
                 nft add rule inet loss in udp dport 4790 numgen random mod 100 '<' 1 drop");
    }
    transfer(&a.container, &b.container, "10.9.0.2", 4 << 20);
    transfer(&b.container, &a.container, "10.9.0.1", 4 << 20);
    assert_eq!(a.tunnel.peer_counts(&host("beta")).unwrap().0.downs, 0);
}
