//! Untrusted bytes through every parser: frame, vnet header, segmentation, coalescing, guard, neighbors.
//!
//! An input is a vnet header (little endian) and a frame; [`switch_lab::fuzz`] says how they are stored and what else they become.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read files, clocks and settings"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use switch_core::{
    Bridge, BridgeConfig, Coalescer, DropReason, Frame, Joining, Mac, PortConfig, PortId, PortKind,
    Push, Segments, Time, Verdict, VnetHeader,
};
use switch_lab::fuzz::{self, Random, SHARED_MUTATIONS};

#[test]
fn stored_inputs_and_their_mutations_break_nothing() {
    let corpus = fuzz::corpus(CORPUS);
    assert!(corpus.len() > 20);
    fuzz::replay(&mut Target::new(), &corpus, ROUNDS);
}

#[test]
fn mutations_from_other_seeds_break_nothing() {
    fuzz::go_on(&mut Target::new(), &fuzz::corpus(CORPUS));
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
}

impl fuzz::Target for Target {
    const MUTATIONS: usize = SHARED_MUTATIONS + 2;
    const BYTE: u8 = 58;

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

    fn mutate(
        mutation: usize,
        at: usize,
        input: &mut Vec<u8>,
        corpus: &[Vec<u8>],
        random: &mut Random,
    ) {
        if mutation == SHARED_MUTATIONS {
            let other = &corpus[random.below(corpus.len())];
            input.truncate(at);
            input.extend(other.iter().skip(at));
        } else {
            let tag = [[0x81, 0, 0, 0], [0x88, 0xa8, 0, 0], [0x81, 0, 0, 7]][random.below(3)];
            let at = 22.min(input.len());
            input.splice(at..at, tag);
        }
    }
}

impl Target {
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
        vnet.complete_checksum(&mut bytes);
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
        if matches!(self.coalescer.push(frame, Joining::TcpAndUdp), Push::Taken) {
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
            | DropReason::NeighborIp
            | DropReason::RogueRa
            | DropReason::RogueRedirect
            | DropReason::HeaderChain
            | DropReason::StackedPriorityTags),
        ) => Some(reason),
        _ => None,
    }
}

const SANDBOX: PortId = PortId(1);
const HOST: PortId = PortId(2);
const EDGE: PortId = PortId(3);
const OTHER: PortId = PortId(4);
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
const ROUNDS: u32 = 200_000;
