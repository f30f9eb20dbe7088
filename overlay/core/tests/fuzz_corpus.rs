//! Untrusted bytes through every parser: datagram headers, reassembly, peers' messages, VXLAN, ECN, MSS, too-big answers.
//!
//! `corpus/*.hex` holds inputs that matter, one a file: a line that says why, then the bytes: datagrams, each behind its length
//! (16 bits, big-endian). Each is replayed as it is and in mutations, always the same ones. `FUZZ_SECONDS=600 cargo test
//! --release --test fuzz_corpus` goes on with others for that long. An input that fails is printed in the corpus' format.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are a test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use overlay_core::{
    DatagramHeader, Datagrams, Epoch, FrameIds, Hello, HostId, Peer, PeerConfig, ReassembleConfig,
    Reassembler, Role, Timing, VxlanHeader, ecn, flow_hash, mss, source_udp_port, too_big,
};
use switch_core::{Frame, Mac, Segments, Time, VnetHeader, Vni, checksum};

#[test]
fn stored_inputs_and_their_mutations_break_nothing() {
    let corpus = corpus();
    assert!(corpus.len() >= 20);
    for input in &corpus {
        check(input);
    }
    mutate_for(&corpus, Random(0x5eed), |rounds| rounds < ROUNDS);
}

#[test]
fn stored_inputs_are_what_they_say() {
    let frames = |name: &str| {
        let mut target = Target::new();
        target.fuzz_one(&read(&folder().join(format!("{name}.hex"))));
        target.frames
    };
    assert_eq!(frames("whole_frame"), 1);
    assert_eq!(frames("two_pieces"), 1);
    assert_eq!(frames("udp6_pieces"), 1);
    assert_eq!(frames("fragments"), 1);
    assert_eq!(frames("piece_lost"), 3, "two runs and a frame");
    for nothing in ["no_headers", "kind_lies", "checksum_in_ip", "unknown_kind"] {
        assert_eq!(frames(nothing), 0, "{nothing}");
    }
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
    let rounds = mutate_for(&corpus(), Random(seed), |_| Instant::now() < end);
    eprintln!("{rounds} inputs, seed {seed}");
}

/// What the datagrams of one input go through.
struct Target {
    reassembler: Reassembler,
    peer: Peer,
    /// Frames that came out.
    frames: usize,
}

impl Target {
    fn new() -> Self {
        let name = |name| HostId::new(name).unwrap();
        let peer = PeerConfig {
            hello: Hello::new(name("host-2"), Epoch(1)),
            remote: name("host-1"),
            role: Role::Listens,
            timing: Timing::default(),
            seed: 1,
        };
        let mut peer = Peer::new(peer, NOW);
        peer.handle_connected(NOW, "host-1");
        Self {
            reassembler: Reassembler::new(ReassembleConfig {
                frames_max: 3,
                ..ReassembleConfig::default()
            }),
            peer,
            frames: 0,
        }
    }

    /// Takes one input through everything. Panics when an invariant does not hold.
    fn fuzz_one(&mut self, input: &[u8]) {
        let mut rest = input;
        while let Some((len, after)) = rest.split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
            let (datagram, next) = after.split_at(len);
            self.take(datagram);
            rest = next;
        }
        self.reassembler
            .handle_timeout(NOW + Duration::from_secs(1));
        self.drain();
        assert_eq!(self.reassembler.poll_timeout(), None);
        let counts = self.peer.counts();
        assert!(counts.ups <= counts.downs + 1);
    }

    fn take(&mut self, datagram: &[u8]) {
        if let Ok((header, frame)) = VxlanHeader::parse(datagram) {
            assert_eq!(header.to_bytes()[4..7], datagram[4..7]);
            inspect(frame);
        }
        let Ok((header, body)) = DatagramHeader::parse(datagram) else {
            return;
        };
        let (bytes, len) = header.to_bytes();
        let again = [&bytes[..len], body].concat();
        assert_eq!(DatagramHeader::parse(&again), Ok((header, body)));
        match header {
            DatagramHeader::Control => {
                self.peer.handle_input(NOW, body);
                while self.peer.poll_transmit().is_some() || self.peer.poll_event().is_some() {}
            }
            DatagramHeader::Frame { .. } => {
                self.frames += usize::from(Frame::parse(body).is_ok());
                inspect(body);
            }
            DatagramHeader::OpenFrame { checksum, .. } => {
                let vnet = checksum.vnet(body);
                if let Ok(vnet) = vnet {
                    self.frames += 1;
                    assert!(vnet.needs_checksum());
                    clamp(&vnet, body);
                }
            }
            _ => {
                self.reassembler.push(NOW, &header, body);
                self.drain();
            }
        }
    }

    fn drain(&mut self) {
        while let Some(rebuilt) = self.reassembler.poll_frame() {
            self.frames += 1;
            let (vni, vnet) = (rebuilt.vni, rebuilt.vnet);
            let frame = Frame::parse(rebuilt.frame).unwrap().with_vnet(&vnet);
            assert_eq!(VnetHeader::validate(&vnet.to_bytes(), &frame), Ok(vnet));
            segment(&vnet, &frame);
            cut_again(vni, &vnet, &frame);
            let mut bytes = rebuilt.frame.to_vec();
            checksum::complete(&vnet, &mut bytes);
            inspect(&bytes);
        }
    }
}

fn segment(vnet: &VnetHeader, frame: &Frame<'_>) {
    let Some(mut segments) = Segments::new(vnet, frame) else {
        assert!(!vnet.is_superframe());
        return;
    };
    let mut out = vec![0; segments.len_max()];
    let mut count = 0;
    while segments.write_next(&mut out).is_some() {
        count += 1;
    }
    assert_eq!(count, frame.segment_count());
}

/// What came out goes in again, and comes out the same.
fn cut_again(vni: Vni, vnet: &VnetHeader, frame: &Frame<'_>) {
    let Ok(mut datagrams) = Datagrams::new(vni, vnet, frame, &mut FrameIds::new(), 600) else {
        return;
    };
    let mut reassembler = Reassembler::new(ReassembleConfig::default());
    let mut out = [0; 600];
    while let Some(len) = datagrams.write_next(&mut out) {
        let (header, body) = DatagramHeader::parse(&out[..len]).unwrap();
        if matches!(
            header,
            DatagramHeader::Frame { .. } | DatagramHeader::OpenFrame { .. }
        ) {
            assert_eq!(body, frame.bytes());
            return;
        }
        reassembler.push(NOW, &header, body);
    }
    let rebuilt = reassembler.poll_frame().unwrap();
    assert_eq!((rebuilt.vni, rebuilt.vnet), (vni, *vnet));
    assert_eq!(rebuilt.frame, frame.bytes());
}

/// A frame from the wire through all that reads or changes one.
fn inspect(bytes: &[u8]) {
    clamp(&VnetHeader::NONE, bytes);
    for outer in [
        ecn::Ecn::NotEct,
        ecn::Ecn::Ect0,
        ecn::Ecn::Ect1,
        ecn::Ecn::Ce,
    ] {
        let mut copy = bytes.to_vec();
        let passes = ecn::decapsulate(outer, &mut copy);
        assert!(difference(&copy, bytes) <= 3);
        assert!(passes || copy == bytes);
    }
    let Ok(frame) = Frame::parse(bytes) else {
        return;
    };
    assert!(source_udp_port(flow_hash(&frame)) >= 49_152);
    let mut out = [0; too_big::LEN_MAX];
    let len = too_big::answer(&frame, 1400, Mac::new([2; 6]), &[], &mut out);
    if len > 0 {
        let answer = Frame::parse(&out[..len]).unwrap();
        assert_eq!(answer.dst(), frame.src());
        let len = too_big::answer(
            &answer,
            100,
            Mac::new([2; 6]),
            &[],
            &mut [0; too_big::LEN_MAX],
        );
        assert_eq!(len, 0, "no error about an error");
    }
}

fn clamp(vnet: &VnetHeader, bytes: &[u8]) {
    let mut copy = bytes.to_vec();
    let changed = mss::clamp(vnet, &mut copy, 1300);
    assert!(changed || copy == bytes);
    assert!(difference(&copy, bytes) <= 4);
    assert!(!mss::clamp(vnet, &mut copy, 1300));
}

fn difference(a: &[u8], b: &[u8]) -> usize {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

fn mutate_for(corpus: &[Vec<u8>], mut random: Random, go_on: impl Fn(u32) -> bool) -> u32 {
    let mut rounds = 0;
    while go_on(rounds) {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, corpus, &mut random);
        }
        check(&input);
        rounds += 1;
    }
    rounds
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len().max(1));
    let near = random.below(input.len().clamp(1, 90));
    match random.below(8) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 | 2 if !input.is_empty() => input[near] = random.byte(),
        3 if !input.is_empty() => input[near] = [0, 1, 0x7f, 0x80, 0xff, 5, 16][random.below(7)],
        4 => input.truncate(at),
        5 => {
            let byte = random.byte();
            input.insert(at.min(input.len()), byte);
        }
        6 if !input.is_empty() => {
            input.remove(near);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            if random.below(2) == 0 {
                input.truncate(at);
                input.extend(other.iter().skip(at));
            } else {
                input.extend(other);
            }
        }
    }
}

fn check(input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Target::new().fuzz_one(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("# What fails, in a line.\n{hex}");
        std::panic::resume_unwind(panic);
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn corpus() -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap();
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

const NOW: Time = Time::from_millis(1000);
const ROUNDS: u32 = 100_000;
