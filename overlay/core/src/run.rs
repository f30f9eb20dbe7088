//! Pieces that need no waiting.
//!
//! # Theory of operation
//!
//! A piece that has the headers and whole segments is a frame by itself. So it goes on as soon as it is there, and a loss holds
//! nothing up: the flow inside sees the gap at once, as it would on a wire. TCP is always cut so ([`crate::Datagrams`]).
//!
//! Pieces of one superframe that come one behind the other make one frame again, a [`Run`], which is written where the caller
//! wants it. The seals of the datagrams keep replays out, and whoever reads the frame validates what its pieces said.

use switch_core::{VnetHeader, Vni};

use crate::piece::Piece;
use crate::quic_frame::{DatagramHeader, FrameId, PieceGso};
use crate::rebuild::Template;

/// Consecutive segments of one superframe, in a buffer of the caller, which is the same in every call.
#[derive(Debug)]
pub struct Run {
    template: Template,
    id: FrameId,
    gso: PieceGso,
    vni: Vni,
    total: usize,
    start: usize,
    end: usize,
}

impl Run {
    /// Begins with a datagram; `None` when that is no piece that can go on by itself, and belongs to a
    /// [`crate::Reassembler`] if it is one at all.
    pub fn begin(header: &DatagramHeader, body: &[u8], room: &mut [u8]) -> Option<Self> {
        let piece = Piece::read(header, body)?;
        let gso = piece.whole_segments()?;
        let template = Template::read(piece.headers, gso, piece.total)?;
        let place = template.len()..template.len() + piece.payload.len();
        room.get_mut(place)?.copy_from_slice(piece.payload);
        Some(Self {
            template,
            id: piece.id,
            gso,
            vni: piece.vni,
            total: piece.total,
            start: piece.offset,
            end: piece.offset + piece.payload.len(),
        })
    }

    /// Takes a datagram that continues the run; `false`: it does not.
    pub fn join(&mut self, header: &DatagramHeader, body: &[u8], room: &mut [u8]) -> bool {
        let Some(piece) = Piece::read(header, body) else {
            return false;
        };
        let continues = self.id == piece.id
            && self.vni == piece.vni
            && piece.whole_segments() == Some(self.gso)
            && self.total == piece.total
            && self.end == piece.offset;
        let at = self.len();
        let Some(place) = room.get_mut(at..at + piece.payload.len()) else {
            return false;
        };
        if continues {
            place.copy_from_slice(piece.payload);
            self.end += piece.payload.len();
        }
        continues
    }

    /// Length of the frame, in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a run has headers")]
    pub const fn len(&self) -> usize {
        self.template.len() + self.end - self.start
    }

    /// Writes the headers, and returns the vnet header that describes the frame, to be validated.
    pub fn finish(&self, room: &mut [u8]) -> [u8; VnetHeader::LEN] {
        let range = self.start..self.end;
        if let Some(headers) = room.get_mut(..self.template.len()) {
            self.template.write(&range, headers);
        }
        self.template.raw_vnet(&range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switch_core::Frame;

    use super::*;
    use crate::pieces::{Datagrams, FrameIds};
    use crate::testing::{Header, on_the_wire, payload};

    fn datagrams(header: &Header, len: usize, size: u16, datagram_len: usize) -> Vec<Vec<u8>> {
        let (bytes, vnet) = header.open_frame(&payload(len), size);
        let frame = Frame::parse(&bytes).unwrap();
        let (vni, mut ids) = (Vni::new(7).unwrap(), FrameIds::new());
        let mut datagrams = Datagrams::new(vni, &vnet, &frame, &mut ids, datagram_len).unwrap();
        let mut out = vec![0; datagram_len];
        let mut all = Vec::new();
        while let Some(len) = datagrams.write_next(&mut out) {
            all.push(out[..len].to_vec());
        }
        all
    }

    fn size_of(datagram: &[u8]) -> u16 {
        match DatagramHeader::parse(datagram) {
            Ok((DatagramHeader::Piece { gso, .. }, _)) => gso.cut.size().unwrap(),
            _ => panic!("not a piece"),
        }
    }

    /// What a receiver makes of datagrams: the frames of each run, on the wire.
    fn receive<'a>(datagrams: impl Iterator<Item = &'a Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
        let mut room = vec![0xaa; 66_000];
        let mut out = Vec::new();
        let mut open: Option<Run> = None;
        let mut end = |run: Run, room: &mut [u8]| {
            let vnet = run.finish(room);
            let frame = Frame::parse(&room[..run.len()]).unwrap();
            let vnet = VnetHeader::validate(&vnet, &frame).unwrap();
            out.push(on_the_wire(&vnet, &room[..run.len()]));
        };
        for datagram in datagrams {
            let (header, body) = DatagramHeader::parse(datagram).unwrap();
            if open
                .as_mut()
                .is_some_and(|run| run.join(&header, body, &mut room))
            {
                continue;
            }
            if let Some(run) = open.take() {
                end(run, &mut room);
            }
            open = Some(Run::begin(&header, body, &mut room).unwrap());
        }
        if let Some(run) = open {
            end(run, &mut room);
        }
        out
    }

    proptest! {
        #[test]
        fn whatever_is_lost_the_rest_goes_on_as_the_segments_it_is(
            header in Header::strategy(),
            size in 1..3000_u16,
            segments in 2..40_usize,
            short in 0..3000_usize,
            datagram_len in prop_oneof![600..2000_usize, Just(1434), Just(8900)],
            lost in proptest::collection::vec(prop::bool::weighted(0.2), 200),
        ) {
            let header = Header { udp: false, ..header };
            let len = (usize::from(size) * segments - short % usize::from(size)).min(60_000);
            prop_assume!(len > usize::from(size));
            let datagrams = datagrams(&header, len, size, datagram_len);
            let size = size_of(&datagrams[0]);
            let (bytes, vnet) = header.open_frame(&payload(len), size);
            let wire = on_the_wire(&vnet, &bytes);
            let is_lost = |place: usize| lost[place % lost.len()];
            let there = datagrams.iter().enumerate().filter(|(place, _)| !is_lost(*place));
            let mut expected = Vec::new();
            let mut first = 0;
            for (place, datagram) in datagrams.iter().enumerate() {
                let (header, body) = DatagramHeader::parse(datagram).unwrap();
                let DatagramHeader::Piece { header_len, .. } = header else { panic!("not a piece") };
                let payload_len = body.len() - usize::from(header_len);
                let next = first + payload_len.div_ceil(usize::from(size));
                if !is_lost(place) {
                    expected.extend_from_slice(&wire[first..next]);
                }
                first = next;
            }
            prop_assert_eq!(receive(there.map(|(_, datagram)| datagram)).concat(), expected);
        }
    }

    #[test]
    fn a_superframe_of_which_nothing_is_lost_is_one_run() {
        let datagrams = datagrams(&Header::default(), 60_000, 1448, 1434);
        assert!(datagrams.iter().all(|datagram| datagram.len() <= 1434));
        assert_eq!(receive(datagrams.iter()).len(), 1);
        let gap = datagrams
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != 9);
        assert_eq!(receive(gap.map(|(_, datagram)| datagram)).len(), 2);
    }

    #[test]
    fn messages_of_udp_are_no_runs_and_runs_stay_in_their_room() {
        let mut room = vec![0; 66_000];
        let udp = Header {
            udp: true,
            ..Header::default()
        };
        let all = datagrams(&udp, 20_000, 1000, 8900);
        let (header, body) = DatagramHeader::parse(&all[0]).unwrap();
        assert!(Run::begin(&header, body, &mut room).is_none());
        let all = datagrams(&Header::default(), 20_000, 1000, 1434);
        let (header, body) = DatagramHeader::parse(&all[0]).unwrap();
        assert!(Run::begin(&header, body, &mut room[..500]).is_none());
        let mut run = Run::begin(&header, body, &mut room).unwrap();
        let (header, body) = DatagramHeader::parse(&all[1]).unwrap();
        let len = run.len();
        assert!(!run.join(&header, body, &mut room[..len]));
        assert!(run.join(&header, body, &mut room));
    }

    #[test]
    fn a_piece_of_another_frame_does_not_join() {
        let mut room = vec![0; 66_000];
        let all = datagrams(&Header::default(), 20_000, 1000, 1434);
        let (header, body) = DatagramHeader::parse(&all[0]).unwrap();
        let mut run = Run::begin(&header, body, &mut room).unwrap();
        assert!(!run.join(&header, body, &mut room), "the same again");
        let (mut header, body) = DatagramHeader::parse(&all[1]).unwrap();
        if let DatagramHeader::Piece { id, .. } = &mut header {
            *id = FrameId(id.0 + 1);
        }
        assert!(!run.join(&header, body, &mut room));
    }
}
