//! Frames for the tests, built by etherparse: an implementation that is not ours.

use etherparse::{IpDscp, IpEcn, IpFragOffset, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use crate::{Frame, VnetHeader};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// What goes before the payload.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) ipv6: bool,
    pub(crate) vlans: usize,
    pub(crate) transport: Transport,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) seq: u32,
    pub(crate) fin: bool,
    pub(crate) psh: bool,
    pub(crate) cwr: bool,
    pub(crate) timestamps: bool,
    pub(crate) source_port: u16,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            ipv6: false,
            vlans: 0,
            transport: Transport::Tcp,
            ttl: 64,
            id: 7,
            seq: 1000,
            fin: false,
            psh: false,
            cwr: false,
            timestamps: false,
            source_port: 4000,
        }
    }
}

impl Header {
    /// Every family, transport and number of tags.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..12).map(|n| Self {
            ipv6: n % 2 == 1,
            transport: if n / 2 % 2 == 0 {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            vlans: n / 4,
            ..Self::default()
        })
    }

    pub(crate) fn strategy() -> impl Strategy<Value = Self> {
        let shape = (any::<bool>(), 0..3_usize, any::<bool>(), any::<bool>());
        let tcp = (any::<bool>(), any::<bool>(), any::<bool>());
        (shape, tcp, any::<u16>(), any::<u32>(), 1..=255_u8).prop_map(
            |((ipv6, vlans, tcp, timestamps), (fin, psh, cwr), id, seq, ttl)| Self {
                ipv6,
                vlans,
                transport: if tcp { Transport::Tcp } else { Transport::Udp },
                ttl,
                id,
                seq,
                fin,
                psh,
                cwr,
                timestamps,
                source_port: 4000,
            },
        )
    }

    pub(crate) fn transport_at(&self) -> usize {
        14 + 4 * self.vlans + if self.ipv6 { 40 } else { 20 }
    }

    pub(crate) fn len(&self) -> usize {
        self.transport_at()
            + match self.transport {
                Transport::Udp => 8,
                Transport::Tcp if self.timestamps => 32,
                Transport::Tcp => 20,
            }
    }

    pub(crate) fn checksum_offset(&self) -> usize {
        if self.transport == Transport::Tcp {
            16
        } else {
            6
        }
    }

    /// The vnet header a kernel would send with such a frame; `size` zero for an ordinary one.
    pub(crate) fn raw_vnet(&self, size: u16) -> [u8; VnetHeader::LEN] {
        let gso_type = match (size, self.transport, self.ipv6) {
            (0, ..) => 0,
            (_, Transport::Udp, _) => 5,
            (_, Transport::Tcp, false) => 1,
            (_, Transport::Tcp, true) => 4,
        };
        let ecn = if gso_type % 5 != 0 && self.cwr {
            0x80
        } else {
            0
        };
        let mut raw = [0; VnetHeader::LEN];
        raw[0] = 1;
        raw[1] = gso_type | ecn;
        raw[2..4].copy_from_slice(&u16::try_from(self.len()).unwrap().to_ne_bytes());
        raw[4..6].copy_from_slice(&size.to_ne_bytes());
        raw[6..8].copy_from_slice(&u16::try_from(self.transport_at()).unwrap().to_ne_bytes());
        raw[8..10].copy_from_slice(&u16::try_from(self.checksum_offset()).unwrap().to_ne_bytes());
        raw
    }

    /// Replaces the checksum by the pseudo-header's sum, as a sender does who leaves the rest to the device.
    pub(crate) fn leave_checksum_open(&self, bytes: &mut [u8]) -> VnetHeader {
        open_checksum(self, bytes);
        VnetHeader::validate(&self.raw_vnet(0), &Frame::parse(bytes).unwrap()).unwrap()
    }

    /// The superframe of `payload` in segments of `size`, and its vnet header.
    pub(crate) fn superframe(&self, payload: &[u8], size: u16) -> (Vec<u8>, VnetHeader) {
        let mut bytes = frame(self, payload);
        open_checksum(self, &mut bytes);
        let vnet =
            VnetHeader::validate(&self.raw_vnet(size), &Frame::parse(&bytes).unwrap()).unwrap();
        (bytes, vnet)
    }
}

fn open_checksum(header: &Header, bytes: &mut [u8]) {
    let at = header.transport_at();
    let ip = 14 + 4 * header.vlans;
    let addresses = if header.ipv6 {
        ip + 8..ip + 40
    } else {
        ip + 12..ip + 20
    };
    let protocol = if header.transport == Transport::Tcp {
        6
    } else {
        17
    };
    let mut sum = u32::try_from(bytes.len() - at).unwrap() + protocol;
    for pair in bytes[addresses].chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let field = at + header.checksum_offset();
    bytes[field..field + 2].copy_from_slice(&u16::try_from(sum).unwrap().to_be_bytes());
}

/// A frame with all checksums complete.
pub(crate) fn frame(header: &Header, payload: &[u8]) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let link = match header.vlans {
        0 => link,
        _ => return tagged(header, payload),
    };
    let ip = if header.ipv6 {
        link.ipv6([0xfd; 16], [0xfe; 16], header.ttl)
    } else {
        link.ip(etherparse::IpHeaders::Ipv4(
            etherparse::Ipv4Header {
                dscp: IpDscp::ZERO,
                ecn: IpEcn::ZERO,
                identification: header.id,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: IpFragOffset::ZERO,
                time_to_live: header.ttl,
                source: [172, 17, 0, 2],
                destination: [172, 17, 0, 3],
                ..Default::default()
            },
            etherparse::Ipv4Extensions::default(),
        ))
    };
    let mut bytes = Vec::new();
    match header.transport {
        Transport::Udp => ip
            .udp(header.source_port, 5000)
            .write(&mut bytes, payload)
            .unwrap(),
        Transport::Tcp => {
            let mut tcp = etherparse::TcpHeader::new(header.source_port, 5000, header.seq, 500);
            tcp.ack = true;
            tcp.acknowledgment_number = 77;
            tcp.fin = header.fin;
            tcp.psh = header.psh;
            tcp.cwr = header.cwr;
            if header.timestamps {
                tcp.set_options(&[
                    etherparse::TcpOptionElement::Noop,
                    etherparse::TcpOptionElement::Noop,
                    etherparse::TcpOptionElement::Timestamp(1, 2),
                ])
                .unwrap();
            }
            ip.tcp_header(tcp).write(&mut bytes, payload).unwrap();
        }
    }
    bytes
}

fn tagged(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(
        &Header {
            vlans: 0,
            ..header.clone()
        },
        payload,
    );
    for tag in 0..header.vlans {
        let ethertype = if tag == 0 { 0x8100_u16 } else { 0x88a8 };
        let vid = 100 + u8::try_from(tag).unwrap();
        let [high, low] = ethertype.to_be_bytes();
        bytes.splice(12..12, [high, low, 0, vid]);
    }
    bytes
}

/// Panics unless etherparse finds every checksum of the frame right.
pub(crate) fn assert_checksums(bytes: &[u8]) {
    use etherparse::NetSlice;
    let sliced = SlicedPacket::from_ethernet(bytes).unwrap();
    let transport = sliced.transport.unwrap();
    let (v4, v6) = match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            (Some(header), None)
        }
        NetSlice::Ipv6(ip) => (None, Some(ip.header().to_header())),
        _ => panic!("no IP packet"),
    };
    match transport {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let expected = match (v4, v6) {
                (Some(ip), _) => header.calc_checksum_ipv4(&ip, tcp.payload()).unwrap(),
                (_, Some(ip)) => header.calc_checksum_ipv6(&ip, tcp.payload()).unwrap(),
                _ => unreachable!(),
            };
            // Zero and ones are the same sum.
            assert_eq!(header.checksum % 0xffff, expected % 0xffff);
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let expected = match (v4, v6) {
                (Some(ip), _) => header.calc_checksum_ipv4(&ip, udp.payload()).unwrap(),
                (_, Some(ip)) => header.calc_checksum_ipv6(&ip, udp.payload()).unwrap(),
                _ => unreachable!(),
            };
            assert_eq!(header.checksum, expected);
        }
        _ => panic!("neither TCP nor UDP"),
    }
}
