//! The switch between TAPs in network namespaces. These tests need root and fail without it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::{
    Station, bridge, enter_private_namespace, eventually, frame, superframe, switch, tap_port,
};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use switch_core::{Bridge, DropReason, Joining, PortConfig, PortCounts, PortId};
use switch_io::packet::PacketSocket;
use switch_io::{
    BasicTap, Capabilities, EngineChoice, FramePort, Impaired, OffloadTap, OpenTap, Switch,
    SwitchConfig, SwitchEvent, channel,
};

on_both_engines! {
    tcp_superframes_cross_whole_between_offload_taps
    tcp_superframes_are_cut_for_a_basic_tap
    tcp_leaves_a_basic_tap
    decorated_taps_carry_tcp
    a_superframe_of_64_kib_is_accepted_by_the_kernel
    joined_datagrams_arrive_one_by_one
    datagrams_reach_a_tap_as_they_were_sent
    what_the_sender_handed_over_in_one_piece_crosses_in_one_piece
    what_a_full_tap_loses_is_counted_at_its_port
    a_port_is_removed_under_load_and_its_interface_vanishes
    the_death_of_a_sandbox_is_reported
    a_link_that_is_down_is_counted
    a_tap_can_be_handed_over
    a_tap_changes_its_reader_in_order
    a_flow_stays_in_order_across_batches
}

const TRANSFER: usize = 8 << 20;
const DATAGRAMS: u32 = 50_000;
const PATIENCE: Duration = Duration::from_secs(5);

struct Network {
    switch: Switch,
    bridge: Arc<Bridge>,
    joining: Joining,
}

impl Network {
    fn new(engine: EngineChoice) -> Self {
        enter_private_namespace();
        Self {
            switch: switch(engine),
            bridge: bridge(),
            joining: Joining::default(),
        }
    }

    fn add(&self, port: impl FramePort + 'static) -> PortId {
        let config = PortConfig {
            joining: self.joining,
            ..tap_port()
        };
        self.switch
            .add_port(&self.bridge, Box::new(port), config)
            .unwrap()
    }

    /// A station with an offload TAP.
    fn station(&self, name: &str, address: &str) -> (PortId, Station) {
        let port = self.add(OffloadTap::create(name).unwrap());
        let station = Station::new();
        station.adopt(name, address);
        (port, station)
    }

    fn counts(&self, port: PortId) -> PortCounts {
        self.switch.counters(port).unwrap()
    }
}

/// Sends [`TRANSFER`] bytes and checks every one.
fn transfer(from: &Station, to: &Station, address: &'static str) {
    let listener = to.run(move || TcpListener::bind((address, 9)).unwrap());
    let receiver = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    });
    let data: Vec<u8> = (0..TRANSFER).map(|n| n.to_le_bytes()[n % 3]).collect();
    let mut stream = from.run(move || TcpStream::connect((address, 9)).unwrap());
    stream.write_all(&data).unwrap();
    drop(stream);
    assert!(
        receiver.join().unwrap() == data,
        "the data changed on the way"
    );
}

fn assert_no_offload_lost(counts: &PortCounts) {
    let harmless = [
        DropReason::NoEgress,
        DropReason::LinkLocalControl,
        DropReason::LinkDown,
    ];
    let drops: Vec<_> = counts
        .drop_reasons()
        .filter(|(reason, _)| !harmless.contains(reason))
        .collect();
    assert!(drops.is_empty(), "{drops:?}");
}

fn tcp_superframes_cross_whole_between_offload_taps(engine: EngineChoice) {
    let network = Network::new(engine);
    let (a_port, a) = network.station("tap-a", "10.1.0.1");
    let (b_port, b) = network.station("tap-b", "10.1.0.2");
    transfer(&a, &b, "10.1.0.2");
    let (a_counts, b_counts) = (network.counts(a_port), network.counts(b_port));
    assert_no_offload_lost(&a_counts);
    assert!(
        a_counts.rx_bytes / a_counts.rx_frames > 6000,
        "{a_counts:?}"
    );
    assert!(
        b_counts.tx_bytes / b_counts.tx_frames > 6000,
        "{b_counts:?}"
    );
}

fn tcp_superframes_are_cut_for_a_basic_tap(engine: EngineChoice) {
    let network = Network::new(engine);
    let (a_port, a) = network.station("tap-a", "10.1.0.1");
    let b_port = network.add(BasicTap::create("tap-b").unwrap());
    let b = Station::new();
    b.adopt("tap-b", "10.1.0.2");
    transfer(&a, &b, "10.1.0.2");
    let (a_counts, b_counts) = (network.counts(a_port), network.counts(b_port));
    assert_no_offload_lost(&a_counts);
    assert!(
        a_counts.rx_bytes / a_counts.rx_frames > 3000,
        "{a_counts:?}"
    );
    assert!(
        b_counts.tx_bytes / b_counts.tx_frames <= 1514,
        "{b_counts:?}"
    );
}

fn tcp_leaves_a_basic_tap(engine: EngineChoice) {
    let network = Network::new(engine);
    let (_, a) = network.station("tap-a", "10.1.0.1");
    network.add(BasicTap::create("tap-b").unwrap());
    let b = Station::new();
    b.adopt("tap-b", "10.1.0.2");
    transfer(&b, &a, "10.1.0.1");
}

fn decorated_taps_carry_tcp(engine: EngineChoice) {
    let network = Network::new(engine);
    let (_, a) = network.station("tap-a", "10.1.0.1");
    let lossy = Impaired::new(
        OffloadTap::create("tap-b").unwrap(),
        Default::default(),
        Default::default(),
        1,
    )
    .unwrap();
    network.add(lossy);
    let b = Station::new();
    b.adopt("tap-b", "10.1.0.2");
    transfer(&a, &b, "10.1.0.2");
    transfer(&b, &a, "10.1.0.1");
}

fn a_superframe_of_64_kib_is_accepted_by_the_kernel(engine: EngineChoice) {
    let network = Network::new(engine);
    let (port, end) = channel(8, Capabilities::ALL).unwrap();
    let from = network.add(port);
    let (to, _b) = network.station("tap-b", "10.1.0.2");
    let (header, bytes) = superframe(65_495, 1448);
    end.send_with(&header, &bytes);
    eventually("the superframe is sent", || {
        network.counts(to).tx_bytes >= u64::try_from(bytes.len()).unwrap()
    });
    assert_no_offload_lost(&network.counts(from));
}

fn joined_datagrams_arrive_one_by_one(engine: EngineChoice) {
    enter_private_namespace();
    let config = SwitchConfig {
        engine,
        workers: 1,
        join: true,
        ..SwitchConfig::default()
    };
    let network = Network {
        switch: Switch::start(config).unwrap(),
        bridge: bridge(),
        joining: Joining::TcpAndUdp,
    };
    let (a_port, a) = network.station("tap-a", "10.1.0.1");
    let (b_port, b) = network.station("tap-b", "10.1.0.2");
    let receiver = b.run(|| UdpSocket::bind("10.1.0.2:9").unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let sender = a.run(|| UdpSocket::bind("10.1.0.1:9").unwrap());
    sender.connect("10.1.0.2:9").unwrap();
    // While a kernel learns its neighbor's MAC, it lets what is sent pass what waits for it.
    sender.send(&[0; 6]).unwrap();
    receiver.recv(&mut [0; 100]).unwrap();
    for burst in 0..50_u8 {
        for n in 0..30_u8 {
            sender.send(&[burst, n, 0, 0, 0, 0]).unwrap();
        }
        for n in 0..30_u8 {
            let mut datagram = [0; 100];
            assert_eq!(receiver.recv(&mut datagram).unwrap(), 6);
            assert_eq!(datagram[..2], [burst, n]);
        }
    }
    assert_no_offload_lost(&network.counts(a_port));
    eventually("every datagram is counted", || {
        network.counts(b_port).tx_frames >= 1500
    });
}

/// A station whose frames wait in its TAP until [`Network::listen`].
struct Waiting {
    station: Station,
    socket: UdpSocket,
    tap: OwnedFd,
}

impl Network {
    fn waiting(&self, receiver: &UdpSocket) -> Waiting {
        let tap = OffloadTap::create("tap-a").unwrap();
        let copy = tap.as_fd().try_clone_to_owned().unwrap();
        let port = self.add(tap);
        let station = Station::new();
        station.adopt("tap-a", "10.1.0.1");
        let socket = station.run(|| UdpSocket::bind("10.1.0.1:9").unwrap());
        socket.connect("10.1.0.2:9").unwrap();
        // Until the neighbor is known, the kernel keeps only some datagrams.
        socket.send(&[0]).unwrap();
        assert_eq!(receiver.recv(&mut [0; 4]).unwrap(), 1);
        self.switch.remove_port(port);
        Waiting {
            station,
            socket,
            tap: copy,
        }
    }

    /// Reads what waits, all at once.
    fn listen(&self, waiting: &Waiting) -> PortId {
        let copy = waiting.tap.try_clone().unwrap();
        self.add(OffloadTap::from_fd(copy).unwrap())
    }
}

fn receiver_at(station: &Station) -> UdpSocket {
    let receiver = station.run(|| UdpSocket::bind("10.1.0.2:9").unwrap());
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    receiver
}

/// The lengths of the next `count` UDP packets that a capture shows, without Ethernet, IP and UDP headers.
fn captured(capture: &PacketSocket, count: usize) -> Vec<usize> {
    let frames = std::iter::from_fn(|| capture.receive(PATIENCE).unwrap());
    frames
        .filter(|received| received.frame[12..14] == [8, 0] && received.frame[23] == 17)
        .map(|received| received.frame.len() - 42)
        .take(count)
        .collect()
}

fn datagrams_reach_a_tap_as_they_were_sent(engine: EngineChoice) {
    let network = Network::new(engine);
    let (_, b) = network.station("tap-b", "10.1.0.2");
    let receiver = receiver_at(&b);
    let waiting = network.waiting(&receiver);
    let capture = b.run(|| PacketSocket::open("eth0").unwrap());
    for n in 0..64 {
        waiting.socket.send(&[n; 100]).unwrap();
    }
    network.listen(&waiting);
    assert_eq!(captured(&capture, 64), [100; 64]);
    for n in 0..64 {
        let mut datagram = [0; 200];
        assert_eq!(receiver.recv(&mut datagram).unwrap(), 100);
        assert_eq!(datagram[0], n);
    }
}

fn what_the_sender_handed_over_in_one_piece_crosses_in_one_piece(engine: EngineChoice) {
    let network = Network::new(engine);
    let (_, b) = network.station("tap-b", "10.1.0.2");
    let receiver = receiver_at(&b);
    let waiting = network.waiting(&receiver);
    let capture = b.run(|| PacketSocket::open("eth0").unwrap());
    setsockopt(&waiting.socket, UdpGsoSegment, &100).unwrap();
    waiting.socket.send(&[7; 1000]).unwrap();
    network.listen(&waiting);
    assert_eq!(captured(&capture, 1), [1000]);
    for _ in 0..10 {
        assert_eq!(receiver.recv(&mut [0; 2000]).unwrap(), 100);
    }
}

/// More than a TAP's queue holds, while nobody reads it.
fn what_a_full_tap_loses_is_counted_at_its_port(engine: EngineChoice) {
    const SENT: u64 = 3000;
    let network = Network::new(engine);
    let (_, b) = network.station("tap-b", "10.1.0.2");
    let receiver = receiver_at(&b);
    let waiting = network.waiting(&receiver);
    for _ in 0..SENT {
        waiting.socket.send(&[0; 100]).unwrap();
    }
    waiting.station.ip("link set eth0 name renamed");
    let port = network.listen(&waiting);
    let mut counts = PortCounts::default();
    eventually("every frame is counted", || {
        counts = network.counts(port);
        counts.rx_frames + counts.dropped(DropReason::TapFull) >= SENT
    });
    let lost = counts.dropped(DropReason::TapFull);
    assert!((1000..SENT).contains(&lost), "{counts:?}");
    let removed = network.switch.remove_port(port);
    drop(waiting);
    assert_eq!(removed.counters().dropped(DropReason::TapFull), lost);
}

fn a_tap_changes_its_reader_in_order(engine: EngineChoice) {
    let network = Network::new(engine);
    let (a_port, a) = network.station("tap-a", "10.1.0.1");
    let (_, b) = network.station("tap-b", "10.1.0.2");
    let receiver = b.run(|| UdpSocket::bind("10.1.0.2:9").unwrap());
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = a.run(|| UdpSocket::bind("10.1.0.1:9").unwrap());
    sender.connect("10.1.0.2:9").unwrap();
    // Until the neighbor is known, the kernel keeps only some datagrams.
    sender.send(&[0]).unwrap();
    assert_eq!(receiver.recv(&mut [0; 4]).unwrap(), 1);
    let seen = AtomicU32::new(0);
    let start = Instant::now();
    let moves = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            for wanted in 0..DATAGRAMS {
                let mut datagram = [0; 4];
                receiver.recv(&mut datagram).unwrap();
                assert_eq!(u32::from_ne_bytes(datagram), wanted);
                seen.store(wanted, Ordering::Release);
            }
        });
        scope.spawn(|| {
            for n in 0..DATAGRAMS {
                // Never more on the way than fit the queues, so that none may be lost.
                while n > seen.load(Ordering::Acquire) + 100 {
                    assert!(start.elapsed() < 10 * PATIENCE, "frame {n} waits");
                    std::thread::yield_now();
                }
                sender.send(&n.to_ne_bytes()).unwrap();
            }
        });
        let mut moves = 0;
        while !receiving.is_finished() {
            network.switch.move_port(a_port, moves % 2);
            moves += 1;
        }
        moves
    });
    assert!(moves > 10, "{moves} moves");
}

/// A few datagrams at the end of one batch go alone, and more at the beginning of the next are joined.
fn a_flow_stays_in_order_across_batches(engine: EngineChoice) {
    let mut network = Network::new(engine);
    network.joining = Joining::TcpAndUdp;
    let tap = OffloadTap::create("tap-a").unwrap();
    let copy = tap.as_fd().try_clone_to_owned().unwrap();
    let mut port = network.add(tap);
    let a = Station::new();
    a.adopt("tap-a", "10.1.0.1");
    let (_, b) = network.station("tap-b", "10.1.0.2");
    let (_, c) = network.station("tap-c", "10.1.0.3");
    let sender = a.run(|| UdpSocket::bind("10.1.0.1:9").unwrap());
    let receivers = [(b, "10.1.0.2:9"), (c, "10.1.0.3:9")].map(|(station, address)| {
        let receiver = station.run(move || UdpSocket::bind(address).unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        // Until the neighbor is known, the kernel keeps only some datagrams.
        sender.send_to(&[0], address).unwrap();
        assert_eq!(receiver.recv(&mut [0; 4]).unwrap(), 1);
        (receiver, station)
    });
    for others in 20..32 {
        network.switch.remove_port(port);
        for n in 0..others {
            sender.send_to(&[n], "10.1.0.2:9").unwrap();
        }
        for n in 0..12 {
            sender.send_to(&[n], "10.1.0.3:9").unwrap();
        }
        // What waits in the TAP is read at once.
        port = network.add(OffloadTap::from_fd(copy.try_clone().unwrap()).unwrap());
        for ((receiver, _), count) in receivers.iter().zip([others, 12]) {
            for n in 0..count {
                let mut datagram = [0; 4];
                receiver.recv(&mut datagram).unwrap();
                assert_eq!(datagram[0], n, "after {others} to another station");
            }
        }
    }
}

fn a_port_is_removed_under_load_and_its_interface_vanishes(engine: EngineChoice) {
    let network = Network::new(engine);
    let (_, a) = network.station("tap-a", "10.1.0.1");
    let done = Arc::new(AtomicBool::new(false));
    let socket = a.run(|| {
        let socket = UdpSocket::bind("10.1.0.1:9").unwrap();
        socket.set_broadcast(true).unwrap();
        socket
    });
    let stop = Arc::clone(&done);
    let load = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let _ = socket.send_to(&[0; 1000], "10.1.0.255:9");
        }
    });
    for _ in 0..5 {
        let (port, b) = network.station("tap-b", "10.1.0.2");
        eventually("the load arrives", || network.counts(port).tx_frames > 100);
        let start = Instant::now();
        let removed = network.switch.remove_port(port);
        assert!(start.elapsed() < Duration::from_secs(1));
        drop(removed);
        // The kernel waits for everybody who holds the link, and a program that another test is just starting has a copy of the
        // descriptor until it is executed.
        eventually("the interface vanishes", || !b.has_interface());
    }
    done.store(true, Ordering::Relaxed);
    load.join().unwrap();
}

fn the_death_of_a_sandbox_is_reported(engine: EngineChoice) {
    let network = Network::new(engine);
    let events = network.switch.events();
    let (_, a) = network.station("tap-a", "10.1.0.1");
    let (port, b) = network.station("tap-b", "10.1.0.2");
    transfer(&a, &b, "10.1.0.2");
    drop(b);
    assert_eq!(
        events.recv_timeout(Duration::from_secs(5)),
        Ok(SwitchEvent::PortGone(port))
    );
    network.switch.remove_port(port);
}

fn a_link_that_is_down_is_counted(engine: EngineChoice) {
    let network = Network::new(engine);
    let (port, end) = channel(8, Capabilities::ALL).unwrap();
    let from = network.add(port);
    let (to, b) = network.station("tap-b", "10.1.0.2");
    b.ip("link set eth0 down");
    let before = network.counts(to);
    let (sent, sent_down) = (before.tx_frames, before.dropped(DropReason::LinkDown));
    end.send(&frame(255, 1, b"nobody"));
    eventually("the drop is counted", || {
        network.counts(to).dropped(DropReason::LinkDown) == sent_down + 1
    });
    assert_eq!(network.counts(to).tx_frames, sent);
    assert_eq!(network.counts(from).drop_reasons().count(), 0);
}

fn a_tap_can_be_handed_over(engine: EngineChoice) {
    let network = Network::new(engine);
    let (_, a) = network.station("tap-a", "10.1.0.1");
    let tap = OffloadTap::create("tap-b").unwrap();
    assert!(tap.ifindex() > 0);
    assert!(matches!(
        OffloadTap::create("tap-b"),
        Err(OpenTap::Create { .. })
    ));
    let copy = tap.as_fd().try_clone_to_owned().unwrap();
    let port = network.add(tap);
    let b = Station::new();
    b.adopt("tap-b", "10.1.0.2");
    transfer(&a, &b, "10.1.0.2");
    network.switch.remove_port(port);
    let adopted = OffloadTap::from_fd(copy).unwrap();
    assert_eq!(adopted.name(), "eth0");
    network.add(adopted);
    transfer(&a, &b, "10.1.0.2");
}

#[test]
fn descriptors_that_are_no_taps_are_refused() {
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(
        OffloadTap::from_fd(file.into()),
        Err(OpenTap::ForeignDescriptor)
    ));
}
