//! What ports say: frame, vnet header, segmentation, joining, guard, neighbours, forwarding.
//!
//! An input is frames in the order of their coming, each behind its port, the time since the one before, and a vnet header
//! (little endian).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use switch_core::{
    Bridge, BridgeConfig, BumLimit, Coalescer, DropReason, Frame, Joining, Mac, PortConfig, PortId,
    PortKind, Push, Segments, Time, Verdict, VnetHeader,
};

use crate::Target;
use crate::input::parts;

pub(crate) const TARGET: Target = Target {
    name: "frame",
    run,
    length_max: 4096,
    words: &[
        // Ethertypes and tags.
        b"\x08\x00",
        b"\x08\x06",
        b"\x86\xdd",
        b"\x81\x00\x00\x00",
        b"\x88\xa8\x00\x00",
        b"\x81\x00\x00\x07",
        // The gateway and an endpoint.
        b"\xac\x11\x00\x01",
        b"\xac\x11\x00\x04",
        b"\x02\x42\xac\x11\x00\x01",
        b"\x02\x00\x00\x00\x00\x04",
        // ICMPv6.
        b"\x3a",
        b"\x85\x00",
        b"\x87\x00",
        b"\x88\x00",
    ],
};

fn run(input: &[u8]) {
    let mut switch = Switch::new();
    for part in parts(input) {
        let Some((&[port, pause, ..], rest)) = part.split_first_chunk::<2>() else {
            continue;
        };
        switch.now = switch.now + Duration::from_millis(u64::from(pause) * 10);
        switch.take(PORTS[usize::from(port) % PORTS.len()].0, rest);
    }
    switch.end();
}

struct Switch {
    bridge: Bridge,
    coalescer: Coalescer,
    out: Vec<u8>,
    now: Time,
    frames: usize,
}

impl Switch {
    fn new() -> Self {
        let bridge = Bridge::new(BridgeConfig {
            transparent: true,
            probe_secret: 0x7e57,
            ..BridgeConfig::default()
        });
        let gateway = Ipv4Addr::new(172, 17, 0, 1);
        let gateway_v6 = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
        bridge.set_gateway(
            Mac::from_ipv4(gateway),
            &[gateway.into(), gateway_v6.into()],
        );
        for (id, kind) in PORTS {
            let bum_limit = (id == OTHER).then_some(BumLimit {
                frames_s: 2,
                burst_frames: 2,
            });
            let config = PortConfig {
                bum_limit,
                ..PortConfig::new(kind, 9000)
            };
            bridge.add_port(id, config);
        }
        let own = Ipv4Addr::new(172, 17, 0, 4);
        bridge.register_endpoint(OTHER, ENDPOINT, &[own.into()]);
        Self {
            bridge,
            coalescer: Coalescer::new(),
            out: vec![0; 70_000],
            now: Time::from_millis(1),
            frames: 0,
        }
    }

    fn take(&mut self, ingress: PortId, input: &[u8]) {
        let (raw, bytes) = input.split_at(input.len().min(VnetHeader::LEN));
        let Ok(frame) = Frame::parse(bytes) else {
            return;
        };
        self.frames += 1;
        self.forward(ingress, &frame);
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
        self.complete(ingress, &vnet, &frame);
    }

    fn forward(&mut self, ingress: PortId, frame: &Frame<'_>) -> Verdict {
        let verdict = self.bridge.forward(self.now, ingress, frame);
        match verdict {
            Verdict::Reply => {
                let len = self.bridge.reply(ingress, frame, &mut self.out);
                assert!((42..=Bridge::REPLY_LEN_MAX).contains(&len));
                let reply = Frame::parse(&self.out[..len]).expect("a reply is a frame");
                assert_eq!(reply.dst(), frame.src(), "whoever asked is answered");
            }
            Verdict::Unicast(port) => {
                assert_ne!(port, ingress, "nothing goes back where it came from");
                assert!(PORTS.iter().any(|(id, _)| *id == port));
                let tunnels = [TUNNEL, OTHER_TUNNEL];
                assert!(!(tunnels.contains(&ingress) && tunnels.contains(&port)));
                if frame.dst() == ENDPOINT {
                    assert_eq!(port, OTHER, "an endpoint's frames go to nobody else");
                }
            }
            Verdict::Flood => {
                assert_ne!(
                    frame.dst(),
                    ENDPOINT,
                    "a registered endpoint is not flooded to"
                );
            }
            Verdict::Group(_) | Verdict::Taken => panic!("this bridge does not snoop"),
            Verdict::Probe => assert!(self.bridge.probe(frame).is_some()),
            Verdict::Drop(_) => {}
        }
        verdict
    }

    /// A finished checksum changes at most its two bytes, and nothing that the guard reads.
    fn complete(&mut self, ingress: PortId, vnet: &VnetHeader, frame: &Frame<'_>) {
        let before = self.forward(ingress, frame);
        let mut bytes = frame.bytes().to_vec();
        vnet.complete_checksum(&mut bytes);
        assert_eq!(bytes.len(), frame.bytes().len());
        let changed = bytes
            .iter()
            .zip(frame.bytes())
            .filter(|(new, old)| new != old)
            .count();
        assert!(changed <= 2 && (changed == 0 || vnet.needs_checksum()));
        let finished = Frame::parse(&bytes).expect("still a frame").with_vnet(vnet);
        let after = self.forward(ingress, &finished);
        assert_eq!(guarded(before), guarded(after));
    }

    fn segment(&mut self, vnet: &VnetHeader, frame: &Frame<'_>) -> u32 {
        let Some(mut segments) = Segments::new(vnet, frame) else {
            return 0;
        };
        let len_max = segments.len_max();
        assert!(
            len_max <= frame.bytes().len(),
            "no segment is longer than all"
        );
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

    /// What was learned is no more than what was said, and is forgotten.
    fn end(&self) {
        let fdb = self.bridge.fdb();
        let entries = fdb.snapshot(self.now);
        assert!(entries.len() <= self.frames + KNOWN, "{entries:?}");
        assert_eq!(fdb.lookup(ENDPOINT), Some(OTHER), "it stays where it is");
        let later = self.now + Duration::from_secs(3600);
        self.bridge.age(later);
        assert!(fdb.snapshot(later).len() <= KNOWN);
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

const ENDPOINT: Mac = Mac::new([2, 0, 0, 0, 0, 4]);
const SANDBOX: PortId = PortId(1);
const OTHER: PortId = PortId(4);
const TUNNEL: PortId = PortId(5);
const OTHER_TUNNEL: PortId = PortId(6);
const PORTS: [(PortId, PortKind); 6] = [
    (SANDBOX, PortKind::Tap),
    (PortId(2), PortKind::Host),
    (PortId(3), PortKind::Edge),
    (OTHER, PortKind::Tap),
    (TUNNEL, PortKind::Tunnel),
    (OTHER_TUNNEL, PortKind::Tunnel),
];
/// Entries that are there from the beginning: the endpoint's and the gateway's.
const KNOWN: usize = 2;
