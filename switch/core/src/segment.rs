//! Software segmentation: superframes cut for sinks that cannot take them.
//!
//! # Theory of operation
//!
//! What a device with TSO or USO would send (Linux `tcp_gso_segment`, `__udp_gso_segment`, `inet_gso_segment`): every
//! segment repeats the headers, and then
//!
//! - IPv4: total length; the identification counts up; header checksum. IPv6: payload length.
//! - TCP: the sequence number advances by the payload sent before; FIN and PSH only on the last; CWR only on the first
//!   (RFC 3168 §6.1.2: it answers one congestion signal).
//! - UDP: length.
//! - The transport checksum, complete.
//!
//! Whatever lies before the transport header otherwise, VLAN tags, IPv4 options and IPv6 extensions, is copied. The caller
//! brings the buffer, so nothing is allocated.

use crate::bytes::{be16, be32, put_be16, put_be32};
use crate::packet::{IPV6_HEADER_LEN, Packet, TCP_HEADER_LEN, UDP_HEADER_LEN, Version, protocol};
use crate::vnet::{TCP_CHECKSUM, UDP_CHECKSUM};
use crate::{Frame, VnetHeader, checksum};

/// The frames of one superframe, one after the other, with their checksums complete.
#[derive(Debug)]
pub struct Segments<'a> {
    frame: &'a [u8],
    packet: Packet,
    header_len: usize,
    size: usize,
    /// Payload written so far.
    sent: usize,
    /// Segments written so far.
    index: u16,
}

impl<'a> Segments<'a> {
    /// `None` when `vnet` describes no superframe: then the frame is sent as it is, after [`VnetHeader::complete_checksum`].
    pub fn new(vnet: &VnetHeader, frame: &Frame<'a>) -> Option<Self> {
        let size = usize::from(vnet.gso().size()?);
        let packet = Packet::parse(frame)?;
        let header_len = vnet.header_len();
        let transport_len = header_len.checked_sub(packet.transport)?;
        let fits = match packet.protocol {
            protocol::TCP => transport_len >= TCP_HEADER_LEN,
            protocol::UDP => transport_len == UDP_HEADER_LEN,
            _ => false,
        };
        (fits && size > 0 && header_len < packet.end).then_some(Self {
            frame: &frame.bytes()[..packet.end],
            packet,
            header_len,
            size,
            sent: 0,
            index: 0,
        })
    }

    /// Length of the longest segment: what `out` must hold.
    pub fn len_max(&self) -> usize {
        (self.header_len + self.size).min(self.frame.len())
    }

    /// Whether the last segment was written.
    pub fn is_done(&self) -> bool {
        self.header_len + self.sent >= self.frame.len()
    }

    /// Writes the next segment to the start of `out` and returns its length; `None` after the last.
    ///
    /// `out` holds at least [`Self::len_max`] bytes; otherwise there is no next segment.
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        let rest = &self.frame[self.header_len + self.sent..];
        if rest.is_empty() {
            return None;
        }
        let payload = &rest[..rest.len().min(self.size)];
        let len = self.header_len + payload.len();
        let out = out.get_mut(..len)?;
        out[..self.header_len].copy_from_slice(&self.frame[..self.header_len]);
        out[self.header_len..].copy_from_slice(payload);
        let is_last = payload.len() == rest.len();
        self.fix_packet(out);
        self.fix_transport(out, is_last);
        self.sent += payload.len();
        self.index = self.index.wrapping_add(1);
        Some(len)
    }

    fn fix_packet(&self, out: &mut [u8]) {
        let start = self.packet.start;
        match self.packet.version {
            Version::V4 => {
                let id = be16(out, start + 4).wrapping_add(self.index);
                put_be16(out, start + 2, len16(out.len() - start));
                put_be16(out, start + 4, id);
                put_be16(out, start + 10, 0);
                let header = &out[start..self.packet.transport];
                let checksum = !checksum::fold(checksum::sum(0, header));
                put_be16(out, start + 10, checksum);
            }
            Version::V6 => put_be16(out, start + 4, len16(out.len() - start - IPV6_HEADER_LEN)),
        }
    }

    fn fix_transport(&self, out: &mut [u8], is_last: bool) {
        let len = out.len() - self.packet.transport;
        let pseudo_header = checksum::pseudo_header(&self.packet, out, len);
        let transport = &mut out[self.packet.transport..];
        let field = if self.packet.protocol == protocol::TCP {
            // A superframe is far shorter than 4 GiB.
            let sent = u32::try_from(self.sent).unwrap_or(0);
            let seq = be32(transport, 4).wrapping_add(sent);
            put_be32(transport, 4, seq);
            if !is_last {
                transport[TCP_FLAGS] &= !(TCP_FIN | TCP_PSH);
            }
            if self.index != 0 {
                transport[TCP_FLAGS] &= !TCP_CWR;
            }
            usize::from(TCP_CHECKSUM)
        } else {
            put_be16(transport, 4, len16(len));
            usize::from(UDP_CHECKSUM)
        };
        put_be16(transport, field, 0);
        let sum = checksum::sum(pseudo_header, transport);
        let checksum = match self.packet.protocol {
            protocol::TCP => !checksum::fold(sum),
            _ => checksum::finish(sum),
        };
        put_be16(transport, field, checksum);
    }
}

/// Lengths of segments of a packet that has a 16-bit length itself.
fn len16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

pub(crate) const TCP_FLAGS: usize = 13;
pub(crate) const TCP_FIN: u8 = 0x01;
pub(crate) const TCP_PSH: u8 = 0x08;
pub(crate) const TCP_CWR: u8 = 0x80;

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Header, assert_checksums, frame};

    fn segments(bytes: &[u8], vnet: &VnetHeader) -> Vec<Vec<u8>> {
        let mut segments = Segments::new(vnet, &Frame::parse(bytes).unwrap()).unwrap();
        let mut out = vec![0xaa; segments.len_max()];
        let mut all = Vec::new();
        while let Some(len) = segments.write_next(&mut out) {
            all.push(out[..len].to_vec());
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn segments_are_what_the_sender_would_have_sent_one_by_one(
            header in Header::strategy(),
            size in 1..3000_u16,
            count in 2..8_usize,
            short in 0..3000_usize,
        ) {
            let size_bytes = usize::from(size);
            let len = size_bytes * count - short % size_bytes;
            prop_assume!(len > size_bytes);
            let payload: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let (bytes, vnet) = header.superframe(&payload, size);
            let parts: Vec<&[u8]> = payload.chunks(size_bytes).collect();
            let expected: Vec<Vec<u8>> = parts.iter().enumerate().map(|(n, part)| {
                let is_last = n + 1 == parts.len();
                let n = u16::try_from(n).unwrap();
                frame(&Header {
                    id: header.id.wrapping_add(n),
                    seq: header.seq.wrapping_add(u32::from(n) * u32::from(size)),
                    fin: header.fin && is_last,
                    psh: header.psh && is_last,
                    cwr: header.cwr && n == 0,
                    ..header.clone()
                }, part)
            }).collect();
            let actual = segments(&bytes, &vnet);
            for segment in &actual {
                assert_checksums(segment);
            }
            let (count, _) = vnet.segmentation(bytes.len());
            prop_assert_eq!(usize::try_from(count).unwrap(), actual.len());
            prop_assert_eq!(actual, expected);
        }
    }

    #[test]
    fn fin_and_psh_ride_on_the_last_and_cwr_on_the_first() {
        let header = Header {
            fin: true,
            psh: true,
            cwr: true,
            ..Header::default()
        };
        let (bytes, vnet) = header.superframe(&[7; 3000], 1000);
        let flags: Vec<_> = segments(&bytes, &vnet)
            .iter()
            .map(
                |segment| match SlicedPacket::from_ethernet(segment).unwrap().transport {
                    Some(TransportSlice::Tcp(tcp)) => (tcp.fin(), tcp.psh(), tcp.cwr()),
                    _ => panic!("not TCP"),
                },
            )
            .collect();
        assert_eq!(
            flags,
            [
                (false, false, true),
                (false, false, false),
                (true, true, false)
            ]
        );
    }

    #[test]
    fn a_buffer_too_short_yields_nothing() {
        let (bytes, vnet) = Header::default().superframe(&[7; 3000], 1000);
        let mut segments = Segments::new(&vnet, &Frame::parse(&bytes).unwrap()).unwrap();
        assert_eq!(segments.write_next(&mut [0; 1000]), None);
    }

    #[test]
    fn an_ordinary_frame_has_no_segments() {
        let bytes = frame(&Header::default(), b"x");
        assert!(Segments::new(&VnetHeader::NONE, &Frame::parse(&bytes).unwrap()).is_none());
    }
}
