//! What a sandbox sends to harm the switch or its neighbours, in bulk. `ROUNDS` says how many frames; the promise is made for ten
//! million mutated ones, and for a million MACs.

#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lab::{
    Station, bridge, enter_private_namespace, eventually, frame, superframe, switch, tap_port, vnet,
};
use switch_core::{Bridge, DropReason, Mac, PortConfig, PortId, PortKind, VnetHeader};
use switch_io::{Capabilities, ChannelEnd, EngineChoice, OffloadTap, Switch, channel};

on_both_engines! {
    mutated_frames_end_no_worker_and_starve_no_port
    a_flood_of_macs_costs_the_others_nothing_and_shows_them_to_nobody
}

fn rounds(short: u32) -> u32 {
    std::env::var("ROUNDS").map_or(short, |text| text.parse().unwrap())
}

fn attach(switch: &Switch, bridge: &Arc<Bridge>, config: PortConfig) -> (PortId, ChannelEnd) {
    let (port, end) = channel(1024, Capabilities::ALL).unwrap();
    let id = switch.add_port(bridge, Box::new(port), config).unwrap();
    (id, end)
}

/// Two stations that exchange frames at a pace, while something else happens.
struct Exchange<'a> {
    one: &'a ChannelEnd,
    other: &'a ChannelEnd,
    over: &'a AtomicBool,
    sent: AtomicU64,
    arrived: AtomicU64,
}

impl<'a> Exchange<'a> {
    fn new(one: &'a ChannelEnd, other: &'a ChannelEnd, over: &'a AtomicBool) -> Self {
        // Both are learned before anybody disturbs them.
        one.send(&frame(255, 1, b"here is one"));
        other.send(&frame(1, 2, b"here is two"));
        let mut heard = 0;
        eventually("they know each other", || {
            while one.try_recv().is_ok() {
                heard += 1;
            }
            heard > 0
        });
        Self {
            one,
            other,
            over,
            sent: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
        }
    }

    fn run(&self) {
        while !self.over.load(Ordering::Relaxed) {
            self.one.send(&frame(2, 1, MARK));
            self.sent.fetch_add(1, Ordering::Relaxed);
            // What is flooded comes by as well.
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(5) {
                match self.other.recv_timeout(Duration::from_secs(1)) {
                    Ok(received) if is_marked(received.frame()) => {
                        self.arrived.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    _ => {}
                }
            }
            while self.one.try_recv().is_ok() {}
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn counts(&self) -> (u64, u64) {
        (
            self.sent.load(Ordering::Relaxed),
            self.arrived.load(Ordering::Relaxed),
        )
    }
}

fn is_marked(frame: &[u8]) -> bool {
    frame.get(14..).is_some_and(|rest| rest.starts_with(MARK))
}

/// Honest envelopes from station 3, most of them to station 9, of which mutants are made.
fn honest() -> Vec<Vec<u8>> {
    let none = VnetHeader::NONE.to_bytes();
    let (gso, mut tcp) = superframe(4000, 1448);
    (tcp[5], tcp[11]) = (9, 3);
    let mut arp = frame(
        255,
        3,
        &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 3, 10, 0, 0, 3],
    );
    arp[12..14].copy_from_slice(&[8, 6]);
    arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    let mut neighbor = frame(255, 3, &[0x60, 0, 0, 0, 0, 24, 58, 255]);
    neighbor[12..14].copy_from_slice(&[0x86, 0xdd]);
    neighbor.extend([0xfe; 32]);
    neighbor.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    neighbor.extend([0xfe; 16]);
    let mut tagged = frame(9, 3, &[0, 5, 8, 0]);
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    tagged.extend(&tcp[14..100]);
    [
        (gso, tcp.clone()),
        (vnet(1, 0, 0, 0, 34, 16), tcp),
        (none, arp),
        (none, neighbor),
        (none, tagged),
        (none, frame(9, 3, &[0; 46])),
    ]
    .map(|(header, frame)| [&header[..], &frame].concat())
    .into()
}

fn mutant(random: &mut Random, honest: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = honest[random.below(honest.len())].clone();
    for _ in 0..1 + random.below(4) {
        // Headers matter most.
        let at = random.below(bytes.len().min(120));
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 0xff, 0x7f, 0x80][random.below(4)],
            2 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            _ => bytes.truncate(10 + random.below(bytes.len() - 9)),
        }
    }
    bytes
}

fn mutated_frames_end_no_worker_and_starve_no_port(engine: EngineChoice) {
    enter_private_namespace();
    let switch = switch(engine);
    let bridge = bridge();
    // What passes goes into a kernel, too.
    let tap = OffloadTap::create("mutants").unwrap();
    let tap = switch.add_port(&bridge, Box::new(tap), tap_port()).unwrap();
    let station = Station::new();
    station.adopt("mutants", "10.0.0.9");
    // As sandboxes are: with a budget for floods, and MACs of their own.
    let sandbox = PortConfig::new(PortKind::Tap, 1500);
    let (one_port, one) = attach(&switch, &bridge, sandbox.clone());
    let (other_port, other) = attach(&switch, &bridge, sandbox.clone());
    let (port, hostile) = attach(&switch, &bridge, sandbox.clone());
    for (port, station) in [(one_port, 1), (other_port, 2), (tap, 9)] {
        bridge.register_endpoint(port, Mac::new([2, 0, 0, 0, 0, station]), &[]);
    }
    let over = AtomicBool::new(false);
    let exchange = Exchange::new(&one, &other, &over);
    let rounds = rounds(70_000);
    let chunk = rounds / CHUNKS;
    let send = |envelope: &[u8]| {
        let (header, bytes) = envelope.split_first_chunk().unwrap();
        while !hostile.send_with(header, bytes) {
            std::thread::yield_now();
        }
    };
    let ratios = std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| exchange.run());
        let (mut random, honest) = (Random(0x5eed), honest());
        let mut rate = |mutants: u32, steps: u32| {
            let (before, began) = (exchange.counts().1, Instant::now());
            for step in 0..steps {
                (0..mutants).for_each(|_| send(&mutant(&mut random, &honest)));
                while hostile.try_recv().is_ok() {}
                std::thread::sleep((began + STEP * step).saturating_duration_since(Instant::now()));
            }
            let count = u32::try_from(exchange.counts().1 - before).unwrap();
            f64::from(count) / began.elapsed().as_secs_f64()
        };
        let ratios = (0..CHUNKS).map(|_| {
            let alone = rate(0, STEPS_ALONE);
            rate(PACE, chunk / PACE) / alone
        });
        ratios.collect::<Vec<_>>()
    });
    let mut sorted = ratios.clone();
    sorted.sort_by(f64::total_cmp);
    let ratio = sorted[sorted.len() / 2];
    let (sent, arrived) = exchange.counts();
    println!("exchanges of others beside {rounds} mutants / without: {ratio:.2}, of {ratios:.2?}");
    assert!(arrived + 1 >= sent, "{arrived} of {sent} arrived");
    // Others on the machine matter more than the mutants.
    assert!(ratio > 0.2, "the others starve");
    assert_eq!(switch.restarts(), 0, "a worker ended");
    eventually("every mutant is counted", || {
        switch.counters(port).unwrap().rx_frames == u64::from(chunk / PACE * PACE * CHUNKS)
    });
    let counts = switch.counters(port).unwrap();
    let dropped: u64 = counts.drop_reasons().map(|(_, count)| count).sum();
    assert!(
        dropped > u64::from(rounds) / 20,
        "these are no mutants: {counts:?}"
    );
    let taken = switch.counters(tap).unwrap();
    let refused = taken.dropped(DropReason::EgressRefused);
    assert_eq!(refused, 0, "a kernel refused what had passed: {taken:?}");
    assert!(taken.tx_frames > u64::from(rounds) / 20);
}

fn a_flood_of_macs_costs_the_others_nothing_and_shows_them_to_nobody(engine: EngineChoice) {
    let switch = switch(engine);
    let bridge = bridge();
    // As sandboxes are: learning within limits, with a budget for floods.
    let sandbox = PortConfig::new(PortKind::Tap, 1500);
    let (_, one) = attach(&switch, &bridge, sandbox.clone());
    let (_, other) = attach(&switch, &bridge, sandbox.clone());
    let (_, third) = attach(&switch, &bridge, sandbox.clone());
    let (port, hostile) = attach(&switch, &bridge, sandbox.clone());
    let over = AtomicBool::new(false);
    let exchange = Exchange::new(&one, &other, &over);
    let rounds = rounds(60_000);
    let mut seen = 0;
    std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| exchange.run());
        // To itself, so that nothing of it but the MACs is anybody else's.
        hostile.send(&frame(255, 3, &[0; 46]));
        let mut bytes = frame(3, 0, &[0; 46]);
        for round in 0..rounds {
            bytes[6..12].copy_from_slice(&[2, 9, 0, 0, 0, 0]);
            bytes[8..12].copy_from_slice(&round.to_be_bytes());
            while !hostile.send(&bytes) {
                std::thread::yield_now();
            }
            while let Ok(received) = third.try_recv() {
                seen += u32::from(is_marked(received.frame()));
            }
        }
    });
    let (sent, arrived) = exchange.counts();
    println!("{rounds} MACs; {arrived} of {sent} frames of the others arrived");
    assert!(
        arrived > 0 && arrived + 1 >= sent,
        "{arrived} of {sent} arrived"
    );
    assert_eq!(seen, 0, "a third port saw what was not for it");
    eventually("every frame is counted", || {
        switch.counters(port).unwrap().rx_frames == u64::from(rounds) + 1
    });
    let limit = usize::try_from(sandbox.learn_limit).unwrap();
    assert_eq!(bridge.fdb().learned_count(port), limit);
    assert!(bridge.fdb().counts().port_full > 0);
    assert!(bridge.fdb().snapshot(switch.now()).len() <= limit + 3);
}

/// Marsaglia's xorshift: the same numbers at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Frames in each step: as fast as a sandbox sends single frames.
const PACE: u32 = 50;
const STEPS_ALONE: u32 = 200;
const STEP: Duration = Duration::from_millis(1);
const CHUNKS: u32 = 7;
const MARK: &[u8] = b"one to the other";
