//! Frames of a sender who left their finish to the underlay.
//!
//! # Theory of operation
//!
//! A kernel's VXLAN device leaves checksums and segmentation to the link below. Hardware does both; a veth passes the frame on
//! as it is, and says so in metadata that a UDP socket does not show: what arrives is a datagram longer than any network's
//! MTU, or a checksum field that holds nothing but the pseudo-header's sum, perhaps deep inside when what the frame carries is
//! a tunnel itself. Both can be told from the bytes ([`Unfinished`]). What is claimed here is validated by the worker like any
//! TAP's claim.

use switch_core::{Frame, Gso, OpenChecksum, RawVnet, Unfinished, UnfinishedTcp, VnetHeader};

/// The vnet header that describes what is left to do, in a network of `mtu`; zeros when nothing is.
pub(super) fn vnet_of(frame: &Frame<'_>, mtu: u32) -> [u8; VnetHeader::LEN] {
    let nothing = RawVnet::default().to_bytes();
    let Some(found) = Unfinished::find(frame) else {
        return nothing;
    };
    // Offsets and lengths of a packet, whose length has 16 bits.
    let Ok(start) = u16::try_from(found.start) else {
        return nothing;
    };
    let gso = found.tcp.and_then(|tcp| gso(tcp, mtu)).unwrap_or_default();
    let checksum = OpenChecksum {
        start,
        offset: found.offset,
    };
    RawVnet::new(gso, Some(checksum)).to_bytes()
}

/// How a packet longer than `mtu` is to be cut: into the longest segments the network carries.
fn gso(tcp: UnfinishedTcp, mtu: u32) -> Option<Gso> {
    let mtu = usize::try_from(mtu).ok()?;
    if tcp.packet_len <= mtu {
        return None;
    }
    let size = u16::try_from(mtu.checked_sub(tcp.headers_len)?).ok()?;
    Some(match tcp.is_v4 {
        true => Gso::TcpV4 { size, ecn: false },
        false => Gso::TcpV6 { size, ecn: false },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// TCP from 10.0.0.1 to 10.0.0.2 with `payload` zeros, its checksum left open.
    fn tcp(payload: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend((40 + payload).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum: u32 = frame[14..34]
            .chunks(2)
            .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
            .sum();
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
        let open: u16 = 0x0a00 + 1 + 0x0a00 + 2 + 6 + 20 + payload;
        frame.extend([0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0]);
        frame.extend(open.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(vec![0; usize::from(payload)]);
        frame
    }

    fn validated(frame: &[u8], mtu: u32) -> VnetHeader {
        let frame = Frame::parse(frame).unwrap();
        VnetHeader::validate(&vnet_of(&frame, mtu), &frame).unwrap()
    }

    proptest! {
        #[test]
        fn no_frame_is_beyond_description(
            mut bytes in proptest::collection::vec(any::<u8>(), 14..200),
            ethertype in prop_oneof![Just([8, 0]), Just([0x86, 0xdd])],
            protocol in prop_oneof![Just(6_u8), Just(17)],
            mtu in 0..2000_u32,
        ) {
            bytes[0] = 2;
            bytes[6] = 2;
            bytes[12..14].copy_from_slice(&ethertype);
            for at in [20, 23] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = protocol;
                }
            }
            let frame = Frame::parse(&bytes).unwrap();
            let vnet = vnet_of(&frame, mtu);
            let _ = VnetHeader::validate(&vnet, &frame);
        }
    }

    #[test]
    fn an_open_checksum_is_recognized() {
        let vnet = validated(&tcp(100), 1450);
        assert!(vnet.needs_checksum() && !vnet.is_superframe());
    }

    #[test]
    fn a_complete_checksum_is_left_alone() {
        let mut frame = tcp(100);
        frame[50] ^= 1;
        assert_eq!(validated(&frame, 1450), VnetHeader::NONE);
        frame.truncate(40);
        assert_eq!(vnet_of(&Frame::parse(&frame).unwrap(), 1450), [0; 10]);
    }

    #[test]
    fn a_packet_beyond_the_mtu_is_a_superframe() {
        let vnet = validated(&tcp(20_000), 1450);
        assert_eq!(vnet.gso().size(), Some(1410));
    }
}
