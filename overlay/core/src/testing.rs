//! Frames for the tests, built by etherparse: an implementation that is not ours.

use etherparse::PacketBuilder;
use proptest::prelude::*;
use switch_core::{Frame, Segments, VnetHeader};

use crate::checksum::{add, sum};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) ipv6: bool,
    pub(crate) udp: bool,
    pub(crate) vlan: bool,
    pub(crate) ending: bool,
    pub(crate) cwr: bool,
    pub(crate) syn: bool,
    pub(crate) source_port: u16,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            ipv6: false,
            udp: false,
            vlan: false,
            ending: false,
            cwr: false,
            syn: false,
            source_port: 4000,
        }
    }
}

impl Header {
    pub(crate) fn strategy() -> impl Strategy<Value = Self> {
        any::<[bool; 5]>().prop_map(|[ipv6, udp, vlan, ending, cwr]| Self {
            ipv6,
            udp,
            vlan,
            ending,
            cwr,
            ..Self::default()
        })
    }

    pub(crate) fn ip_at(&self) -> usize {
        if self.vlan { 18 } else { 14 }
    }

    pub(crate) fn transport_at(&self) -> usize {
        self.ip_at() + if self.ipv6 { 40 } else { 20 }
    }

    pub(crate) fn len(&self) -> usize {
        self.transport_at() + if self.udp { 8 } else { 20 }
    }

    fn checksum_offset(&self) -> usize {
        if self.udp { 6 } else { 16 }
    }

    /// A frame with its checksums complete.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if self.ipv6 {
            builder.ipv6([0xfd; 16], [0xfe; 16], 64)
        } else {
            builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut bytes = Vec::new();
        if self.udp {
            let builder = builder.udp(self.source_port, 5000);
            builder.write(&mut bytes, payload).unwrap();
        } else {
            let mut builder = builder.tcp(self.source_port, 5000, 1000, 512).ack(9);
            if self.ending {
                builder = builder.fin().psh();
            }
            if self.cwr {
                builder = builder.cwr();
            }
            if self.syn {
                builder = builder
                    .syn()
                    .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1460)])
                    .unwrap();
            }
            builder.write(&mut bytes, payload).unwrap();
        }
        if self.vlan {
            bytes.splice(12..12, [0x81, 0, 0, 100]);
        }
        bytes
    }

    /// A superframe (an ordinary frame when `size` is zero) with its checksum missing, as a kernel hands it to a TAP.
    pub(crate) fn open_frame(&self, payload: &[u8], size: u16) -> (Vec<u8>, VnetHeader) {
        let mut bytes = self.frame(payload);
        let at = self.transport_at();
        let len = u16::try_from(bytes.len() - at).unwrap();
        let addresses = match self.ipv6 {
            true => self.ip_at() + 8..self.ip_at() + 40,
            false => self.ip_at() + 12..self.ip_at() + 20,
        };
        let protocol = if self.udp { 17 } else { 6 };
        let pseudo = add(add(sum(0, &bytes[addresses]), protocol), len);
        let field = at + self.checksum_offset();
        bytes[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        let vnet = VnetHeader::validate(&self.raw_vnet(size), &Frame::parse(&bytes).unwrap());
        (bytes, vnet.unwrap())
    }

    fn raw_vnet(&self, size: u16) -> [u8; VnetHeader::LEN] {
        let gso_type = match (size, self.udp, self.ipv6) {
            (0, ..) => 0,
            (_, true, _) => 5,
            (_, _, false) => 1,
            (_, _, true) => 4,
        };
        let ecn = if gso_type % 5 != 0 && self.cwr {
            0x80
        } else {
            0
        };
        let mut raw = [0; VnetHeader::LEN];
        raw[0] = 1;
        raw[1] = gso_type | ecn;
        raw[4..6].copy_from_slice(&size.to_ne_bytes());
        let start = u16::try_from(self.transport_at()).unwrap();
        raw[6..8].copy_from_slice(&start.to_ne_bytes());
        let offset = u16::try_from(self.checksum_offset()).unwrap();
        raw[8..10].copy_from_slice(&offset.to_ne_bytes());
        raw
    }
}

/// What goes out on a wire for a frame: its segments, or itself with the checksum complete.
pub(crate) fn on_the_wire(vnet: &VnetHeader, bytes: &[u8]) -> Vec<Vec<u8>> {
    let frame = Frame::parse(bytes).unwrap();
    let Some(mut segments) = Segments::new(vnet, &frame) else {
        let mut bytes = bytes.to_vec();
        vnet.complete_checksum(&mut bytes);
        return vec![bytes];
    };
    let mut out = vec![0; segments.len_max()];
    let mut all = Vec::new();
    while let Some(len) = segments.write_next(&mut out) {
        all.push(out[..len].to_vec());
    }
    all
}

pub(crate) fn payload(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| u8::try_from(n * 7 % 251).unwrap())
        .collect()
}

/// Panics unless etherparse finds every checksum of the frame right.
pub(crate) fn verify_checksums(bytes: &[u8]) {
    let mut fixed = bytes.to_vec();
    fix_checksums(&mut fixed);
    assert_eq!(fixed, bytes);
}

/// Replaces every checksum by what etherparse computes.
pub(crate) fn fix_checksums(bytes: &mut [u8]) {
    let headers = etherparse::PacketHeaders::from_ethernet_slice(bytes).unwrap();
    let ip_at = Frame::parse(bytes).unwrap().packet_offset();
    let payload = headers.payload.slice().to_vec();
    let (net, mut transport) = (headers.net.unwrap(), headers.transport.unwrap());
    match &net {
        etherparse::NetHeaders::Ipv4(ip, _) => {
            transport.update_checksum_ipv4(ip, &payload).unwrap();
            bytes[ip_at + 10..ip_at + 12].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
        }
        etherparse::NetHeaders::Ipv6(ip, _) => {
            transport.update_checksum_ipv6(ip, &payload).unwrap();
        }
        etherparse::NetHeaders::Arp(_) => panic!("no IP packet"),
    }
    let mut out = Vec::new();
    transport.write(&mut out).unwrap();
    let at = bytes.len() - payload.len() - out.len();
    bytes[at..at + out.len()].copy_from_slice(&out);
}
