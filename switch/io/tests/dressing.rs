//! Layers go on ports and off them while frames flow. Some of these tests need root and fail without it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::io;
use std::net::UdpSocket;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::{Station, bridge, enter_private_namespace, eventually, frame, switch, tap_port};
use switch_core::impairment::{Chance, Impairment, Loss};
use switch_core::shaper::Limit;
use switch_core::{Bridge, DropReason, PortConfig, PortId, PortKind};
use switch_io::capture::{Capture, CaptureSettings, Records};
use switch_io::{
    Capabilities, ChannelEnd, ChannelPort, Dress, EngineChoice, FrameBuffer, FramePort,
    ImpairmentControl, Layer, LayerKind, OffloadTap, RateControl, Switch, SwitchConfig, Written,
    channel, patch,
};

on_both_engines! {
    stations_notice_nothing_of_layers_that_come_and_go
    sandboxes_notice_nothing_of_layers_that_come_and_go
    what_an_impairment_holds_back_leaves_in_order_when_it_goes
    io_uring_reads_a_tap_itself_again_once_its_impairment_is_gone
    an_impaired_port_changes_its_reader_in_order
    an_impaired_port_outlives_workers
    what_the_tap_of_an_impaired_port_loses_is_counted
    what_an_impairment_holds_back_leaves_before_reading_ends
    an_impairment_goes_on_below_a_rate_that_comes_and_goes
    what_is_read_again_is_impaired_and_limited_again
    an_impairment_is_for_one_port
    nothing_passes_a_port_whose_plug_is_out
    a_sandbox_sees_its_plug_pulled
}

const WAIT: Duration = Duration::from_secs(20);
const ROUNDS: usize = 200;
/// Frames on the way: fewer than fit any queue, so that none may be lost.
const WINDOW: u32 = 64;

struct Pair {
    switch: Switch,
    ports: [PortId; 2],
    ends: [ChannelEnd; 2],
}

impl Pair {
    fn new(engine: EngineChoice) -> Self {
        let (switch, bridge) = (switch(engine), bridge());
        let [(one, a), (other, b)] = [0, 1].map(|_| attach(&switch, &bridge));
        Self {
            switch,
            ports: [one, other],
            ends: [a, b],
        }
    }
}

fn attach(switch: &Switch, bridge: &Arc<Bridge>) -> (PortId, ChannelEnd) {
    let (port, end) = channel(1024, Capabilities::ALL).unwrap();
    let id = switch.add_port(bridge, Box::new(port), tap_port()).unwrap();
    (id, end)
}

fn impairment(delay: Duration) -> ImpairmentControl {
    let faults = Impairment {
        delay,
        ..Impairment::default()
    };
    ImpairmentControl::new(faults, faults, 1).unwrap()
}

fn megabit() -> RateControl {
    let limit = Limit {
        rate_bits_s: 1_000_000,
        burst_bytes: None,
    };
    RateControl::new(Some(limit), Some(limit)).unwrap()
}

fn capture() -> Capture {
    Capture::new(CaptureSettings::default()).unwrap()
}

/// Numbers on their way from one station to another.
#[derive(Default)]
struct Flow {
    sent: AtomicU32,
    seen: AtomicU32,
    ends: AtomicBool,
}

impl Flow {
    fn send(&self, send: impl Fn(u32)) {
        while !self.ends.load(Ordering::Acquire) {
            let number = self.sent.load(Ordering::Relaxed);
            if number - self.seen.load(Ordering::Acquire) < WINDOW {
                send(number);
                self.sent.store(number + 1, Ordering::Release);
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Every number comes, once, in its turn.
    fn receive(&self, receive: impl Fn() -> Option<u32>) {
        let _end = End(std::slice::from_ref(self));
        let mut last = Instant::now();
        loop {
            let wanted = self.seen.load(Ordering::Relaxed);
            if let Some(number) = receive() {
                assert_eq!(number, wanted);
                self.seen.store(wanted + 1, Ordering::Release);
                last = Instant::now();
            } else if self.ends.load(Ordering::Acquire)
                && wanted == self.sent.load(Ordering::Acquire)
            {
                return;
            }
            assert!(last.elapsed() < WAIT, "number {wanted} does not come");
        }
    }

    fn end(&self) {
        self.ends.store(true, Ordering::Release);
    }

    /// Waits until some more came.
    fn flows(&self) {
        let before = self.seen.load(Ordering::Acquire);
        eventually("numbers flow", || {
            self.seen.load(Ordering::Acquire) >= before + 5
        });
    }
}

/// Nothing more is sent when this goes, be it with a panic.
struct End<'f>(&'f [Flow]);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(Flow::end);
    }
}

/// Does something while numbers flow both ways between two stations.
fn meanwhile<S, R>(stations: [(S, R); 2], act: impl FnOnce(&dyn Fn()))
where
    S: Fn(u32) + Send,
    R: Fn() -> Option<u32> + Send,
{
    let flows = [Flow::default(), Flow::default()];
    let [(send_a, receive_a), (send_b, receive_b)] = stations;
    let [to_b, to_a] = &flows;
    std::thread::scope(|scope| {
        scope.spawn(|| to_b.send(send_a));
        scope.spawn(|| to_b.receive(receive_b));
        scope.spawn(|| to_a.send(send_b));
        scope.spawn(|| to_a.receive(receive_a));
        let _end = End(&flows);
        act(&|| flows.iter().for_each(Flow::flows));
    });
}

/// Numbered frames of a station behind a channel.
fn numbers(
    end: &ChannelEnd,
    own: u8,
    other: u8,
) -> (impl Fn(u32) + Send, impl Fn() -> Option<u32> + Send) {
    let send = move |number: u32| assert!(end.send(&frame(other, own, &number.to_be_bytes())));
    let receive = move || {
        let received = end.recv_timeout(Duration::from_millis(20)).ok()?;
        let bytes = received.frame().get(14..18)?;
        Some(u32::from_be_bytes(bytes.try_into().unwrap()))
    };
    (send, receive)
}

/// Numbered datagrams of a station.
fn datagrams(socket: UdpSocket) -> (impl Fn(u32) + Send, impl Fn() -> Option<u32> + Send) {
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let receiving = socket.try_clone().unwrap();
    let send = move |number: u32| {
        socket.send(&number.to_be_bytes()).unwrap();
    };
    let receive = move || {
        let mut datagram = [0; 4];
        receiving.recv(&mut datagram).ok()?;
        Some(u32::from_be_bytes(datagram))
    };
    (send, receive)
}

/// Dresses and undresses both ports again and again.
fn change_clothes(switch: &Switch, ports: [PortId; 2], flows: &dyn Fn()) {
    let capture = capture();
    let mut records = Records::default();
    for round in 0..ROUNDS {
        let port = ports[round % 2];
        let delay = Duration::from_millis(if round % 4 < 2 { 0 } else { 2 });
        let cable = Layer::Impairment(impairment(delay));
        switch.dress(port, cable).unwrap();
        if round % 3 == 0 {
            let layer = Layer::Capture(capture.recorder(), "port".into());
            switch.dress(port, layer).unwrap();
            flows();
            assert!(capture.read_into(&mut records) > 0);
            assert!(switch.undress(port, LayerKind::Capture(capture.id())));
        }
        flows();
        assert!(switch.undress(port, LayerKind::Impairment));
        assert!(!switch.undress(port, LayerKind::Impairment));
        flows();
    }
}

fn stations_notice_nothing_of_layers_that_come_and_go(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let stations =
        [(0, 1, 2), (1, 2, 1)].map(|(end, own, other)| numbers(&pair.ends[end], own, other));
    meanwhile(stations, |flows| {
        change_clothes(&pair.switch, pair.ports, flows)
    });
    for port in pair.ports {
        let drops = pair.switch.counters(port).unwrap();
        assert_eq!(drops.drop_reasons().count(), 0, "{drops:?}");
    }
}

/// Two sandboxes whose TAPs tell when they are read by the device's own hand.
struct Sandboxes {
    switch: Switch,
    ports: [PortId; 2],
    stations: [Station; 2],
    reads: Arc<AtomicUsize>,
}

/// A TAP that counts how often it is read other than by io_uring.
struct Watched {
    tap: OffloadTap,
    reads: Arc<AtomicUsize>,
}

impl FramePort for Watched {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.tap.read(buffers)
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        self.tap.write(envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.tap.capabilities()
    }

    fn raw_tap(&self) -> Option<BorrowedFd<'_>> {
        self.tap.raw_tap()
    }

    fn tap(&self) -> Option<BorrowedFd<'_>> {
        self.tap.tap()
    }
}

impl Sandboxes {
    fn new(engine: EngineChoice) -> Self {
        enter_private_namespace();
        let (switch, bridge) = (switch(engine), bridge());
        let reads = Arc::new(AtomicUsize::new(0));
        let sandboxes = ["10.1.0.1", "10.1.0.2"].map(|address| {
            let device = Watched {
                tap: OffloadTap::create("tap").unwrap(),
                reads: Arc::clone(&reads),
            };
            let port = switch
                .add_port(&bridge, Box::new(device), tap_port())
                .unwrap();
            let station = Station::new();
            station.adopt("tap", address);
            (port, station)
        });
        let [(one, a), (other, b)] = sandboxes;
        assert!(a.pings("10.1.0.2"));
        Self {
            switch,
            ports: [one, other],
            stations: [a, b],
            reads,
        }
    }

    fn sockets(&self) -> [UdpSocket; 2] {
        let [a, b] = &self.stations;
        let socket = |station: &Station, own: &'static str, other: &'static str| {
            station.run(move || {
                let socket = UdpSocket::bind((own, 9)).unwrap();
                socket.connect((other, 9)).unwrap();
                socket
            })
        };
        [
            socket(a, "10.1.0.1", "10.1.0.2"),
            socket(b, "10.1.0.2", "10.1.0.1"),
        ]
    }
}

fn sandboxes_notice_nothing_of_layers_that_come_and_go(engine: EngineChoice) {
    let sandboxes = Sandboxes::new(engine);
    let stations = sandboxes.sockets().map(datagrams);
    meanwhile(stations, |flows| {
        change_clothes(&sandboxes.switch, sandboxes.ports, flows)
    });
}

fn io_uring_reads_a_tap_itself_again_once_its_impairment_is_gone(engine: EngineChoice) {
    let sandboxes = Sandboxes::new(engine);
    let stations = sandboxes.sockets().map(datagrams);
    let raw = engine == EngineChoice::Uring;
    let reads = || sandboxes.reads.load(Ordering::Relaxed);
    let (switch, [one, _]) = (&sandboxes.switch, sandboxes.ports);
    meanwhile(stations, |flows| {
        let own_hand = || {
            let before = reads();
            flows();
            reads() > before
        };
        // Where its buffers are all taken, the ring has the device read for once.
        let settled = || eventually("io_uring reads", || own_hand() != raw);
        settled();
        switch
            .dress(one, Layer::Impairment(impairment(Duration::ZERO)))
            .unwrap();
        assert!(own_hand());
        let capture = capture();
        let layer = Layer::Capture(capture.recorder(), "one".into());
        switch.dress(one, layer).unwrap();
        assert!(switch.undress(one, LayerKind::Impairment));
        settled();
        assert!(switch.undress(one, LayerKind::Capture(capture.id())));
        settled();
    });
}

fn what_an_impairment_holds_back_leaves_in_order_when_it_goes(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let [a, b] = &pair.ends;
    a.send(&frame(255, 1, b"who is there"));
    b.recv_timeout(WAIT).unwrap();
    let slow = Layer::Impairment(impairment(Duration::from_secs(100)));
    pair.switch.dress(pair.ports[0], slow).unwrap();
    let flows = [(a, b, 1, 2), (b, a, 2, 1)];
    for (from, _, own, other) in flows {
        for number in 0..500_u32 {
            assert!(from.send(&frame(other, own, &number.to_be_bytes())));
        }
    }
    eventually("the other's frames are under way", || {
        pair.switch.counters(pair.ports[0]).unwrap().tx_frames == 500
    });
    assert!(a.try_recv().is_err() && b.try_recv().is_err());
    assert!(pair.switch.undress(pair.ports[0], LayerKind::Impairment));
    for (from, to, own, other) in flows {
        from.send(&frame(other, own, &500_u32.to_be_bytes()));
        for number in 0..=500_u32 {
            let received = to.recv_timeout(WAIT).unwrap();
            assert_eq!(received.frame()[14..18], number.to_be_bytes());
        }
    }
}

fn what_an_impairment_holds_back_leaves_before_reading_ends(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let [a, b] = &pair.ends;
    let control = impairment(Duration::from_secs(100));
    pair.switch
        .dress(pair.ports[0], Layer::Impairment(control.clone()))
        .unwrap();
    for number in 0..100_u8 {
        assert!(a.send(&frame(255, 1, &[number])));
        assert!(b.send(&frame(255, 2, &[number])));
    }
    eventually("they wait", || {
        let (inbound, outbound) = control.counts();
        (inbound.frames.delayed, outbound.frames.delayed) == (100, 100)
    });
    pair.switch.stop_reading();
    for end in [a, b] {
        for number in 0..100_u8 {
            assert_eq!(end.recv_timeout(WAIT).unwrap().frame()[14], number);
        }
    }
}

fn an_impairment_goes_on_below_a_rate_that_comes_and_goes(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let [a, b] = &pair.ends;
    let port = pair.ports[0];
    let dress = |layer| pair.switch.dress(port, layer).unwrap();
    let mut sent = 0;
    let mut waits = |control: &ImpairmentControl, others| {
        sent += 1;
        assert!(a.send(&frame(255, 1, &[sent])));
        eventually("it waits", || {
            control.counts().0.frames.delayed == u64::from(sent) - others
        });
        assert!(b.try_recv().is_err());
    };
    let first = impairment(Duration::from_secs(100));
    dress(Layer::Impairment(first.clone()));
    waits(&first, 0);
    dress(Layer::Rate(megabit()));
    waits(&first, 0);
    assert!(pair.switch.undress(port, LayerKind::Rate));
    waits(&first, 0);
    dress(Layer::Rate(megabit()));
    waits(&first, 0);
    // What the first holds leaves when another one takes its place.
    let second = impairment(Duration::from_secs(100));
    dress(Layer::Impairment(second.clone()));
    for number in 1..=4 {
        assert_eq!(b.recv_timeout(WAIT).unwrap().frame()[14], number);
    }
    waits(&second, 4);
}

fn what_is_read_again_is_impaired_and_limited_again(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let [a, b] = &pair.ends;
    let delay = impairment(Duration::from_secs(100));
    for layer in [Layer::Impairment(delay.clone()), Layer::Rate(megabit())] {
        pair.switch.dress(pair.ports[0], layer).unwrap();
    }
    let mut sent = 0;
    for _ in 0..3 {
        for number in 0..100_u8 {
            assert!(a.send(&frame(255, 1, &[number])));
        }
        sent += 100;
        eventually("they wait", || delay.counts().0.frames.delayed == sent);
        assert!(b.try_recv().is_err());
        pair.switch.stop_reading();
        for number in 0..100_u8 {
            assert_eq!(b.recv_timeout(WAIT).unwrap().frame()[14], number);
        }
        pair.switch.read_again();
    }
}

fn an_impaired_port_changes_its_reader_in_order(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let control = impairment(Duration::from_millis(1));
    let (port, stations) = (
        pair.ports[0],
        [(0, 1, 2), (1, 2, 1)].map(|(end, own, other)| numbers(&pair.ends[end], own, other)),
    );
    pair.switch
        .dress(port, Layer::Impairment(control.clone()))
        .unwrap();
    meanwhile(stations, |flows| {
        for round in 0..50 {
            pair.switch.move_port(port, round % 2);
            flows();
        }
    });
    let (inbound, outbound) = control.counts();
    assert!(inbound.frames.delayed > 0 && outbound.frames.delayed > 0);
}

/// Ends the worker that reads it, as often as it was told to.
struct Panicky {
    channel: ChannelPort,
    faults: Arc<AtomicU32>,
}

impl FramePort for Panicky {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let read = self.channel.read(buffers);
        let planned = self
            .faults
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        assert!(planned.is_err(), "as if the device had a fault");
        read
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        self.channel.write(envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}

fn an_impaired_port_outlives_workers(engine: EngineChoice) {
    let config = SwitchConfig {
        engine,
        workers: 1,
        ..SwitchConfig::default()
    };
    let (switch, bridge) = (Switch::start(config).unwrap(), bridge());
    let (_, well) = attach(&switch, &bridge);
    let (device, ill) = channel(1024, Capabilities::ALL).unwrap();
    let faults = Arc::new(AtomicU32::new(0));
    let device = Panicky {
        channel: device,
        faults: Arc::clone(&faults),
    };
    let port = switch
        .add_port(&bridge, Box::new(device), tap_port())
        .unwrap();
    let control = impairment(Duration::ZERO);
    switch
        .dress(port, Layer::Impairment(control.clone()))
        .unwrap();
    let capture = capture();
    switch
        .dress(port, Layer::Capture(capture.recorder(), "ill".into()))
        .unwrap();
    for round in 1..4 {
        faults.store(1, Ordering::Relaxed);
        ill.send(&frame(255, 2, b"what the device panics at"));
        eventually("workers are replaced", || switch.restarts() == round);
        assert!(ill.send(&frame(255, 2, &[7])));
        assert_eq!(well.recv_timeout(WAIT).unwrap().frame()[14], 7);
        assert!(well.send(&frame(255, 1, &[8])));
        assert_eq!(ill.recv_timeout(WAIT).unwrap().frame()[14], 8);
    }
    let lost = Impairment {
        loss: Loss::Random(Chance::of(1.0)),
        ..Impairment::default()
    };
    control.set(Impairment::default(), lost, 1);
    assert!(well.send(&frame(255, 1, b"into the void")));
    eventually("the fault is counted", || {
        control.counts().1.frames.lost == 1
    });
    let mut records = Records::default();
    capture.read_into(&mut records);
    assert_eq!(records.len(), 7);
    assert!(switch.undress(port, LayerKind::Impairment));
    assert!(well.send(&frame(255, 1, &[9])));
    assert_eq!(ill.recv_timeout(WAIT).unwrap().frame()[14], 9);
}

fn what_the_tap_of_an_impaired_port_loses_is_counted(engine: EngineChoice) {
    let sandboxes = Sandboxes::new(engine);
    let [one, _] = sandboxes.ports;
    sandboxes
        .switch
        .dress(one, Layer::Impairment(impairment(Duration::ZERO)))
        .unwrap();
    let [socket, _] = sandboxes.sockets();
    sandboxes.stations[0].ip("link set eth0 txqueuelen 10");
    sandboxes.switch.stop_reading();
    for number in 0..2000_u32 {
        // The kernel says so where the TAP has no room.
        let _ = socket.send(&number.to_be_bytes());
    }
    let counts = sandboxes.switch.counters(one).unwrap();
    assert!(counts.dropped(DropReason::TapFull) > 100, "{counts:?}");
}

fn an_impairment_is_for_one_port(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let [one, other] = pair.ports;
    let control = impairment(Duration::ZERO);
    let layer = || Layer::Impairment(control.clone());
    pair.switch.dress(one, layer()).unwrap();
    pair.switch.dress(one, layer()).unwrap();
    assert!(matches!(
        pair.switch.dress(other, layer()),
        Err(Dress::Worn)
    ));
    assert!(pair.switch.undress(one, LayerKind::Impairment));
    pair.switch.dress(other, layer()).unwrap();
    drop(pair.switch.remove_port(other));
    pair.switch.dress(one, layer()).unwrap();
    assert!(matches!(
        pair.switch.dress(other, layer()),
        Err(Dress::NoPort)
    ));
    let (_, edge) = patch(4).unwrap();
    let config = PortConfig::new(PortKind::Edge, 1500);
    let edge = pair
        .switch
        .add_port(&bridge(), Box::new(edge), config)
        .unwrap();
    let layer = Layer::Impairment(impairment(Duration::ZERO));
    assert!(matches!(
        pair.switch.dress(edge, layer),
        Err(Dress::NoCable("edge"))
    ));
}

fn nothing_passes_a_port_whose_plug_is_out(engine: EngineChoice) {
    let pair = Pair::new(engine);
    let [a, b] = &pair.ends;
    let crosses = || {
        a.send(&frame(255, 1, b"there"));
        b.send(&frame(255, 2, b"back"));
        [b, a].map(|end| end.recv_timeout(Duration::from_millis(100)).is_ok())
    };
    let down = || {
        let counts = pair.switch.counters(pair.ports[0]).unwrap();
        counts.dropped(DropReason::LinkDown)
    };
    assert_eq!(crosses(), [true; 2]);
    assert_eq!(pair.switch.set_link(pair.ports[0], false).ok(), Some(false));
    assert_eq!(crosses(), [false; 2]);
    assert_eq!(
        (down(), pair.switch.is_link_up(pair.ports[0])),
        (2, Some(false))
    );
    pair.switch.set_link(pair.ports[0], true).unwrap();
    assert_eq!(crosses(), [true; 2]);
    assert_eq!(
        (down(), pair.switch.is_link_up(pair.ports[0])),
        (2, Some(true))
    );
}

fn a_sandbox_sees_its_plug_pulled(engine: EngineChoice) {
    let sandboxes = Sandboxes::new(engine);
    let [one, _] = sandboxes.ports;
    let [a, _] = &sandboxes.stations;
    let has_carrier = || !a.sh("ip link show eth0").contains("NO-CARRIER");
    assert!(has_carrier());
    assert!(sandboxes.switch.set_link(one, false).unwrap());
    eventually("the carrier goes", || !has_carrier());
    assert!(!a.pings("10.1.0.2"));
    assert!(sandboxes.switch.set_link(one, true).unwrap());
    eventually("the carrier is back", has_carrier);
    assert!(a.pings("10.1.0.2"));
}
