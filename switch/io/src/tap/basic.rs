//! The portable TAP driver: crate `tun-tap`, no vnet header, frames of one MTU, every checksum complete.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use switch_core::VnetHeader;
use tun_tap::{Iface, Mode};

use super::{OpenTap, check_name, ifindex};
use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};
use crate::sys::fd::borrow_iface;
use crate::sys::tun;

/// A TAP that the crate `tun-tap` makes. It takes no superframes: the workers cut them in software.
#[derive(Debug)]
pub struct BasicTap {
    fd: OwnedFd,
    name: String,
    ifindex: u32,
}

impl BasicTap {
    /// Creates the interface `name` in the network namespace of the calling thread, link down.
    pub fn create(name: &str) -> Result<Self, OpenTap> {
        check_name(name)?;
        let failed = |error| OpenTap::Create {
            name: name.to_owned(),
            error,
        };
        let iface = Iface::without_packet_info(name, Mode::Tap).map_err(failed)?;
        let fd = borrow_iface(&iface).try_clone_to_owned().map_err(failed)?;
        Self::configured(fd, iface.name().to_owned())
    }

    /// Attaches to a persistent TAP that is in the network namespace of the calling thread, and that nobody is attached to.
    pub fn attach(name: &str) -> Result<Self, OpenTap> {
        Self::from_fd(super::attach(name, FLAGS)?)
    }

    /// Takes over a TAP that this driver made, perhaps in another process.
    ///
    /// The interface's index is looked up in the caller's namespace and 0 if it is not there.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, OpenTap> {
        let (name, flags) = tun::attached(fd.as_fd()).map_err(|_| OpenTap::ForeignDescriptor)?;
        if flags & FLAGS != FLAGS || flags & (libc::IFF_TUN | libc::IFF_VNET_HDR) != 0 {
            return Err(OpenTap::ForeignDescriptor);
        }
        Self::configured(fd, name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Index of the interface in the namespace it was created in.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn configured(fd: OwnedFd, name: String) -> Result<Self, OpenTap> {
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| OpenTap::Configure {
            name: name.clone(),
            error: error.into(),
        })?;
        let ifindex = ifindex(&name).unwrap_or(0);
        Ok(Self { fd, name, ifindex })
    }
}

impl FramePort for BasicTap {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut count = 0;
        for buffer in buffers {
            match rustix::io::read(&self.fd, buffer.bare_space()) {
                Ok(len) => buffer.set_bare_len(len),
                Err(_) if count > 0 => break,
                Err(error) => return Err(error.into()),
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
            let sent = rustix::io::write(&self.fd, frame).map(|len| len + VnetHeader::LEN);
            written.count(envelope, sent.map_err(io::Error::from));
        }
        written
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn tap(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}

const FLAGS: i32 = libc::IFF_TAP | libc::IFF_NO_PI;
