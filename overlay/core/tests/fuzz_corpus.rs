//! Untrusted bytes through every parser: datagram headers, reassembly, peers' messages, VXLAN, ECN, MSS, too-big answers.
//!
//! An input is datagrams, each behind its length (16 bits, big-endian); [`switch_lab::fuzz`] says how they are stored and what else they
//! become.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read files, clocks and settings"
)]

use std::time::Duration;

use overlay_core::outer::Outer;
use overlay_core::{
    DatagramHeader, Datagrams, Epoch, FrameIds, Hello, HostId, Peer, PeerConfig, ReassembleConfig,
    Reassembler, Role, Timing, VxlanHeader, ecn, flow_hash, mss, source_udp_port, too_big,
};
use switch_core::{Frame, Gso, Mac, RawVnet, Segments, Time, VnetHeader, Vni};
use switch_lab::fuzz::{self, Random, SHARED_MUTATIONS};

#[test]
fn stored_inputs_and_their_mutations_break_nothing() {
    let corpus = fuzz::corpus(CORPUS);
    assert!(corpus.len() >= 20);
    fuzz::replay(&mut Fresh, &corpus, ROUNDS);
}

#[test]
fn stored_inputs_are_what_they_say() {
    let frames = |name: &str| {
        let mut target = Target::new();
        target.fuzz_one(&fuzz::read(format!("{CORPUS}/{name}.hex").as_ref()));
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
fn mutations_from_other_seeds_break_nothing() {
    fuzz::go_on(&mut Fresh, &fuzz::corpus(CORPUS));
}

/// A new target for each input.
struct Fresh;

impl fuzz::Target for Fresh {
    const MUTATIONS: usize = SHARED_MUTATIONS + 1;
    const BYTE: u8 = 16;

    fn fuzz_one(&mut self, input: &[u8]) {
        Target::new().fuzz_one(input);
    }

    fn mutate(_: usize, at: usize, input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
        let other = &corpus[random.below(corpus.len())];
        if random.below(2) == 0 {
            input.truncate(at);
            input.extend(other.iter().skip(at));
        } else {
            input.extend(other);
        }
    }
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
        for is_verified in [false, true] {
            if let Ok(outer) = Outer::parse(datagram, is_verified) {
                assert!(outer.payload.end <= datagram.len());
            }
        }
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
                let raw = RawVnet::new(Gso::None, Some(checksum)).to_bytes();
                let vnet = Frame::parse(body).and_then(|frame| VnetHeader::validate(&raw, &frame));
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
            vnet.complete_checksum(&mut bytes);
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

const NOW: Time = Time::from_millis(1000);
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
const ROUNDS: u32 = 100_000;
