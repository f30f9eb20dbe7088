//! The way of datagrams from the run of a host that reads the socket to the other one.
//!
//! A SOCK_SEQPACKET pair, whose messages are trains as they were received, each behind a header:
//!
//! ```text
//! 0        1        17     19      23      25              26            42
//! +--------+--------+------+-------+-------+---------------+-------------+-----------
//! | format | source | port | scope | one's | is a receiver | receiver    | datagrams
//! |        | address|      |       | length| given?        | address     |
//! +--------+--------+------+-------+-------+---------------+-------------+-----------
//! ```
//!
//! Its ends may be of different versions, so a message of another format is dropped.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{SndBuf, SndBufForce};
use quinn_udp::RecvMeta;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};
use switch_core::bytes::{be16, be32};

use crate::socket::BUFFER_LEN;

/// One end. It never blocks.
#[derive(Debug)]
pub(super) struct Passage(OwnedFd);

impl Passage {
    /// An end to send from, and the other.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        // As much as the socket has room for; less where the host does not allow that.
        if setsockopt(&near, SndBufForce, &BUFFER_LEN).is_err() {
            let _ = setsockopt(&near, SndBuf, &BUFFER_LEN);
        }
        Ok((Self(near), far))
    }

    pub(super) const fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Sends datagrams that came together.
    pub(super) fn send(&self, meta: &RecvMeta, datagrams: &[u8]) -> io::Result<()> {
        let header = header(meta);
        let parts = [IoSlice::new(&header), IoSlice::new(datagrams)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &parts, &mut SendAncillaryBuffer::default(), flags)?;
        Ok(())
    }

    /// Fills `buffer` with datagrams that came together. The end of the file: the other end is closed, and nothing is left.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<RecvMeta> {
        loop {
            let mut header = [0; HEADER_LEN];
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
            let len = rustix::io::readv(&self.0, &mut parts)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if len > HEADER_LEN && header[0] == FORMAT {
                return Ok(meta(&header, len - HEADER_LEN));
            }
        }
    }
}

impl AsFd for Passage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn header(meta: &RecvMeta) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let scope = match meta.addr {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    header[0] = FORMAT;
    header[1..17].copy_from_slice(&octets(meta.addr.ip()));
    header[17..19].copy_from_slice(&meta.addr.port().to_be_bytes());
    header[19..23].copy_from_slice(&scope.to_be_bytes());
    // A train has 64 KiB at most.
    let stride = u16::try_from(meta.stride).unwrap_or(u16::MAX);
    header[23..25].copy_from_slice(&stride.to_be_bytes());
    if let Some(receiver) = meta.dst_ip {
        header[25] = 1;
        header[26..].copy_from_slice(&octets(receiver));
    }
    header
}

fn meta(header: &[u8; HEADER_LEN], len: usize) -> RecvMeta {
    let ip = address(header, 1);
    let (port, scope) = (be16(header, 17), be32(header, 19));
    let mut meta = RecvMeta::default();
    meta.addr = match ip {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), port),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
    };
    meta.len = len;
    meta.stride = usize::from(be16(header, 23));
    meta.dst_ip = (header[25] != 0).then(|| address(header, 26));
    meta
}

/// An IPv4 address as IPv6 maps it (RFC 4291 §2.5.5.2).
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn address(header: &[u8; HEADER_LEN], place: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[place..place + 16]);
    Ipv6Addr::from(octets).to_canonical()
}

const FORMAT: u8 = 1;
const HEADER_LEN: usize = 42;

#[cfg(test)]
mod tests {
    use super::*;

    fn received(from: &str, to: Option<&str>) -> RecvMeta {
        let mut meta = RecvMeta::default();
        meta.addr = from.parse().unwrap();
        meta.dst_ip = to.map(|to| to.parse().unwrap());
        (meta.len, meta.stride) = (5, 3);
        meta
    }

    #[test]
    fn trains_pass_as_they_came_and_then_comes_the_end() {
        let (near, far) = Passage::pair().unwrap();
        let far = Passage::of(far);
        let all = [
            received("192.0.2.1:4790", None),
            received("[2001:db8::1]:4790", Some("2001:db8::2")),
            received("[fe80::1%7]:4790", Some("192.0.2.2")),
        ];
        for meta in &all {
            near.send(meta, b"abcde").unwrap();
        }
        let mut buffer = [0; 64];
        for sent in &all {
            let meta = far.receive(&mut buffer).unwrap();
            assert_eq!((meta.addr, meta.dst_ip), (sent.addr, sent.dst_ip));
            assert_eq!((meta.len, meta.stride), (5, 3));
            assert_eq!(&buffer[..5], b"abcde");
        }
        let mut error = || far.receive(&mut buffer).unwrap_err().kind();
        assert_eq!(error(), io::ErrorKind::WouldBlock);
        drop(near);
        assert_eq!(error(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn another_format_is_passed_over() {
        let (near, far) = Passage::pair().unwrap();
        rustix::io::write(&near.0, &[9; 100]).unwrap();
        rustix::io::write(&near.0, &[FORMAT; 3]).unwrap();
        near.send(&received("192.0.2.1:1", None), b"abcde").unwrap();
        let meta = Passage::of(far).receive(&mut [0; 64]).unwrap();
        assert_eq!(meta.addr.port(), 1);
    }
}
