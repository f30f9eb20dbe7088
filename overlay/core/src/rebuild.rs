//! Making smaller superframes of a superframe's headers.
//!
//! # Theory of operation
//!
//! A run is a number of whole segments. Its headers are the superframe's, with what [`switch_core::Segments`] would change for
//! its first segment, and with the length of the run. IPv4 identification and TCP sequence number count on. FIN and PSH stay on
//! the last segment, CWR stays on the first.
//!
//! The checksum stays missing. The sum that the sender left in its field covers the length, so it changes by the difference
//! (RFC 1624). It is not taken anew from the addresses: behind an IPv6 routing header only the sender knew the right ones.

use std::ops::Range;

use switch_core::bytes::{be16, be32, put_be16, put_be32};
use switch_core::{Frame, Gso, RawVnet, VnetHeader, ethertype};

use crate::checksum::{add, updated};
use crate::quic_frame::{DatagramHeader, PieceGso};

/// The headers of a superframe whose payload is on its way.
#[derive(Debug)]
pub(crate) struct Template {
    headers: [u8; DatagramHeader::INNER_HEADERS_LEN_MAX],
    len: usize,
    ip: usize,
    is_v4: bool,
    transport: usize,
    gso: PieceGso,
    payload_len: usize,
}

impl Template {
    /// `None` when the headers are not those that `gso` promises, or too long.
    pub(crate) fn read(headers: &[u8], gso: PieceGso, payload_len: usize) -> Option<Self> {
        let frame = Frame::parse(headers).ok()?;
        let is_v4 = match frame.ethertype() {
            ethertype::IPV4 => true,
            ethertype::IPV6 => false,
            _ => return None,
        };
        let is_promised = match gso.cut {
            Gso::None => false,
            Gso::TcpV4 { .. } => is_v4,
            Gso::TcpV6 { .. } => !is_v4,
            Gso::Udp { .. } => true,
        };
        let (ip, transport) = (frame.packet_offset(), usize::from(gso.checksum.start));
        let ip_len = if is_v4 { 20 } else { 40 };
        let (transport_len, field) = if gso.is_udp() {
            (8, UDP_CHECKSUM)
        } else {
            (20, TCP_CHECKSUM)
        };
        let is_sound = is_promised
            && usize::from(gso.checksum.offset) == field
            && ip + ip_len <= transport
            && transport + transport_len <= headers.len();
        if !is_sound {
            return None;
        }
        let mut copy = [0; DatagramHeader::INNER_HEADERS_LEN_MAX];
        copy.get_mut(..headers.len())?.copy_from_slice(headers);
        Some(Self {
            headers: copy,
            len: headers.len(),
            ip,
            is_v4,
            transport,
            gso,
            payload_len,
        })
    }

    /// Length of the headers, in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn headers(&self) -> &[u8] {
        &self.headers[..self.len]
    }

    /// Writes the headers for a run of the payload to `out`, which has their length. The run starts at a segment.
    pub(crate) fn write(&self, run: &Range<usize>, out: &mut [u8]) {
        out.copy_from_slice(self.headers());
        if run.len() == self.payload_len {
            return;
        }
        self.fix_packet(run, out);
        let transport = &mut out[self.transport..];
        let old_len = len16(self.len - self.transport + self.payload_len);
        let new_len = len16(self.len - self.transport + run.len());
        let field = usize::from(self.gso.checksum.offset);
        let sum = add(add(be16(transport, field), !old_len), new_len);
        put_be16(transport, field, sum);
        if self.gso.is_udp() {
            put_be16(transport, 4, new_len);
            return;
        }
        let sent = u32::try_from(run.start).unwrap_or(0);
        let seq = be32(transport, 4).wrapping_add(sent);
        put_be32(transport, 4, seq);
        if run.end != self.payload_len {
            transport[TCP_FLAGS] &= !(TCP_FIN | TCP_PSH);
        }
        if run.start != 0 {
            transport[TCP_FLAGS] &= !TCP_CWR;
        }
    }

    /// The vnet header that describes a run, to be validated.
    pub(crate) fn raw_vnet(&self, run: &Range<usize>) -> [u8; VnetHeader::LEN] {
        let gso = match run.start {
            0 => self.gso,
            _ => self.gso.without_ecn(),
        };
        let is_superframe = run.len() > gso.size();
        let cut = if is_superframe { gso.cut } else { Gso::None };
        RawVnet::new(cut, Some(gso.checksum)).to_bytes()
    }

    fn fix_packet(&self, run: &Range<usize>, out: &mut [u8]) {
        let ip = self.ip;
        if !self.is_v4 {
            put_be16(out, ip + 4, len16(self.len - ip - 40 + run.len()));
            return;
        }
        let index = run.start / self.gso.size();
        let index = u16::try_from(index).unwrap_or(0);
        let len = len16(self.len - ip + run.len());
        let id = be16(out, ip + 4).wrapping_add(index);
        for (at, new) in [(ip + 2, len), (ip + 4, id)] {
            let sum = updated(be16(out, ip + 10), be16(out, at), new);
            put_be16(out, ip + 10, sum);
            put_be16(out, at, new);
        }
    }
}

/// Lengths of a packet that has a 16-bit length itself.
fn len16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const TCP_FLAGS: usize = 13;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switch_core::OpenChecksum;

    use super::*;
    use crate::pieces::{Datagrams, FrameIds};
    use crate::testing::{Header, on_the_wire, payload};

    fn template(header: &Header, len: usize, size: u16) -> (Template, Vec<u8>, VnetHeader) {
        let (bytes, vnet) = header.open_frame(&payload(len), size);
        let frame = Frame::parse(&bytes).unwrap();
        let vni = switch_core::Vni::new(1).unwrap();
        let mut datagrams =
            Datagrams::new(vni, &vnet, &frame, &mut FrameIds::new(), 70_000).unwrap();
        let parts = datagrams.next_parts().unwrap();
        let (parsed, _) =
            DatagramHeader::parse(&[parts.header(), parts.inner_headers, parts.payload].concat())
                .map(|(header, body)| (header, body.to_vec()))
                .unwrap();
        let DatagramHeader::Piece { gso, .. } = parsed else {
            panic!("not a piece");
        };
        let template = Template::read(parts.inner_headers, gso, len).unwrap();
        (template, bytes, vnet)
    }

    proptest! {
        #[test]
        fn a_run_is_the_same_segments_as_in_the_whole(
            header in Header::strategy(),
            size in 1..1500_u16,
            segments in 2..20_usize,
            short in 0..1500_usize,
            from in 0..20_usize,
            count in 1..20_usize,
        ) {
            let size_bytes = usize::from(size);
            let len = size_bytes * segments - short % size_bytes;
            prop_assume!(len > size_bytes && from < segments);
            let (template, bytes, vnet) = template(&header, len, size);
            let run = from * size_bytes..((from + count) * size_bytes).min(len);
            let mut out = vec![0; template.len()];
            template.write(&run, &mut out);
            out.extend(&bytes[template.len()..][run.clone()]);
            let frame = Frame::parse(&out).unwrap();
            let rebuilt = VnetHeader::validate(&template.raw_vnet(&run), &frame).unwrap();
            let whole = on_the_wire(&vnet, &bytes);
            let end = (from + count).min(segments);
            prop_assert_eq!(on_the_wire(&rebuilt, &out), &whole[from..end]);
        }
    }

    #[test]
    fn headers_of_another_kind_are_no_template() {
        let header = Header::default();
        let (template, ..) = template(&header, 5000, 1000);
        let gso = template.gso;
        let headers = template.headers();
        let read = |gso| Template::read(headers, gso, 5000).is_some();
        assert!(read(gso));
        let size = 1000;
        for cut in [Gso::TcpV6 { size, ecn: false }, Gso::Udp { size }] {
            assert!(!read(PieceGso { cut, ..gso }));
        }
        for start in [0, 33, 35, u16::MAX] {
            let checksum = OpenChecksum {
                start,
                ..gso.checksum
            };
            assert!(!read(PieceGso { checksum, ..gso }));
        }
        assert!(Template::read(&headers[..50], gso, 5000).is_none());
    }
}
