//! Captures, mirrors and samples: what they show of the frames that pass.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{
    Station, bridge, enter_private_namespace, eventually, frame, superframe, switch, tap_port,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switch_core::bpf::{Instruction, Program};
use switch_core::impairment::{Chance, Impairment, Loss};
use switch_core::{Bridge, DropReason, PortConfig, PortId, PortKind, Verdict, VnetHeader};
use switch_io::capture::{Capture, CaptureSettings, Direction, Records};
use switch_io::{
    Capabilities, ChannelEnd, Dress, EngineChoice, FlowSample, FlowSamples, ImpairmentControl,
    Layer, LayerKind, OffloadTap, Switch, channel,
};

on_both_engines! {
    a_capture_shows_a_port_both_ways_and_what_became_of_frames
    a_capture_of_a_tap_that_io_uring_serves_shows_it_whole
    a_capture_of_a_network_has_every_port_and_those_that_come
    a_capture_that_nobody_reads_loses_frames_and_the_switch_none
    a_capture_sees_what_the_cable_let_through
    what_the_bridge_answers_is_captured
    a_port_takes_so_many_captures
    a_mirror_copies_what_a_port_receives_and_sends
    a_mirror_cuts_superframes_for_a_weak_port
    a_mirror_copies_what_is_dropped_but_not_what_lies
    mirrors_make_no_loops
    a_mirror_ends_with_either_port
    samples_stand_for_what_passed_and_superframes_for_their_segments
    what_is_dropped_is_told_however_few_frames_are_sampled
}

const WAIT: Duration = Duration::from_secs(5);

struct Network {
    switch: Switch,
    bridge: Arc<Bridge>,
}

impl Network {
    fn new(engine: EngineChoice) -> Self {
        Self {
            switch: switch(engine),
            bridge: bridge(),
        }
    }

    fn station(&self) -> (PortId, ChannelEnd) {
        self.attach(tap_port(), Capabilities::ALL)
    }

    fn attach(&self, config: PortConfig, capabilities: Capabilities) -> (PortId, ChannelEnd) {
        let (port, end) = channel(64, capabilities).unwrap();
        let id = self
            .switch
            .add_port(&self.bridge, Box::new(port), config)
            .unwrap();
        (id, end)
    }

    fn capture(&self, port: PortId, name: &str) -> Capture {
        let capture = Capture::new(CaptureSettings::default()).unwrap();
        let layer = Layer::Capture(capture.recorder(), name.into());
        self.switch.dress(port, layer).unwrap();
        capture
    }

    fn dropped(&self, port: PortId, reason: DropReason) -> u64 {
        self.switch.counters(port).unwrap().dropped(reason)
    }
}

/// What a capture costs that is read as it should be: `cargo test --release -p switch-io --test watching -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn a_captured_port_keeps_its_rate() {
    enter_private_namespace();
    let network = Network::new(EngineChoice::Auto);
    let [(one, a), (_, b)] =
        [("tap-a", "10.1.0.1"), ("tap-b", "10.1.0.2")].map(|(name, address)| {
            let tap = OffloadTap::create(name).unwrap();
            let port = network
                .switch
                .add_port(&network.bridge, Box::new(tap), tap_port())
                .unwrap();
            let station = Station::new();
            station.adopt(name, address);
            (port, station)
        });
    let listener = b.run(|| TcpListener::bind("10.1.0.2:9").unwrap());
    let mut stream = a.run(|| TcpStream::connect("10.1.0.2:9").unwrap());
    let (mut received, _) = listener.accept().unwrap();
    std::thread::spawn(move || io::copy(&mut received, &mut io::sink()));
    let chunk = vec![7; 1 << 20];
    let mut rate = || {
        let start = Instant::now();
        let mut sent = 0_u32;
        while start.elapsed() < Duration::from_secs(1) {
            stream.write_all(&chunk).unwrap();
            sent += 1;
        }
        f64::from(sent) / start.elapsed().as_secs_f64()
    };
    rate();
    for snaplen in [262_144, 128] {
        let mut ratios: Vec<_> = (0..7)
            .map(|_| {
                let without = rate();
                let settings = CaptureSettings {
                    snaplen,
                    ..CaptureSettings::default()
                };
                let capture = Capture::new(settings).unwrap();
                let layer = Layer::Capture(capture.recorder(), "a".into());
                network.switch.dress(one, layer).unwrap();
                let id = capture.id();
                let ends = AtomicBool::new(false);
                let with = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let mut records = Records::default();
                        while !ends.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(5));
                            capture.read_into(&mut records);
                        }
                    });
                    let with = rate();
                    ends.store(true, Ordering::Relaxed);
                    with
                });
                assert!(network.switch.undress(one, LayerKind::Capture(id)));
                println!(
                    "{snaplen}: {without:.0} -> {with:.0} MiB/s, {} recorded, {} lost",
                    capture.recorded(),
                    capture.lost()
                );
                with / without
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        println!("{snaplen}: {ratios:.2?}");
        assert!(ratios[3] > 0.6);
    }
}

/// A record, owned: interface, direction, bytes, and why it was dropped.
type Seen = (String, Direction, Vec<u8>, Option<DropReason>);

/// The next records, as many as asked for.
fn take(capture: &Capture, count: usize) -> Vec<Seen> {
    let mut records = Records::default();
    let mut seen = Vec::new();
    let end = Instant::now() + WAIT;
    while seen.len() < count {
        assert!(Instant::now() < end, "{} of {count} records", seen.len());
        let limit = Timespec::try_from(Duration::from_millis(100)).unwrap();
        poll(&mut [PollFd::new(capture, PollFlags::IN)], Some(&limit)).unwrap();
        capture.read_into(&mut records);
        let interfaces = capture.interfaces();
        seen.extend(records.iter().map(|record| {
            assert_eq!(record.original_len, record.bytes.len());
            let name = interfaces[record.interface].name.clone();
            (
                name,
                record.direction,
                record.bytes.to_vec(),
                record.dropped,
            )
        }));
    }
    assert_eq!(seen.len(), count, "{seen:?}");
    seen
}

fn is_empty(end: &ChannelEnd) -> bool {
    end.recv_timeout(Duration::from_millis(50)).is_err()
}

fn a_capture_shows_a_port_both_ways_and_what_became_of_frames(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (_, b) = network.station();
    let capture = network.capture(one, "web");
    let [ask, answer] = [frame(255, 1, b"ask"), frame(1, 2, b"answer")];
    a.send(&ask);
    b.recv_timeout(WAIT).unwrap();
    b.send(&answer);
    a.recv_timeout(WAIT).unwrap();
    let hairpin = frame(1, 9, b"to itself");
    a.send(&hairpin);
    eventually("it is dropped", || {
        network.dropped(one, DropReason::Hairpin) == 1
    });
    network.switch.set_link(one, false).unwrap();
    b.send(&answer);
    eventually("it is dropped", || {
        network.dropped(one, DropReason::LinkDown) == 1
    });
    a.send(&ask);
    eventually("it is dropped", || {
        network.dropped(one, DropReason::LinkDown) == 2
    });
    let web = || "web".to_owned();
    assert_eq!(
        take(&capture, 5),
        [
            (web(), Direction::In, ask.clone(), None),
            (web(), Direction::Out, answer.clone(), None),
            (web(), Direction::In, hairpin, Some(DropReason::Hairpin)),
            (web(), Direction::Out, answer, Some(DropReason::LinkDown)),
            (web(), Direction::In, ask, Some(DropReason::LinkDown)),
        ]
    );
    network.switch.set_link(one, true).unwrap();
    assert!(
        network
            .switch
            .undress(one, LayerKind::Capture(capture.id()))
    );
    b.send(&frame(1, 2, b"unseen"));
    a.recv_timeout(WAIT).unwrap();
    assert_eq!((capture.recorded(), capture.lost()), (5, 0));
}

/// The superframe is recorded as one frame, and says what is left to do.
fn a_capture_of_a_tap_that_io_uring_serves_shows_it_whole(engine: EngineChoice) {
    enter_private_namespace();
    let network = Network::new(engine);
    let tap = OffloadTap::create("tap").unwrap();
    let port = network
        .switch
        .add_port(&network.bridge, Box::new(tap), tap_port())
        .unwrap();
    let station = Station::new();
    station.adopt("tap", "10.1.0.1");
    let (_, end) = network.station();
    let capture = network.capture(port, "db");
    let (header, whole) = superframe(30_000, 1_000);
    assert!(end.send_with(&header, &whole));
    station.sh("ping -c 1 -W 1 10.1.0.2 || true");
    let is_whole = |seen: &Seen| seen.1 == Direction::Out && seen.2 == whole;
    let is_question = |seen: &Seen| seen.1 == Direction::In && seen.2[12..14] == [8, 6];
    let mut records = Records::default();
    let mut seen = Vec::new();
    let mut superframes = 0;
    eventually("both are recorded", || {
        capture.read_into(&mut records);
        superframes += records
            .iter()
            .filter(|record| record.vnet.is_superframe())
            .count();
        seen.extend(
            records
                .iter()
                .map(|record| (String::new(), record.direction, record.bytes.to_vec(), None)),
        );
        seen.iter().any(is_whole) && seen.iter().any(is_question)
    });
    assert_eq!(superframes, 1);
}

fn a_capture_of_a_network_has_every_port_and_those_that_come(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (port, _end) = channel(64, Capabilities::ALL).unwrap();
    let elsewhere = network
        .switch
        .add_port(&bridge(), Box::new(port), tap_port());
    let capture = Capture::new(CaptureSettings::default()).unwrap();
    network
        .switch
        .capture_network(&network.bridge, &capture.recorder());
    let (other, b) = network.station();
    a.send(&frame(255, 1, b"all"));
    b.recv_timeout(WAIT).unwrap();
    let names = [one, other].map(|port| format!("tap{}", port.0));
    let seen: Vec<_> = take(&capture, 2)
        .into_iter()
        .map(|seen| (seen.0, seen.1))
        .collect();
    assert_eq!(
        seen,
        [
            (names[0].clone(), Direction::In),
            (names[1].clone(), Direction::Out)
        ]
    );
    assert!(
        !network
            .switch
            .undress(elsewhere.unwrap(), LayerKind::Capture(capture.id()))
    );
    network.switch.end_capture(capture.id());
    let (_, c) = network.station();
    a.send(&frame(255, 1, b"more"));
    c.recv_timeout(WAIT).unwrap();
    assert_eq!(capture.recorded(), 2);
}

fn a_capture_that_nobody_reads_loses_frames_and_the_switch_none(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (_, b) = network.station();
    let filter = Program::new(vec![Instruction {
        code: 0x06,
        k: 100,
        ..Instruction::default()
    }]);
    let capture = Capture::new(CaptureSettings {
        capacity_bytes: 10_000,
        filter: Some(filter.unwrap()),
        ..CaptureSettings::default()
    })
    .unwrap();
    network
        .switch
        .dress(one, Layer::Capture(capture.recorder(), "web".into()))
        .unwrap();
    for number in 0..500_u16 {
        assert!(a.send(&frame(255, 1, &number.to_be_bytes().repeat(300))));
        assert_eq!(
            b.recv_timeout(WAIT).unwrap().frame()[14..16],
            number.to_be_bytes()
        );
    }
    assert_eq!(capture.recorded() + capture.lost(), 500);
    assert!(
        (50..100).contains(&capture.recorded()),
        "{}",
        capture.recorded()
    );
    assert_eq!(
        network.switch.counters(one).unwrap().drop_reasons().count(),
        0
    );
    let mut records = Records::default();
    capture.read_into(&mut records);
    let record = records.iter().next().unwrap();
    assert_eq!((record.bytes.len(), record.original_len), (100, 614));
}

fn a_capture_sees_what_the_cable_let_through(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (other, b) = network.station();
    let lost = Impairment {
        loss: Loss::Random(Chance::of(1.0)),
        ..Impairment::default()
    };
    let control = ImpairmentControl::new(lost, Impairment::default(), 1).unwrap();
    network
        .switch
        .dress(one, Layer::Impairment(control.clone()))
        .unwrap();
    let capture = network.capture(one, "web");
    a.send(&frame(255, 1, b"lost on the cable"));
    eventually("it is lost", || control.counts().0.frames.lost == 1);
    control.set(Impairment::default(), lost, 1);
    let late = frame(255, 2, b"lost after it left");
    b.send(&late);
    eventually("it is lost", || {
        network.dropped(other, DropReason::Fault) == 1
    });
    let seen = (
        String::from("web"),
        Direction::Out,
        late,
        Some(DropReason::Fault),
    );
    assert_eq!(take(&capture, 1), [seen]);
}

fn what_the_bridge_answers_is_captured(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (other, _b) = network.station();
    let mac = switch_core::Mac::new([2, 0, 0, 0, 0, 2]);
    network
        .bridge
        .register_endpoint(other, mac, &["10.1.0.2".parse().unwrap()]);
    let (mirror, c) = network.station();
    let capture = network.capture(one, "web");
    network.switch.dress(one, Layer::Mirror(mirror)).unwrap();
    let mut question = frame(255, 1, &[0, 1, 8, 0, 6, 4, 0, 1]);
    question[12..14].copy_from_slice(&[8, 6]);
    question.extend([2, 0, 0, 0, 0, 1, 10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 10, 1, 0, 2]);
    a.send(&question);
    let answer = a.recv_timeout(WAIT).unwrap().frame().to_vec();
    let seen = take(&capture, 2);
    assert_eq!((seen[0].1, &seen[0].2), (Direction::In, &question));
    assert_eq!((seen[1].1, &seen[1].2), (Direction::Out, &answer));
    for wanted in [question, answer] {
        assert_eq!(c.recv_timeout(WAIT).unwrap().frame(), wanted);
    }
}

fn a_port_takes_so_many_captures(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (_, b) = network.station();
    let mut captures: Vec<_> = (0..8).map(|_| network.capture(one, "web")).collect();
    let more = Capture::new(CaptureSettings::default()).unwrap();
    let layer = || Layer::Capture(more.recorder(), "web".into());
    let refused = network.switch.dress(one, layer());
    assert!(matches!(refused, Err(Dress::TooManyCaptures)));
    // One that has ended makes room.
    captures.pop();
    network.switch.dress(one, layer()).unwrap();
    network.switch.dress(one, layer()).unwrap();
    a.send(&frame(255, 1, b"once to each"));
    b.recv_timeout(WAIT).unwrap();
    for capture in captures.iter().chain([&more]) {
        assert_eq!(capture.recorded(), 1);
    }
}

fn a_mirror_copies_what_a_port_receives_and_sends(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (_, b) = network.station();
    let (to, c) = network.station();
    a.send(&frame(255, 1, b"who"));
    b.send(&frame(255, 2, b"me"));
    for end in [&a, &b, &c, &c] {
        end.recv_timeout(WAIT).unwrap();
    }
    network.switch.dress(one, Layer::Mirror(to)).unwrap();
    assert_eq!(network.switch.mirrors(), [(one, to)]);
    for (from, at, sent) in [(&a, &b, frame(2, 1, b"to")), (&b, &a, frame(1, 2, b"fro"))] {
        from.send(&sent);
        assert_eq!(at.recv_timeout(WAIT).unwrap().frame(), sent);
        assert_eq!(c.recv_timeout(WAIT).unwrap().frame(), sent);
    }
    assert!(network.switch.undress(one, LayerKind::Mirror));
    b.send(&frame(1, 2, b"alone"));
    a.recv_timeout(WAIT).unwrap();
    assert!(is_empty(&c) && is_empty(&a));
    eventually("what left is counted", || {
        let counts = network.switch.counters(to).unwrap();
        (counts.tx_frames, counts.drop_reasons().count()) == (4, 0)
    });
}

fn a_mirror_cuts_superframes_for_a_weak_port(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (_, b) = network.station();
    let (to, c) = network.attach(tap_port(), Capabilities::NONE);
    network.switch.dress(one, Layer::Mirror(to)).unwrap();
    let (header, whole) = superframe(3_000, 1_000);
    a.send_with(&header, &whole);
    assert_eq!(b.recv_timeout(WAIT).unwrap().frame(), whole);
    // The copy, and the flood's.
    for _ in 0..6 {
        assert_eq!(c.recv_timeout(WAIT).unwrap().frame().len(), 54 + 1_000);
    }
    assert!(is_empty(&c));
}

fn a_mirror_copies_what_is_dropped_but_not_what_lies(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let small = PortConfig {
        mtu: 100,
        ..tap_port()
    };
    let (to, c) = network.attach(small, Capabilities::ALL);
    network.switch.dress(one, Layer::Mirror(to)).unwrap();
    a.send(&frame(255, 1, b"learn me"));
    for _ in 0..2 {
        c.recv_timeout(WAIT).unwrap();
    }
    let hairpin = frame(1, 9, b"to itself");
    a.send(&hairpin);
    assert_eq!(c.recv_timeout(WAIT).unwrap().frame(), hairpin);
    let mut lie = [0; VnetHeader::LEN];
    lie[1] = 0x7f;
    a.send_with(&lie, &hairpin);
    a.send(&[1, 2, 3]);
    // Too long for the copy's port alone.
    a.send(&frame(1, 9, &[0; 200]));
    eventually("it is counted", || {
        network.dropped(to, DropReason::Oversize) == 1
    });
    assert!(is_empty(&c));
    assert_eq!(network.dropped(one, DropReason::VnetGsoType), 1);
    assert_eq!(network.dropped(one, DropReason::Runt), 1);
}

fn mirrors_make_no_loops(engine: EngineChoice) {
    let network = Network::new(engine);
    let [one, two, three] = [0; 3].map(|_| network.station());
    let [(a, _), (b, _), (c, _)] = [&one, &two, &three];
    let mirror = |from: &PortId, to: &PortId| network.switch.dress(*from, Layer::Mirror(*to));
    assert!(matches!(mirror(a, a), Err(Dress::MirrorLoop)));
    mirror(a, b).unwrap();
    assert!(matches!(mirror(b, a), Err(Dress::MirrorLoop)));
    assert!(matches!(mirror(b, c), Err(Dress::MirrorLoop)));
    assert!(matches!(mirror(c, a), Err(Dress::MirrorLoop)));
    mirror(c, b).unwrap();
    assert!(matches!(mirror(a, &PortId(99)), Err(Dress::NoPort)));
    let elsewhere = bridge();
    let (port, _end) = channel(4, Capabilities::ALL).unwrap();
    let far = network
        .switch
        .add_port(&elsewhere, Box::new(port), tap_port())
        .unwrap();
    assert!(matches!(mirror(a, &far), Err(Dress::OtherNetwork)));
    let (edge, _end) = network.attach(PortConfig::new(PortKind::Edge, 1500), Capabilities::ALL);
    assert!(matches!(mirror(a, &edge), Err(Dress::NoMirrorTo("edge"))));
    assert_eq!(network.switch.mirrors(), [(*a, *b), (*c, *b)]);
}

fn a_mirror_ends_with_either_port(engine: EngineChoice) {
    let network = Network::new(engine);
    let [one, two, three] = [0; 3].map(|_| network.station());
    network.switch.dress(one.0, Layer::Mirror(three.0)).unwrap();
    network.switch.dress(two.0, Layer::Mirror(three.0)).unwrap();
    drop(network.switch.remove_port(one.0));
    assert_eq!(network.switch.mirrors(), [(two.0, three.0)]);
    drop(network.switch.remove_port(three.0));
    assert_eq!(network.switch.mirrors(), []);
    let (_, d) = network.station();
    two.1.send(&frame(255, 2, b"goes on"));
    d.recv_timeout(WAIT).unwrap();
}

/// The next samples, as many as asked for; none is lost.
fn sampled(network: &Network, count: usize) -> Vec<FlowSample> {
    let (mut samples, mut all) = (FlowSamples::default(), Vec::new());
    eventually("they are sampled", || {
        network.switch.take_samples(&mut samples);
        all.extend(samples.iter().copied());
        assert_eq!(samples.lost, 0);
        all.len() >= count
    });
    assert_eq!(all.len(), count, "{all:?}");
    all
}

fn samples_stand_for_what_passed_and_superframes_for_their_segments(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (two, b) = network.station();
    b.send(&frame(1, 2, b"before"));
    a.recv_timeout(WAIT).unwrap();
    network.switch.sample(NonZeroU32::new(1));
    let (header, whole) = superframe(3_000, 1_000);
    a.send_with(&header, &whole);
    b.recv_timeout(WAIT).unwrap();
    let plain = frame(1, 2, b"an answer");
    b.send(&plain);
    a.recv_timeout(WAIT).unwrap();
    let mut samples = sampled(&network, 2);
    samples.sort_by_key(|sample| sample.ingress);
    let [big, small] = &samples[..] else {
        unreachable!("two were taken")
    };
    assert_eq!((big.ingress, big.verdict), (one, Verdict::Unicast(two)));
    assert_eq!((big.times, big.frames, big.bytes), (3, 3, 3 * 1_054));
    // The first segment, with its own length in its header.
    assert_eq!((big.len, big.head().len()), (1_054, 128));
    assert_eq!(big.head()[16..18], 1_040_u16.to_be_bytes());
    assert_eq!(big.summary.protocol, Some(6));
    assert_eq!((small.ingress, small.verdict), (two, Verdict::Unicast(one)));
    assert_eq!((small.stands_for(), small.bytes), (1, 23));
    assert_eq!(small.head(), plain);
    network.switch.sample(None);
    b.send(&plain);
    a.recv_timeout(WAIT).unwrap();
    sampled(&network, 0);
}

fn what_is_dropped_is_told_however_few_frames_are_sampled(engine: EngineChoice) {
    let network = Network::new(engine);
    let (one, a) = network.station();
    let (_, b) = network.station();
    network.switch.sample(NonZeroU32::new(1_000_000));
    a.send(&frame(255, 1, b"learn me"));
    b.recv_timeout(WAIT).unwrap();
    for _ in 0..3 {
        a.send(&frame(1, 9, b"to itself"));
    }
    for sample in sampled(&network, 3) {
        assert_eq!(sample.verdict, Verdict::Drop(DropReason::Hairpin));
        assert_eq!((sample.ingress, sample.times, sample.frames), (one, 0, 1));
    }
}
