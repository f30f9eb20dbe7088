//! Packet sockets with vnet headers (packet(7), `PACKET_VNET_HDR`).
//!
//! What a test, a capture or an uplink needs to put a frame on a link exactly as it is, superframes and unfinished
//! checksums included, and to see exactly what arrived. The kernel takes the outermost VLAN tag out of a frame before
//! a packet socket sees it; [`PacketSocket::receive`] puts it back.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use switch_core::RawVnet;

use super::packet_socket::{bind, bind_silent, check, link_index, set, socket};
use super::packet_wire::stripped_tag;

/// A packet socket bound to one link, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// One frame as the link delivered it.
#[derive(Clone, Debug)]
pub struct PacketFrame {
    /// `struct virtio_net_hdr` in the machine's byte order; its offsets count the VLAN tag.
    pub vnet: [u8; VNET_LENGTH],
    pub frame: Vec<u8>,
}

impl PacketSocket {
    /// Sees every frame that arrives at `link`, and none that leaves it.
    pub fn open(link: &str) -> io::Result<Self> {
        let fd = socket(0)?;
        let index = link_index(link)?;
        for option in [
            libc::PACKET_VNET_HDR,
            libc::PACKET_AUXDATA,
            libc::PACKET_IGNORE_OUTGOING,
        ] {
            set(&fd, libc::SOL_PACKET, option, &1_i32)?;
        }
        // Bound last: a packet socket that has a protocol but no link yet receives from every link.
        bind(&fd, index)?;
        Ok(Self(fd))
    }

    /// Only sends: nothing that arrives at `link` is kept for it.
    pub fn open_sender(link: &str) -> io::Result<Self> {
        let fd = socket(0)?;
        set(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)?;
        bind_silent(&fd, link_index(link)?)?;
        Ok(Self(fd))
    }

    /// Sends one frame; a zero header for a plain one. The kernel refuses headers that contradict the frame.
    pub fn send(&self, vnet: &[u8; VNET_LENGTH], frame: &[u8]) -> io::Result<()> {
        let message = [vnet.as_slice(), frame].concat();
        // SAFETY: pointer and length describe `message`, which outlives the call.
        let sent = unsafe {
            libc::send(
                self.0.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Waits up to `timeout` for a frame; `None` when there was none.
    pub fn receive(&self, timeout: Duration) -> io::Result<Option<PacketFrame>> {
        if !self.readable_within(timeout)? {
            return Ok(None);
        }
        let mut buffer = vec![0u8; MESSAGE_LENGTH_MAX];
        // `u64`s, so that the control messages are aligned.
        let mut control = [0u64; 16];
        let mut io_vector = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: all zeros is a valid `msghdr`: null pointers with zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut io_vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `header` describes a live buffer of the stated length.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut header, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let Some((vnet, frame)) = buffer[..length].split_first_chunk() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut received = PacketFrame {
            vnet: *vnet,
            frame: frame.to_vec(),
        };
        if let Some(tag) = stripped_tag(&header) {
            received.put_back(tag);
        }
        Ok(Some(received))
    }

    fn readable_within(&self, timeout: Duration) -> io::Result<bool> {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one `pollfd`, which outlives the call.
        Ok(check(unsafe { libc::poll(&raw mut poll, 1, timeout_ms) })? > 0)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PacketFrame {
    fn put_back(&mut self, tag: [u8; 4]) {
        if self.frame.len() < ETHERTYPE_OFFSET {
            return;
        }
        self.frame.splice(ETHERTYPE_OFFSET..ETHERTYPE_OFFSET, tag);
        if let Some(vnet) = RawVnet::read(&self.vnet) {
            self.vnet = vnet.tagged().to_bytes();
        }
    }
}

/// Bytes of `struct virtio_net_hdr` without `num_buffers`.
pub const VNET_LENGTH: usize = RawVnet::LEN;

const ETHERTYPE_OFFSET: usize = 12;
/// A header, a 64 KiB superframe and its Ethernet and VLAN headers.
const MESSAGE_LENGTH_MAX: usize = VNET_LENGTH + 65_536 + 64;
