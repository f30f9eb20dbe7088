//! The vnet header's layout. Nobody else knows where its fields are.
//!
//! Linux `include/uapi/linux/virtio_net.h`, virtio 1.2 §5.1.6; native endian on a TAP and a packet socket.
//!
//! ```text
//!  0       1          2         4          6            8             10
//! +-------+----------+---------+----------+------------+-------------+
//! | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset |
//! +-------+----------+---------+----------+------------+-------------+
//! ```

use super::gso::Gso;

/// What somebody says in a vnet header, unchecked: see [`VnetHeader::validate`](crate::VnetHeader::validate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RawVnet {
    flags: u8,
    gso_type: u8,
    header_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

/// Where a checksum is missing: summing starts `start` bytes into the frame, and the sum goes `offset` bytes further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenChecksum {
    pub start: u16,
    pub offset: u16,
}

impl RawVnet {
    /// Length on the wire, in bytes.
    pub const LEN: usize = 10;

    /// What a sender says that leaves cutting and a checksum to the device. `header_len` is zero, which every device takes.
    #[inline]
    pub fn new(gso: Gso, checksum: Option<OpenChecksum>) -> Self {
        let OpenChecksum { start, offset } = checksum.unwrap_or_default();
        Self {
            flags: if checksum.is_some() { NEEDS_CSUM } else { 0 },
            gso_type: gso.type_byte(),
            header_len: 0,
            gso_size: gso.size().unwrap_or(0),
            csum_start: start,
            csum_offset: offset,
        }
    }

    /// With the length of all headers, in bytes, from the start of the frame.
    #[inline]
    #[must_use]
    pub const fn with_header_len(mut self, header_len: u16) -> Self {
        self.header_len = header_len;
        self
    }

    /// `None` when `bytes` are too few.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let raw: &[u8; Self::LEN] = bytes.first_chunk()?;
        let field = |at: usize| u16::from_ne_bytes([raw[at], raw[at + 1]]);
        Some(Self {
            flags: raw[0],
            gso_type: raw[1],
            header_len: field(2),
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        })
    }

    #[inline]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        bytes
    }

    /// The checksum that is said to be missing.
    #[inline]
    pub const fn open_checksum(&self) -> Option<OpenChecksum> {
        if self.flags & NEEDS_CSUM == 0 {
            return None;
        }
        Some(OpenChecksum {
            start: self.csum_start,
            offset: self.csum_offset,
        })
    }

    /// How the frame is said to be cut; `None` when the type is not one that is carried.
    #[inline]
    pub const fn gso(&self) -> Option<Gso> {
        Gso::from_type_byte(self.gso_type, self.gso_size)
    }

    /// Whether nothing is left to the device.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.flags & NEEDS_CSUM == 0 && !self.is_superframe()
    }

    /// Whether the frame is said to be a superframe, of whatever type.
    #[inline]
    pub const fn is_superframe(&self) -> bool {
        self.gso_type != 0
    }

    /// The same after a VLAN tag was put between the frame's addresses and its packet.
    #[must_use]
    pub const fn tagged(mut self) -> Self {
        if self.is_superframe() {
            self.header_len = self.header_len.saturating_add(TAG_LEN);
        }
        if self.flags & NEEDS_CSUM != 0 {
            self.csum_start = self.csum_start.saturating_add(TAG_LEN);
        }
        self
    }
}

const NEEDS_CSUM: u8 = 1;
const TAG_LEN: u16 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_written_again(bytes: [u8; RawVnet::LEN]) {
            prop_assert_eq!(RawVnet::read(&bytes).map(RawVnet::to_bytes), Some(bytes));
        }
    }

    #[test]
    fn a_tag_moves_only_what_is_said() {
        let checksum = Some(OpenChecksum {
            start: 34,
            offset: 16,
        });
        let gso = Gso::TcpV4 {
            size: 1448,
            ecn: true,
        };
        let moved = RawVnet::new(gso, checksum).with_header_len(54).tagged();
        let expected = Some(OpenChecksum {
            start: 38,
            offset: 16,
        });
        assert_eq!(moved, RawVnet::new(gso, expected).with_header_len(58));
        assert_eq!(moved.gso(), Some(gso));
        assert_eq!(RawVnet::default().tagged(), RawVnet::default());
    }
}
