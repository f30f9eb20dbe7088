//! Untrusted bytes through every parser: frame, vnet header, segmentation, coalescing, guard, neighbors.
//!
//! `corpus/*.hex` holds inputs that matter, one a file: a line that says why, then the bytes, a vnet header (little endian)
//! and a frame. Each is replayed as it is and in mutations, always the same ones. `FUZZ_SECONDS=600 cargo test --release
//! --test fuzz_corpus` goes on with others for that long. An input that fails is printed in the corpus' format.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are a test")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use switch_core::{
    Bridge, BridgeConfig, Coalescer, DropReason, Frame, Mac, PortConfig, PortId, PortKind, Push,
    Segments, Time, Verdict, VnetHeader, checksum,
};

#[test]
fn stored_inputs_and_their_mutations_break_nothing() {
    let corpus = corpus();
    assert!(corpus.len() > 20);
    let mut target = Target::new();
    for input in &corpus {
        check(&mut target, input);
    }
    mutate_for(&corpus, &mut target, Random(0x5eed), |rounds| {
        rounds < ROUNDS
    });
}

#[test]
fn fresh_mutations_break_nothing_for_as_long_as_asked() {
    let Some(seconds) = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
    else {
        return;
    };
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_secs() | 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let rounds = mutate_for(&corpus(), &mut Target::new(), Random(seed), |_| {
        Instant::now() < end
    });
    eprintln!("{rounds} inputs, seed {seed}");
}

/// What the input goes through, kept from one to the next as in the real switch.
struct Target {
    bridge: Bridge,
    coalescer: Coalescer,
    out: Vec<u8>,
}

impl Target {
    fn new() -> Self {
        let bridge = Bridge::new(BridgeConfig {
            transparent: true,
            ..BridgeConfig::default()
        });
        let gateway = Ipv4Addr::new(172, 17, 0, 1);
        let gateway_v6 = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
        bridge.set_gateway(
            Mac::from_ipv4(gateway),
            &[gateway.into(), gateway_v6.into()],
        );
        let sandbox = PortConfig {
            bum_limit: None,
            ..PortConfig::new(PortKind::Tap, 9000)
        };
        for (id, config) in [
            (SANDBOX, sandbox),
            (HOST, PortConfig::new(PortKind::Host, 9000)),
            (EDGE, PortConfig::new(PortKind::Edge, 9000)),
            (OTHER, sandbox),
        ] {
            bridge.add_port(id, config);
        }
        let own = Ipv4Addr::new(172, 17, 0, 4);
        bridge.register_endpoint(OTHER, Mac::new([2, 0, 0, 0, 0, 4]), &[own.into()]);
        Self {
            bridge,
            coalescer: Coalescer::new(),
            out: vec![0; 70_000],
        }
    }

    /// Takes one input through everything. Panics when an invariant does not hold.
    fn fuzz_one(&mut self, input: &[u8]) {
        let (raw, bytes) = input.split_at(input.len().min(VnetHeader::LEN));
        let Ok(frame) = Frame::parse(bytes) else {
            return;
        };
        self.forward(&frame);
        self.coalesce(&frame);
        let Ok(vnet) = VnetHeader::validate(raw, &frame) else {
            return;
        };
        assert_eq!(
            VnetHeader::validate(&vnet.to_bytes(), &frame),
            Ok(vnet),
            "what was rebuilt is valid"
        );
        let frame = frame.with_vnet(&vnet);
        let segments = self.segment(&vnet, &frame);
        assert_eq!(
            frame.segment_count(),
            segments.max(1),
            "segments are as announced"
        );
        self.complete(&vnet, &frame);
    }

    fn forward(&mut self, frame: &Frame<'_>) -> Verdict {
        let verdict = self.bridge.forward(Time::from_millis(1), SANDBOX, frame);
        if verdict == Verdict::Reply {
            let len = self.bridge.reply(SANDBOX, frame, &mut self.out);
            assert!((42..=Bridge::REPLY_LEN_MAX).contains(&len));
        }
        if let Verdict::Unicast(port) = verdict {
            assert_ne!(port, SANDBOX);
        }
        verdict
    }

    fn complete(&mut self, vnet: &VnetHeader, frame: &Frame<'_>) {
        let before = self.forward(frame);
        let mut bytes = frame.bytes().to_vec();
        checksum::complete(vnet, &mut bytes);
        let changed = bytes
            .iter()
            .zip(frame.bytes())
            .filter(|(new, old)| new != old)
            .count();
        assert!(changed <= 2 && (changed == 0 || vnet.needs_checksum()));
        let after = self.forward(&Frame::parse(&bytes).expect("still a frame").with_vnet(vnet));
        assert_eq!(
            guarded(before),
            guarded(after),
            "a checksum changes nothing that the guard reads"
        );
    }

    fn segment(&mut self, vnet: &VnetHeader, frame: &Frame<'_>) -> u32 {
        let Some(mut segments) = Segments::new(vnet, frame) else {
            return 0;
        };
        let len_max = segments.len_max();
        let payload = &frame.bytes()[vnet.header_len()..];
        let mut at = 0;
        let mut count = 0;
        while let Some(len) = segments.write_next(&mut self.out[..len_max]) {
            let segment = &self.out[..len];
            let piece = &segment[vnet.header_len()..];
            assert_eq!(*piece, payload[at..at + piece.len()]);
            at += piece.len();
            count += 1;
            assert!(Frame::parse(segment).is_ok());
        }
        assert_eq!(at, payload.len());
        count
    }

    fn coalesce(&mut self, frame: &Frame<'_>) {
        if matches!(self.coalescer.push(frame), Push::Taken) {
            return;
        }
        let Some((vnet, bytes)) = self.coalescer.take() else {
            return;
        };
        let frame = Frame::parse(bytes).expect("made of frames");
        assert_eq!(VnetHeader::validate(&vnet.to_bytes(), &frame), Ok(vnet));
    }
}

/// The guard's own part of a verdict.
fn guarded(verdict: Verdict) -> Option<DropReason> {
    match verdict {
        Verdict::Drop(
            reason @ (DropReason::GatewayMac
            | DropReason::GatewayIp
            | DropReason::RogueDhcp
            | DropReason::RogueRa
            | DropReason::HeaderChain
            | DropReason::StackedPriorityTags),
        ) => Some(reason),
        _ => None,
    }
}

fn mutate_for(
    corpus: &[Vec<u8>],
    target: &mut Target,
    mut random: Random,
    go_on: impl Fn(u32) -> bool,
) -> u32 {
    let mut rounds = 0;
    while go_on(rounds) {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, corpus, &mut random);
        }
        check(target, &input);
        rounds += 1;
    }
    rounds
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len().max(1));
    let near = random.below(input.len().clamp(1, 90));
    match random.below(9) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 | 2 if !input.is_empty() => input[near] = random.byte(),
        3 if !input.is_empty() => input[near] = [0, 1, 0x7f, 0x80, 0xff, 5, 58][random.below(7)],
        4 => input.truncate(at),
        5 => {
            let byte = random.byte();
            input.insert(at.min(input.len()), byte);
        }
        6 if !input.is_empty() => {
            input.remove(near);
        }
        7 => {
            let other = &corpus[random.below(corpus.len())];
            input.truncate(at);
            input.extend(other.iter().skip(at));
        }
        _ => {
            let tag = [[0x81, 0, 0, 0], [0x88, 0xa8, 0, 0], [0x81, 0, 0, 7]][random.below(3)];
            let at = 22.min(input.len());
            input.splice(at..at, tag);
        }
    }
}

fn check(target: &mut Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.fuzz_one(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("# What fails, in a line.\n{hex}");
        std::panic::resume_unwind(panic);
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| parse_hex(&std::fs::read_to_string(path).unwrap()))
        .collect()
}

fn parse_hex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    (0..digits.len() / 2)
        .map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap())
        .collect()
}

/// Xorshift (Marsaglia 2003): the same inputs on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[4]
    }
}

const SANDBOX: PortId = PortId(1);
const HOST: PortId = PortId(2);
const EDGE: PortId = PortId(3);
const OTHER: PortId = PortId(4);
const ROUNDS: u32 = 200_000;
