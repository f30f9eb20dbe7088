//! The portable TAP driver: crate `tun-tap`, no vnet header, frames of one MTU, every checksum complete.

use std::io;
use std::os::fd::BorrowedFd;

use switch_core::VnetHeader;
use tun_tap::{Iface, Mode};

use super::{OpenTap, check_name, ifindex};
use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};
use crate::sys::fd::borrow_iface;

/// A TAP of the crate `tun-tap`. It takes no superframes: the workers cut them in software.
#[derive(Debug)]
pub struct BasicTap {
    iface: Iface,
    ifindex: u32,
}

impl BasicTap {
    /// Creates the interface `name` in the network namespace of the calling thread, link down.
    pub fn create(name: &str) -> Result<Self, OpenTap> {
        check_name(name)?;
        let iface =
            Iface::without_packet_info(name, Mode::Tap).map_err(|error| OpenTap::Create {
                name: name.to_owned(),
                error,
            })?;
        rustix::io::ioctl_fionbio(borrow_iface(&iface), true).map_err(|error| {
            OpenTap::Configure {
                name: name.to_owned(),
                error: error.into(),
            }
        })?;
        let ifindex = ifindex(iface.name()).unwrap_or(0);
        Ok(Self { iface, ifindex })
    }

    pub fn name(&self) -> &str {
        self.iface.name()
    }

    /// Index of the interface in the namespace it was created in.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }
}

impl FramePort for BasicTap {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut count = 0;
        for buffer in buffers {
            match self.iface.recv(buffer.bare_space()) {
                Ok(len) => buffer.set_bare_len(len),
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
            count += 1;
        }
        Ok(count)
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        let mut written = Written::default();
        for envelope in envelopes {
            let Some((_, frame)) = envelope.split_at_checked(VnetHeader::LEN) else {
                written.refused += 1;
                continue;
            };
            let sent = self.iface.send(frame).map(|len| len + VnetHeader::LEN);
            written.count(envelope, sent);
        }
        written
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow_iface(&self.iface)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn tap(&self) -> Option<BorrowedFd<'_>> {
        Some(borrow_iface(&self.iface))
    }
}
