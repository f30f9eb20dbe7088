//! Frames for the unit tests.

use switch_core::{Gso, OpenChecksum, RawVnet};

/// Ethernet, IPv4 with identification `id`, UDP 1 -> 2 with four bytes; the vnet header leaves the UDP checksum open.
pub(crate) fn udp_envelope(id: u8) -> Vec<u8> {
    let open = OpenChecksum {
        start: 34,
        offset: 6,
    };
    let mut envelope = RawVnet::new(Gso::None, Some(open)).to_bytes().to_vec();
    envelope.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    // All words but the identification sum to 0x9934.
    let checksum = !(0x9934 + u16::from(id));
    envelope.extend([0x45, 0, 0, 32, 0, id, 0, 0, 64, 17]);
    envelope.extend(checksum.to_be_bytes());
    envelope.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    // The pseudo-header sum: 0a00 + 0001 + 0a00 + 0002 + 0011 + 000c.
    envelope.extend([0, 1, 0, 2, 0, 12, 0x14, 0x20]);
    envelope.extend([b'd', b'a', b't', b'a']);
    envelope
}
