//! What an envelope is on the wire.

use crate::{Frame, RawVnet, Segments, VnetHeader};

/// An envelope, and the frames that it is on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    bytes: &'a [u8],
    /// Of a superframe whose header holds; anything else is one frame, whatever it says.
    superframe: Option<VnetHeader>,
    frames: u64,
    /// From the Ethernet header on.
    wire_bytes: u64,
}

impl<'a> Envelope<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let len = bytes.len().saturating_sub(VnetHeader::LEN);
        let one = Self {
            bytes,
            superframe: None,
            frames: 1,
            wire_bytes: u64::try_from(len).unwrap_or(u64::MAX),
        };
        let Some((vnet, _)) = superframe(bytes) else {
            return one;
        };
        let (frames, _) = vnet.segmentation(len);
        let frames = u64::from(frames.max(1));
        let headers = u64::try_from(vnet.header_len()).unwrap_or(0);
        Self {
            superframe: Some(vnet),
            frames,
            wire_bytes: one.wire_bytes + (frames - 1) * headers,
            ..one
        }
    }

    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) const fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) const fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// Hands the frames of a superframe out, each in an envelope of its own, finished. `room` is where they are made.
    pub(crate) fn cut(&self, room: &mut Vec<u8>, mut each: impl FnMut(&[u8])) {
        let frame = self.bytes.get(VnetHeader::LEN..).unwrap_or_default();
        let segments = self
            .superframe
            .and_then(|vnet| Segments::new(&vnet, &Frame::parse(frame).ok()?));
        let Some(mut segments) = segments else {
            return each(self.bytes);
        };
        room.clear();
        room.extend_from_slice(&VnetHeader::NONE.to_bytes());
        room.resize(VnetHeader::LEN + segments.len_max(), 0);
        while let Some(len) = segments.write_next(&mut room[VnetHeader::LEN..]) {
            each(&room[..VnetHeader::LEN + len]);
        }
    }
}

/// Turns one bit of a frame over: the one at `pick` of all bits. Its checksum is completed before, so that it is wrong afterwards.
pub(crate) fn corrupt(envelope: &mut [u8], pick: impl FnOnce(usize) -> usize) {
    let Some((header, frame)) = envelope.split_at_mut_checked(VnetHeader::LEN) else {
        return;
    };
    let vnet = Frame::parse(frame).and_then(|parsed| VnetHeader::validate(header, &parsed));
    // One that does not hold leads to a drop, with whatever bits.
    if let Ok(vnet) = vnet {
        vnet.complete_checksum(frame);
        header.copy_from_slice(&VnetHeader::NONE.to_bytes());
    }
    let bit = pick(frame.len() * 8);
    if let Some(byte) = frame.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

fn superframe(bytes: &[u8]) -> Option<(VnetHeader, Frame<'_>)> {
    let (header, frame) = bytes.split_at_checked(VnetHeader::LEN)?;
    RawVnet::read(header).filter(|raw| !raw.is_empty())?;
    let frame = Frame::parse(frame).ok()?;
    let vnet = VnetHeader::validate(header, &frame).ok()?;
    vnet.is_superframe().then_some((vnet, frame))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Header, assert_checksums, frame};

    fn envelope(vnet: &VnetHeader, frame: &[u8]) -> Vec<u8> {
        [&vnet.to_bytes()[..], frame].concat()
    }

    #[test]
    fn a_superframe_is_all_the_frames_that_a_card_would_send() {
        let (bytes, vnet) = Header::default().superframe(&[7; 3500], 1000);
        let envelope = envelope(&vnet, &bytes);
        let whole = Envelope::of(&envelope);
        assert_eq!(whole.frames(), 4);
        let (mut room, mut found) = (Vec::new(), Vec::new());
        whole.cut(&mut room, |frame| found.push(frame.to_vec()));
        let lens: Vec<_> = found.iter().map(|one| one.len() - 10 - 54).collect();
        assert_eq!(lens, [1000, 1000, 1000, 500]);
        for one in &found {
            assert_eq!(one[..10], [0; 10]);
            assert_checksums(&one[10..]);
        }
        let on_wire: usize = found.iter().map(|one| one.len() - 10).sum();
        assert_eq!(whole.wire_bytes(), u64::try_from(on_wire).unwrap());
    }

    #[test]
    fn an_envelope_that_lies_is_one_frame() {
        let (bytes, vnet) = Header::default().superframe(&[7; 3500], 1000);
        let mut lie = envelope(&vnet, &bytes);
        lie[4..6].copy_from_slice(&0_u16.to_ne_bytes());
        for envelope in [&lie[..], &[1; 12], &[]] {
            let one = Envelope::of(envelope);
            assert_eq!(one.frames(), 1);
            let mut found = 0;
            one.cut(&mut Vec::new(), |frame| {
                assert_eq!(frame, envelope);
                found += 1;
            });
            assert_eq!(found, 1);
        }
    }

    #[test]
    fn a_corrupt_frame_differs_in_one_bit_from_the_finished_one() {
        let whole = frame(&Header::default(), b"payload");
        let (open, vnet) = {
            let mut open = whole.clone();
            let start = 14 + 20;
            let sum = crate::checksum::pseudo_header(
                &crate::packet::Packet::parse(&Frame::parse(&whole).unwrap()).unwrap(),
                &whole,
                whole.len() - start,
            );
            let folded = crate::checksum::fold(sum);
            open[start + 16..start + 18].copy_from_slice(&folded.to_be_bytes());
            let mut raw = [0; 10];
            raw[0] = 1;
            raw[6..8].copy_from_slice(&34_u16.to_ne_bytes());
            raw[8..10].copy_from_slice(&16_u16.to_ne_bytes());
            (open, raw)
        };
        let mut envelope = [&vnet[..], &open].concat();
        corrupt(&mut envelope, |bits| bits - 1);
        assert_eq!(envelope[..10], [0; 10]);
        let differing: u32 = envelope[10..]
            .iter()
            .zip(&whole)
            .map(|(one, other)| (one ^ other).count_ones())
            .sum();
        assert_eq!(differing, 1);
        corrupt(&mut [], |_| 0);
        corrupt(&mut [0; 10], |_| 0);
    }
}
