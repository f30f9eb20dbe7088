//! A VLAN tag comes, goes or changes, where the frame is.
//!
//! # Theory of operation
//!
//! The tag stands behind the addresses. So that it comes or goes, only what is before it moves, by four bytes: the vnet header and
//! the addresses, 22 bytes, into the headroom or back. The packet stays where it is, whatever its length.
//!
//! ```text
//! | headroom    | vnet header | addresses | type, packet ...
//! | headr. | vnet header | addresses | tag | type, packet ...
//! ```
//!
//! What the vnet header says of places in the packet counts from the frame's start, and moves as well.

use switch_core::VnetHeader;
use switch_core::vlan::{Tag, TagChange};

/// Changes the tag of the envelope that starts in `room` and has a length; `vnet` describes the frame as it is then. Where it starts
/// then, and its length. An envelope that is too short, or has no headroom, stays as it is.
pub(crate) fn retag(
    room: &mut [u8],
    (start, len): (usize, usize),
    change: TagChange,
    vnet: [u8; VnetHeader::LEN],
) -> (usize, usize) {
    let (headroom, shortest) = match change {
        TagChange::Push(_) => (Tag::LEN, HEAD),
        _ => (0, HEAD + Tag::LEN),
    };
    if start < headroom || len < shortest || room.len() < start + len {
        return (start, len);
    }
    let (start, len) = match change {
        TagChange::Keep => (start, len),
        TagChange::Push(tag) => {
            let earlier = start - Tag::LEN;
            room.copy_within(start..start + HEAD, earlier);
            room[earlier + HEAD..start + HEAD].copy_from_slice(&tag);
            (earlier, len + Tag::LEN)
        }
        TagChange::Pop => {
            let later = start + Tag::LEN;
            room.copy_within(start..start + HEAD, later);
            (later, len - Tag::LEN)
        }
        TagChange::Replace(tag) => {
            room[start + HEAD..start + HEAD + Tag::LEN].copy_from_slice(&tag);
            (start, len)
        }
    };
    room[start..start + VnetHeader::LEN].copy_from_slice(&vnet);
    (start, len)
}

/// The vnet header and the addresses.
const HEAD: usize = VnetHeader::LEN + 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_port::FrameBuffer;
    use crate::samples::udp_envelope;

    const TAG: [u8; 4] = [0x81, 0, 0x60, 10];

    fn header(envelope: &[u8]) -> VnetHeader {
        let (header, frame) = envelope.split_at(VnetHeader::LEN);
        VnetHeader::validate(header, &switch_core::Frame::parse(frame).unwrap()).unwrap()
    }

    #[test]
    fn a_tag_that_comes_and_goes_leaves_the_frame_as_it_was() {
        let envelope = udp_envelope(1);
        let vnet = header(&envelope);
        let mut buffer = FrameBuffer::new();
        buffer.fill(&envelope);
        buffer.envelope_mut()[..VnetHeader::LEN].copy_from_slice(&vnet.to_bytes());
        let before = buffer.envelope().to_vec();

        buffer.retag(TagChange::Push(TAG), &vnet);
        let tagged = buffer.envelope().to_vec();
        assert_eq!(tagged[VnetHeader::LEN..HEAD], before[VnetHeader::LEN..HEAD]);
        assert_eq!(tagged[HEAD..HEAD + 4], TAG);
        assert_eq!(tagged[HEAD + 4..], before[HEAD..]);
        // Whoever reads it finds the same checksum missing, four bytes further.
        let moved = header(&tagged);
        assert_eq!(moved, vnet.moved(4));
        assert_eq!(moved.to_bytes(), tagged[..VnetHeader::LEN]);

        let other = [0x81, 0, 0, 20];
        buffer.retag(TagChange::Replace(other), &moved);
        assert_eq!(buffer.envelope()[HEAD..HEAD + 4], other);
        buffer.retag(TagChange::Pop, &moved);
        assert_eq!(buffer.envelope(), before);
        buffer.retag(TagChange::Keep, &vnet);
        assert_eq!(buffer.envelope(), before);
    }

    #[test]
    fn a_header_that_nobody_checked_moves_as_well() {
        let envelope = udp_envelope(1);
        let vnet = header(&envelope);
        let [mut checked, mut unchecked] = [(); 2].map(|()| FrameBuffer::new());
        for buffer in [&mut checked, &mut unchecked] {
            buffer.fill(&envelope);
        }
        checked.retag(TagChange::Push(TAG), &vnet);
        unchecked.push_tag(TAG);
        assert_eq!(header(unchecked.envelope()), vnet.moved(4));
        assert_eq!(
            unchecked.envelope()[VnetHeader::LEN..],
            checked.envelope()[VnetHeader::LEN..]
        );
    }

    #[test]
    fn without_room_a_frame_stays_as_it_is() {
        let mut room = [7; 40];
        let vnet = VnetHeader::NONE.to_bytes();
        assert_eq!(
            retag(&mut room, (3, 37), TagChange::Push(TAG), vnet),
            (3, 37)
        );
        assert_eq!(retag(&mut room, (0, 25), TagChange::Pop, vnet), (0, 25));
        assert_eq!(retag(&mut room, (10, 31), TagChange::Pop, vnet), (10, 31));
        assert_eq!(room, [7; 40]);
    }
}
