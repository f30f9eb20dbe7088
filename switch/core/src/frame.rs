//! Ethernet frames, borrowed.
//!
//! # Theory of operation
//!
//! A [`Frame`] is a view of bytes that were checked once: an Ethernet header, up to two VLAN tags, a plausible source.
//! Everything is read at fixed offsets; nothing is copied. A third tag and what follows it is payload.
//!
//! ```text
//!  0                   6                   12      14      16
//! +-------------------+-------------------+-------+-------+-------+--------
//! |    destination    |      source       | 8100  |  TCI  | type  | packet      TCI: PCP (3), DEI (1), VID (12)
//! +-------------------+-------------------+-------+-------+-------+--------
//!                                          (no, one or two tags)
//! ```
//!
//! (IEEE 802.3 §3.2, IEEE 802.1Q §9.)

use crate::bytes::be16;
use crate::{DropReason, Mac};

/// A checked view of an Ethernet frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    ethertype: u16,
    /// Tags before those that are looked at: one, or none.
    skipped: u8,
    tag_count: u8,
    vids: [u16; 2],
    segment_count: u32,
    packet_len: usize,
}

impl<'a> Frame<'a> {
    /// Length of an Ethernet header without tags.
    pub const HEADER_LEN: usize = 14;

    /// Checks `bytes`, which start at the destination address and have no frame check sequence.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        if bytes.len() < Self::HEADER_LEN {
            return Err(DropReason::Runt);
        }
        let mut frame = Self {
            bytes,
            ethertype: be16(bytes, 12),
            skipped: 0,
            tag_count: 0,
            vids: [0; 2],
            segment_count: 1,
            packet_len: 0,
        };
        if frame.src().is_multicast() {
            return Err(DropReason::MulticastSource);
        }
        if frame.src() == Mac::ZERO {
            return Err(DropReason::ZeroSource);
        }
        frame.read_tags()?;
        frame.packet_len = bytes.len() - frame.packet_offset();
        Ok(frame)
    }

    fn read_tags(&mut self) -> Result<(), DropReason> {
        while usize::from(self.tag_count) < self.vids.len() && is_tag(self.ethertype) {
            let at = self.packet_offset();
            if self.bytes.len() < at + TAG_LEN {
                return Err(DropReason::TruncatedVlan);
            }
            self.vids[usize::from(self.tag_count)] = be16(self.bytes, at) & VID_MASK;
            self.ethertype = be16(self.bytes, at + 2);
            self.tag_count += 1;
        }
        Ok(())
    }

    /// The same frame, looked at as if its outermost tag were not there; without tags it is as it was.
    pub(crate) fn beneath_tag(&self) -> Result<Self, DropReason> {
        if self.tag_count == 0 {
            return Ok(*self);
        }
        let end = self.packet_offset() + self.packet_len;
        let skipped = self.skipped + 1;
        let start = Self::HEADER_LEN + usize::from(skipped) * TAG_LEN;
        let mut inner = Self {
            ethertype: be16(self.bytes, start - 2),
            skipped,
            tag_count: 0,
            vids: [0; 2],
            ..*self
        };
        inner.read_tags()?;
        inner.packet_len = end.saturating_sub(inner.packet_offset());
        Ok(inner)
    }

    /// The type of the outermost tag.
    #[inline]
    pub(crate) fn tag_type(&self) -> Option<u16> {
        let at = Self::HEADER_LEN + usize::from(self.skipped) * TAG_LEN - 2;
        (self.tag_count > 0).then(|| be16(self.bytes, at))
    }

    /// The same frame, known to be `segment_count` frames on the wire, of which the longest has `segment_len` bytes.
    #[inline]
    pub(crate) fn of_segments(self, segment_count: u32, segment_len: usize) -> Self {
        Self {
            segment_count,
            packet_len: segment_len.saturating_sub(self.packet_offset()),
            ..self
        }
    }

    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub fn dst(&self) -> Mac {
        self.mac_at(0)
    }

    #[inline]
    pub fn src(&self) -> Mac {
        self.mac_at(6)
    }

    /// VLAN identifiers, outermost first.
    pub fn vids(&self) -> &[u16] {
        &self.vids[..usize::from(self.tag_count)]
    }

    /// What follows the tags. A tag's own type when there are more than two tags.
    pub const fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// Where the packet starts.
    pub const fn packet_offset(&self) -> usize {
        Self::HEADER_LEN + (self.skipped + self.tag_count) as usize * TAG_LEN
    }

    /// What follows the Ethernet header and the tags, padding included.
    pub fn packet(&self) -> &'a [u8] {
        &self.bytes[self.packet_offset()..]
    }

    /// Whether a station treats the frame as untagged: no tags, or only priority tags (VID 0, IEEE 802.1Q §6.9).
    pub fn is_untagged(&self) -> bool {
        self.vids().iter().all(|vid| *vid == 0)
    }

    /// Whether more tags follow than are looked at.
    pub const fn has_deeper_tags(&self) -> bool {
        is_tag(self.ethertype)
    }

    /// Frames on the wire: 1, or the segments of a superframe.
    pub const fn segment_count(&self) -> u32 {
        self.segment_count
    }

    /// Whether no packet of this frame is longer than `mtu`; a superframe is judged by its segments.
    pub fn fits(&self, mtu: u32) -> bool {
        u32::try_from(self.packet_len).is_ok_and(|len| len <= mtu)
    }

    #[inline]
    fn mac_at(&self, at: usize) -> Mac {
        let b = &self.bytes[at..at + 6];
        Mac::new([b[0], b[1], b[2], b[3], b[4], b[5]])
    }
}

/// Numbers of IEEE 802 that a switch looks at.
pub mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::SERVICE_VLAN)
}

const TAG_LEN: usize = 4;
const VID_MASK: u16 = 0x0fff;

#[cfg(test)]
mod tests {
    use etherparse::{EtherType, LinkExtSlice, SlicedPacket};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Header, frame};

    const STATIONS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn bytes(rest: &[u8]) -> Vec<u8> {
        [&STATIONS[..], rest].concat()
    }

    #[test]
    fn a_frame_shorter_than_its_header_is_a_runt() {
        for len in 0..14 {
            assert_eq!(Frame::parse(&[2; 14][..len]).err(), Some(DropReason::Runt));
        }
        assert!(Frame::parse(&bytes(&[8, 0])).is_ok());
    }

    #[test]
    fn a_source_must_be_a_station() {
        let mut frame = bytes(&[8, 0]);
        frame[6] = 3;
        assert_eq!(
            Frame::parse(&frame).err(),
            Some(DropReason::MulticastSource)
        );
        frame[6..12].fill(0);
        assert_eq!(Frame::parse(&frame).err(), Some(DropReason::ZeroSource));
    }

    #[test]
    fn a_tag_cut_short_is_noticed_at_any_depth() {
        let tags = bytes(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0]);
        for len in 14..22 {
            let verdict = Frame::parse(&tags[..len]).err();
            // The first two bytes of a tag are the type of what is before it.
            let complete = len == 22;
            assert_eq!(
                verdict,
                (!complete).then_some(DropReason::TruncatedVlan),
                "{len}"
            );
        }
        // The third tag is payload.
        let frame = Frame::parse(&tags).unwrap();
        assert!(frame.has_deeper_tags());
        assert_eq!(frame.vids(), [1, 2]);
    }

    #[test]
    fn only_priority_tags_leave_a_frame_untagged() {
        assert!(Frame::parse(&bytes(&[8, 0])).unwrap().is_untagged());
        assert!(
            Frame::parse(&bytes(&[0x81, 0, 0xe0, 0, 8, 0]))
                .unwrap()
                .is_untagged()
        );
        assert!(
            !Frame::parse(&bytes(&[0x81, 0, 0, 1, 8, 0]))
                .unwrap()
                .is_untagged()
        );
    }

    #[test]
    fn a_superframe_fits_where_its_segments_do() {
        let header = Header {
            vlans: 1,
            ..Header::default()
        };
        let (bytes, vnet) = header.superframe(&[0; 5000], 1460);
        let frame = Frame::parse(&bytes).unwrap();
        assert!(!frame.fits(1500));
        let frame = frame.with_vnet(&vnet);
        assert!(frame.fits(1500));
        assert!(!frame.fits(1499));
        assert_eq!(frame.segment_count(), 4);
    }

    #[test]
    fn beneath_its_tag_a_frame_is_one_with_a_tag_less() {
        let tags = bytes(&[
            0x88, 0xa8, 0, 1, 0x81, 0, 0xe0, 2, 0x81, 0, 0, 3, 8, 0, 7, 7,
        ]);
        let outer = Frame::parse(&tags).unwrap();
        assert_eq!(
            (outer.vids(), outer.tag_type()),
            (&[1, 2][..], Some(0x88a8))
        );
        assert!(outer.has_deeper_tags());
        let inner = outer.beneath_tag().unwrap();
        assert_eq!(
            (inner.vids(), inner.tag_type()),
            (&[2, 3][..], Some(0x8100))
        );
        assert_eq!((inner.ethertype(), inner.packet()), (0x0800, &[7, 7][..]));
        assert!(!inner.has_deeper_tags());
        let bare = bytes(&[8, 0, 7]);
        let bare = Frame::parse(&bare).unwrap();
        assert_eq!(bare.beneath_tag().unwrap().packet(), bare.packet());
        // A tag that was payload is looked at now, and is cut short.
        let cut = bytes(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0]);
        let inner = Frame::parse(&cut).unwrap().beneath_tag();
        assert_eq!(inner.err(), Some(DropReason::TruncatedVlan));
    }

    #[test]
    fn a_superframe_fits_beneath_its_tag_as_well() {
        let header = Header {
            vlans: 1,
            ..Header::default()
        };
        let (bytes, vnet) = header.superframe(&[0; 5000], 1460);
        let frame = Frame::parse(&bytes).unwrap().with_vnet(&vnet);
        let inner = frame.beneath_tag().unwrap();
        assert!(inner.fits(1500) && !inner.fits(1499));
        assert!(inner.is_untagged());
        assert_eq!(inner.segment_count(), 4);
    }

    proptest! {
        #[test]
        fn the_view_agrees_with_etherparse(header in Header::strategy()) {
            let bytes = frame(&header, b"payload");
            let frame = Frame::parse(&bytes).unwrap();
            let oracle = SlicedPacket::from_ethernet(&bytes).unwrap();
            let vids: Vec<u16> = oracle.link_exts.iter().filter_map(|ext| match ext {
                LinkExtSlice::Vlan(vlan) => Some(vlan.vlan_identifier().value()),
                _ => None,
            }).collect();
            prop_assert_eq!(frame.vids(), &vids[..]);
            let expected = if header.ipv6 { EtherType::IPV6 } else { EtherType::IPV4 };
            prop_assert_eq!(EtherType(frame.ethertype()), expected);
            prop_assert_eq!(frame.packet_offset(), 14 + 4 * header.vlans);
        }

        #[test]
        fn whatever_etherparse_takes_apart_is_no_runt(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let ours = Frame::parse(&bytes);
            let oracle = etherparse::Ethernet2Slice::from_slice_without_fcs(&bytes);
            prop_assert_eq!(oracle.is_ok(), !matches!(ours, Err(DropReason::Runt)));
        }
    }
}
