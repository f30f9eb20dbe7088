//! What other hosts say: datagram headers, reassembly, peers' messages, VXLAN, ECN, MSS, too-big answers.
//!
//! An input is the datagrams in the order of their coming.

use std::time::Duration;

use overlay_core::outer::Outer;
use overlay_core::{
    DatagramHeader, Datagrams, Epoch, FrameIds, Hello, HostId, PathProbe, Peer, PeerConfig,
    ReassembleConfig, Reassembler, Role, Timing, VxlanHeader, ecn, flow_hash, mss, source_udp_port,
    too_big,
};
use switch_core::{Frame, Gso, Mac, RawVnet, Segments, Time, VnetHeader, Vni};

use crate::Target;
use crate::input::parts;

pub(crate) const TARGET: Target = Target {
    name: "tunnel",
    run,
    length_max: 4096,
    words: &[
        b"\x08\x00",
        b"\x86\xdd",
        b"\x10",
        b"\x08\x00\x00\x00\x00\x00\x2a\x00",
        b"\x01\x80\xc2\x00\x00\x01\x02\x00\x00\x00\x00\x00\x88\xb5VP\x01",
        b"host-1",
        b"\xff\xff",
    ],
};

/// Takes one input through everything; returns how many frames came out.
pub(crate) fn frames(input: &[u8]) -> usize {
    let mut host = Host::new();
    parts(input).for_each(|datagram| host.take(datagram));
    host.end();
    host.frames
}

fn run(input: &[u8]) {
    frames(input);
}

/// What the datagrams of one input go through.
struct Host {
    reassembler: Reassembler,
    peer: Peer,
    frames: usize,
}

impl Host {
    fn new() -> Self {
        let name = |name| HostId::new(name).unwrap();
        let peer = PeerConfig {
            hello: Hello::new(name("host-2"), Epoch(1)),
            remote: name("host-1"),
            role: Role::Listens,
            is_needed: true,
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
        if let Some(probe) = PathProbe::parse(datagram) {
            assert_eq!(PathProbe::parse(&probe.to_bytes()), Some(probe));
        }
        let Ok((header, body)) = DatagramHeader::parse(datagram) else {
            return;
        };
        let (bytes, len) = header.to_bytes();
        let again = [&bytes[..len], body].concat();
        assert_eq!(DatagramHeader::parse(&again), Ok((header, body)));
        match header {
            DatagramHeader::Control => self.hear(body),
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

    /// A message never calls forth more than a few, so that two hosts cannot talk for ever.
    fn hear(&mut self, message: &[u8]) {
        self.peer.handle_input(NOW, message);
        let mut said = 0;
        while self.peer.poll_transmit().is_some() {
            said += 1;
        }
        while self.peer.poll_event().is_some() {
            said += 1;
        }
        assert!(said <= 4, "{said} answers to one message");
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

    /// After a while nothing waits for its rest.
    fn end(&mut self) {
        self.reassembler
            .handle_timeout(NOW + Duration::from_secs(1));
        self.drain();
        assert_eq!(self.reassembler.poll_timeout(), None);
        let counts = self.peer.counts();
        assert!(counts.ups <= counts.downs + 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn stored_inputs_are_what_they_say() {
        let inputs = corpus::read("tunnel").unwrap();
        let frames = |name: &str| {
            let input = inputs.iter().find(|input| input.name() == Some(name));
            frames(&input.unwrap().bytes)
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
}
