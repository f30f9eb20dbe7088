//! TCP segments as they are on a wire, read and forged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use switch_core::Mac;

use crate::packets::{checksum, ip_frame, pseudo_header};

/// What of a TCP segment in an Ethernet frame matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    to: Mac,
    from: Mac,
    source: IpAddr,
    destination: IpAddr,
    pub(super) ports: (u16, u16),
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    flags: u8,
    pub(super) bytes: u32,
}

impl Seen {
    /// None for anything but TCP over plain IP.
    pub(super) fn read(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(14..)?;
        let (source, destination, protocol, segment) = match frame.get(12..14)? {
            [0x08, 0x00] => {
                let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
                let address = |at| {
                    let octets = <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?;
                    Some(IpAddr::V4(Ipv4Addr::from(octets)))
                };
                (
                    address(12)?,
                    address(16)?,
                    packet.get(9)?,
                    packet.get(20..length)?,
                )
            }
            [0x86, 0xdd] => {
                let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
                let address = |at| {
                    let octets = <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?;
                    Some(IpAddr::V6(Ipv6Addr::from(octets)))
                };
                (
                    address(8)?,
                    address(24)?,
                    packet.get(6)?,
                    packet.get(40..40 + length)?,
                )
            }
            _ => return None,
        };
        let word = |at: usize| {
            Some(u32::from_be_bytes(
                segment.get(at..at + 4)?.try_into().ok()?,
            ))
        };
        let ports = word(0)?.to_be_bytes();
        let header = usize::from(segment.get(12)? >> 4) * 4;
        (*protocol == TCP).then_some(Self {
            to: mac(&frame[..6])?,
            from: mac(&frame[6..12])?,
            source,
            destination,
            ports: (
                u16::from_be_bytes([ports[0], ports[1]]),
                u16::from_be_bytes([ports[2], ports[3]]),
            ),
            sequence: word(4)?,
            acknowledged: word(8)?,
            flags: segment[13],
            bytes: u32::try_from(segment.len().checked_sub(header)?).ok()?,
        })
    }

    pub(super) const fn is_reset(&self) -> bool {
        self.flags & RST != 0
    }

    /// One byte in answer to this segment, `ahead` of what its sender expects.
    pub(super) fn answer(&self, ahead: u32) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.ports.1.to_be_bytes());
        segment.extend(self.ports.0.to_be_bytes());
        segment.extend(self.acknowledged.wrapping_add(ahead).to_be_bytes());
        segment.extend(self.sequence.wrapping_add(self.bytes).to_be_bytes());
        segment.extend([0x50, PSH | ACK, 0xff, 0xff, 0, 0, 0, 0, b'!']);
        framed(self.from, self.to, self.destination, self.source, segment)
    }
}

/// The end of a connection that never was.
pub(super) fn end_of_nothing(to: Mac, from: Mac, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut segment = vec![0x11, 0x11, 0x22, 0x22];
    segment.extend([
        0,
        0,
        0,
        9,
        0,
        0,
        0,
        9,
        0x50,
        FIN | ACK,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    framed(to, from, source, destination, segment)
}

fn framed(
    to: Mac,
    from: Mac,
    source: IpAddr,
    destination: IpAddr,
    mut segment: Vec<u8>,
) -> Vec<u8> {
    let pseudo = pseudo_header(source, destination, TCP, segment.len());
    let sum = checksum(&[&pseudo[..], &segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ip_frame(to, from, source, destination, TCP, segment.len());
    frame.extend(segment);
    frame
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    Some(Mac::new(bytes.try_into().ok()?))
}

const TCP: u8 = 6;
const FIN: u8 = 1;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
