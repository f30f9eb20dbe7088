//! The VLAN of one frame, and what its bytes need on their way out.
//!
//! ```text
//!  0                   6                   12      14      16
//! +-------------------+-------------------+-------+-------+-------+--------
//! |    destination    |      source       | 8100  |  TCI  | type  | packet      TCI: PCP (3), DEI (1), VID (12)
//! +-------------------+-------------------+-------+-------+-------+--------
//!                                         |<- the tag --->|
//! ```
//!
//! (IEEE 802.1Q §9.6.)

use super::{PortVlans, Shape, TagProtocol, Vid, VlanConfig};
use crate::bytes::be16;
use crate::{DropReason, Frame};

/// What a frame's VLAN and priority are, and what it has of them on its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    vid: Vid,
    /// PCP and DEI, at their place in the TCI.
    priority: u16,
    /// The TCI that the frame has.
    present: Option<u16>,
    protocol: TagProtocol,
    /// Whether another tag of the protocol is beneath.
    is_stacked: bool,
}

/// What is to be done to a frame's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagChange {
    Keep,
    /// Put this tag behind the addresses.
    Push([u8; Tag::LEN]),
    /// Take away what is there.
    Pop,
    /// Put this one in its place.
    Replace([u8; Tag::LEN]),
}

impl Tag {
    /// In bytes.
    pub const LEN: usize = 4;

    /// The VLAN that a frame belongs to which came in by a port, and the frame beneath its tag.
    pub(crate) fn admit<'a>(
        network: VlanConfig,
        port: &PortVlans,
        frame: &Frame<'a>,
    ) -> Result<(Self, Frame<'a>), DropReason> {
        let protocol = network.protocol;
        let present = outer_tci(frame, protocol);
        let number = present.map_or(0, |tci| tci & VID);
        let vid = match number {
            0 => port.native().ok_or(DropReason::VlanUntagged)?,
            _ => Vid::new(number)
                .filter(|vid| port.shape(*vid).is_some())
                .ok_or(DropReason::VlanForeign)?,
        };
        let inner = match present {
            Some(_) => frame.beneath_tag()?,
            None => *frame,
        };
        let tag = Self {
            vid,
            priority: present.unwrap_or(0) & !VID,
            present,
            protocol,
            is_stacked: present.is_some() && inner.tag_type() == Some(protocol.ethertype()),
        };
        Ok((tag, inner))
    }

    /// Of frames that the switch writes itself, without tag yet.
    pub(crate) fn of_own(network: VlanConfig, vid: Vid, pcp: u8) -> Self {
        Self {
            vid,
            priority: u16::from(pcp & 7) << 13,
            present: None,
            protocol: network.protocol,
            is_stacked: false,
        }
    }

    /// A frame without tag as it leaves by the port; `None` where that does not belong to the VLAN.
    pub(crate) fn put(self, port: &PortVlans, bare: &[u8]) -> Option<Vec<u8>> {
        let (addresses, rest) = bare.split_at_checked(ADDRESSES)?;
        Some(match self.change(self.shape_at(port)?) {
            TagChange::Push(tag) | TagChange::Replace(tag) => [addresses, &tag, rest].concat(),
            TagChange::Keep | TagChange::Pop => bare.to_vec(),
        })
    }

    #[inline]
    pub const fn vid(self) -> Vid {
        self.vid
    }

    /// Whether the frame has a tag, be it one for its priority alone.
    pub const fn is_present(self) -> bool {
        self.present.is_some()
    }

    /// What the frame looks like beneath it.
    pub fn beneath(self, frame: Frame<'_>) -> Frame<'_> {
        match self.is_present() {
            true => frame.beneath_tag().unwrap_or(frame),
            false => frame,
        }
    }

    /// The priority code point, 0 to 7.
    pub fn pcp(self) -> u8 {
        // Three bits.
        u8::try_from(self.priority >> 13).unwrap_or(0)
    }

    /// The form in which the frame leaves by a port; `None` where that does not belong to the VLAN.
    #[inline]
    pub fn shape_at(self, port: &PortVlans) -> Option<Shape> {
        match port.shape(self.vid)? {
            Shape::Untagged if self.is_stacked && port.takes_tags() => Some(Shape::Tagged),
            shape => Some(shape),
        }
    }

    /// What makes the frame one of that form.
    pub fn change(self, shape: Shape) -> TagChange {
        let tci = self.priority | self.vid.get();
        match (shape, self.present) {
            (Shape::Untagged, None) => TagChange::Keep,
            (Shape::Untagged, Some(_)) => TagChange::Pop,
            (Shape::Tagged, None) => TagChange::Push(self.protocol.tag(tci)),
            (Shape::Tagged, Some(present)) if present == tci => TagChange::Keep,
            (Shape::Tagged, Some(_)) => TagChange::Replace(self.protocol.tag(tci)),
        }
    }

    /// The same of the frame after that.
    #[must_use]
    pub const fn changed(self, shape: Shape) -> Self {
        Self {
            present: match shape {
                Shape::Untagged => None,
                Shape::Tagged => Some(self.priority | self.vid.get()),
            },
            ..self
        }
    }

    /// Makes an answer to the frame, of `len` bytes without tag, what leaves by the port that asked; its length then, zero where there is
    /// no room for the tag.
    pub(crate) fn tag_answer(self, port: &PortVlans, out: &mut [u8], len: usize) -> usize {
        let bare = Self {
            present: None,
            is_stacked: false,
            ..self
        };
        match bare.shape_at(port).map(|shape| bare.change(shape)) {
            Some(TagChange::Push(tag)) if out.len() >= len + Self::LEN => {
                out.copy_within(ADDRESSES..len, ADDRESSES + Self::LEN);
                out[ADDRESSES..ADDRESSES + Self::LEN].copy_from_slice(&tag);
                len + Self::LEN
            }
            Some(TagChange::Keep) => len,
            _ => 0,
        }
    }
}

impl TagChange {
    /// How many bytes longer the frame is then.
    pub const fn growth(self) -> isize {
        match self {
            Self::Keep | Self::Replace(_) => 0,
            Self::Push(_) => Tag::LEN.cast_signed(),
            Self::Pop => -Tag::LEN.cast_signed(),
        }
    }
}

fn outer_tci(frame: &Frame<'_>, protocol: TagProtocol) -> Option<u16> {
    let is_one = frame.tag_type() == Some(protocol.ethertype());
    is_one.then(|| be16(frame.bytes(), Frame::HEADER_LEN))
}

const VID: u16 = 0x0fff;
/// Destination and source.
const ADDRESSES: usize = 12;
