//! Joins small frames of one flow into superframes before a TAP takes them.
//!
//! # Theory of operation
//!
//! A TAP costs a system call's work for every frame it is given, whatever the frame's length. A burst of a flow that
//! arrived as single frames (segments from a tunnel or from a TAP without offloads) leaves as one superframe, which the
//! sandbox's kernel cuts again only if its reader needs that. Which protocols this is done to is the egress port's choice:
//! datagrams arrive as they were sent unless its network was made to join them. Nothing waits: only frames of one batch are
//! joined. All frames of the burst, joined or not, are written here in their order. Counters count the frames that were
//! joined.

use switch_core::{Coalescer, Frame, Joining, Push, VnetHeader};

use crate::frame_port::{FrameBuffer, Written};
use crate::port::Port;

pub(super) struct Joiner {
    coalescer: Coalescer,
    /// What the coalescer holds.
    held: Burst,
    /// A frame whose checksum is being completed.
    completed: FrameBuffer,
    out: FrameBuffer,
}

/// Frames that leave together.
#[derive(Clone, Copy, Default)]
struct Burst {
    frames: u64,
    bytes: u64,
}

impl Joiner {
    /// Fewer frames than this are cheaper to write one by one.
    pub(super) const FRAMES_MIN: usize = 4;

    pub(super) fn new() -> Self {
        Self {
            coalescer: Coalescer::new(),
            held: Burst::default(),
            completed: FrameBuffer::new(),
            out: FrameBuffer::new(),
        }
    }

    /// Writes ordinary frames, each with its validated header, to `port`.
    pub(super) fn send<'e>(
        &mut self,
        port: &Port,
        envelopes: impl Iterator<Item = (VnetHeader, &'e [u8])>,
    ) -> Written {
        let mut written = Written::default();
        for (vnet, envelope) in envelopes {
            self.offer(port, &vnet, envelope, &mut written);
        }
        self.flush(port, &mut written);
        written
    }

    fn offer(&mut self, port: &Port, vnet: &VnetHeader, envelope: &[u8], written: &mut Written) {
        let joining = port.config.joining;
        if !concerns(joining, envelope) {
            self.flush(port, written);
            *written += port.device.write(&[envelope]);
            return;
        }
        self.completed.fill(envelope);
        let bytes = &mut self.completed.envelope_mut()[VnetHeader::LEN..];
        vnet.complete_checksum(bytes);
        let pushed = match push(&mut self.coalescer, &self.completed, joining) {
            Push::Flush => {
                self.flush(port, written);
                push(&mut self.coalescer, &self.completed, joining)
            }
            pushed => pushed,
        };
        match pushed {
            Push::Taken => self.held.add(envelope),
            Push::Complete => {
                self.held.add(envelope);
                self.flush(port, written);
            }
            Push::Flush | Push::Unfit => {
                self.flush(port, written);
                *written += port.device.write(&[envelope]);
            }
        }
    }

    fn flush(&mut self, port: &Port, written: &mut Written) {
        let burst = std::mem::take(&mut self.held);
        let Some((vnet, bytes)) = self.coalescer.take() else {
            return;
        };
        let room = self.out.bare_space();
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.out.set_bare_len(len);
        self.out.envelope_mut()[..VnetHeader::LEN].copy_from_slice(&vnet.to_bytes());
        *written += burst.fate(port.device.write(&[self.out.envelope()]));
    }
}

impl Burst {
    fn add(&mut self, envelope: &[u8]) {
        self.frames += 1;
        self.bytes += u64::try_from(envelope.len() - VnetHeader::LEN).unwrap_or(0);
    }

    /// What became of the single frames, given what became of the superframe.
    fn fate(self, written: Written) -> Written {
        Written {
            frames: written.frames * self.frames,
            bytes: written.frames * self.bytes,
            full: written.full * self.frames,
            busy: written.busy * self.frames,
            down: written.down * self.frames,
            refused: written.refused * self.frames,
            gone: written.gone * self.frames,
            fault: written.fault * self.frames,
        }
    }
}

/// Whether a frame in its envelope is of a protocol that may be joined.
pub(super) fn concerns(joining: Joining, envelope: &[u8]) -> bool {
    envelope
        .get(VnetHeader::LEN..)
        .and_then(|bytes| Frame::parse(bytes).ok())
        .is_some_and(|frame| joining.concerns(&frame))
}

fn push(coalescer: &mut Coalescer, envelope: &FrameBuffer, joining: Joining) -> Push {
    match Frame::parse(&envelope.envelope()[VnetHeader::LEN..]) {
        Ok(frame) => coalescer.push(&frame, joining),
        Err(_) => Push::Unfit,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use switch_core::{Bridge, BridgeConfig, Gso, PortConfig, PortId, PortKind};

    use super::*;
    use crate::channel_port::{ChannelEnd, channel};
    use crate::frame_port::Capabilities;
    use crate::samples::udp_envelope;

    fn port(capacity: usize, joining: Joining) -> (Port, ChannelEnd) {
        let (device, end) = channel(capacity, Capabilities::ALL).unwrap();
        let bridge = Arc::new(Bridge::new(BridgeConfig::default()));
        let config = PortConfig {
            joining,
            ..PortConfig::new(PortKind::Tap, 1500)
        };
        (
            Port::new(PortId(1), Box::new(device), bridge, config, 1),
            end,
        )
    }

    fn send(port: &Port, envelopes: &[Vec<u8>]) -> Written {
        let checked = envelopes.iter().map(|envelope| {
            let (header, bytes) = envelope.split_at(VnetHeader::LEN);
            let frame = Frame::parse(bytes).unwrap();
            (VnetHeader::validate(header, &frame).unwrap(), &envelope[..])
        });
        Joiner::new().send(port, checked)
    }

    #[test]
    fn datagrams_leave_as_they_came_where_nobody_asked() {
        let (port, end) = port(8, Joining::default());
        let sent = [0, 1, 2, 3, 4].map(udp_envelope);
        assert_eq!(send(&port, &sent).frames, 5);
        for envelope in &sent {
            let received = end.try_recv().unwrap();
            assert_eq!(received.vnet(), &envelope[..VnetHeader::LEN]);
            assert_eq!(received.frame(), &envelope[VnetHeader::LEN..]);
        }
    }

    #[test]
    fn datagrams_of_one_flow_leave_as_one_superframe_and_count_singly() {
        let (port, end) = port(8, Joining::TcpAndUdp);
        let written = send(&port, &[0, 1, 2, 3, 4].map(udp_envelope));
        assert_eq!((written.frames, written.bytes), (5, 5 * 46));
        let received = end.try_recv().unwrap();
        let frame = Frame::parse(received.frame()).unwrap();
        let vnet = VnetHeader::validate(received.vnet(), &frame).unwrap();
        assert_eq!(vnet.gso(), Gso::Udp { size: 4 });
        assert!(received.frame().ends_with(&b"data".repeat(5)));
        assert!(end.try_recv().is_err());
    }

    #[test]
    fn a_frame_that_cannot_join_keeps_its_place() {
        let (port, end) = port(8, Joining::TcpAndUdp);
        let mut other = udp_envelope(2);
        other[VnetHeader::LEN + 12..][..2].copy_from_slice(&[0x88, 0xb5]);
        other[0] = 0;
        let burst = [
            udp_envelope(0),
            udp_envelope(1),
            other.clone(),
            udp_envelope(3),
        ];
        assert_eq!(send(&port, &burst).frames, 4);
        let lens: Vec<_> = std::iter::from_fn(|| end.try_recv().ok())
            .map(|r| r.frame().len())
            .collect();
        assert_eq!(lens, [50, 46, 46]);
    }

    #[test]
    fn a_superframe_that_is_dropped_counts_for_all_it_held() {
        let (port, _end) = port(0, Joining::TcpAndUdp);
        assert_eq!(send(&port, &[0, 1, 2].map(udp_envelope)).full, 3);
    }
}
