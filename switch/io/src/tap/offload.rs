//! The default TAP driver: superframes and partial checksums pass whole, behind a vnet header.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{OpenTap, check_name, ifindex};
use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};
use crate::sys::tun;

/// A TAP with `IFF_VNET_HDR`. It goes away with its last descriptor unless [`super::set_persistent`] says otherwise, and its
/// interface may be moved to another network namespace meanwhile.
#[derive(Debug)]
pub struct OffloadTap {
    fd: OwnedFd,
    name: String,
    ifindex: u32,
    offload: OffloadMask,
}

/// What the kernel may hand to the reader of a TAP: `TUN_F_*` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadMask(pub u32);

impl OffloadMask {
    /// Partial checksums.
    pub const CSUM: Self = Self(0x01);
    /// And TCP superframes.
    pub const TSO: Self = Self(0x07);
    /// And UDP superframes, which need both families at once (Linux 6.2).
    pub const USO: Self = Self(0x67);
    pub const NONE: Self = Self(0);

    /// What the running kernel accepts, by its version: no ioctl tells it without setting it.
    pub(crate) fn of_kernel() -> Self {
        let uname = rustix::system::uname();
        Self::of_release(&uname.release().to_string_lossy())
    }

    fn of_release(release: &str) -> Self {
        let mut numbers = release
            .split(|sign: char| !sign.is_ascii_digit())
            .map_while(|digits| digits.parse::<u32>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) if (major, minor) >= (6, 2) => Self::USO,
            // Also where it cannot be told: what is not known to pass whole is cut here.
            _ => Self::TSO,
        }
    }

    pub const fn has_checksum(self) -> bool {
        self.0 & Self::CSUM.0 != 0
    }

    pub const fn has_tso(self) -> bool {
        self.0 & Self::TSO.0 == Self::TSO.0
    }

    pub const fn has_uso(self) -> bool {
        self.0 & Self::USO.0 == Self::USO.0
    }
}

impl OffloadTap {
    /// Creates the interface `name` in the network namespace of the calling thread, link down.
    pub fn create(name: &str) -> Result<Self, OpenTap> {
        check_name(name)?;
        let fd = tun::open().map_err(OpenTap::Device)?;
        let failed = |error| OpenTap::Create {
            name: name.to_owned(),
            error,
        };
        let name = tun::attach(fd.as_fd(), name, FLAGS | libc::IFF_TUN_EXCL).map_err(failed)?;
        Self::configured(fd, name)
    }

    /// Attaches to a persistent TAP that is in the network namespace of the calling thread, and that nobody is attached to.
    pub fn attach(name: &str) -> Result<Self, OpenTap> {
        Self::from_fd(super::attach(name, FLAGS)?)
    }

    /// Takes over a TAP that this driver made, perhaps in another process. Its offloads stay as they are: the sandbox may have
    /// turned some off since, which setting them anew would undo.
    ///
    /// The interface's index is looked up in the caller's namespace and 0 if it is not there.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, OpenTap> {
        let (name, flags) = tun::attached(fd.as_fd()).map_err(|_| OpenTap::ForeignDescriptor)?;
        let header_len = tun::vnet_header_len(fd.as_fd()).unwrap_or(0);
        if flags & FLAGS != FLAGS || flags & libc::IFF_TUN != 0 || header_len != VNET_HEADER_LEN {
            return Err(OpenTap::ForeignDescriptor);
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| OpenTap::Configure {
            name: name.clone(),
            error: error.into(),
        })?;
        Ok(Self::of(fd, name, OffloadMask::of_kernel()))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Index of the interface in the namespace it was opened in.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    pub fn offload(&self) -> OffloadMask {
        self.offload
    }

    /// The descriptor, for handing the TAP over; the link stays up while a copy is open.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn configured(fd: OwnedFd, name: String) -> Result<Self, OpenTap> {
        let offload = probe_offload(fd.as_fd()).map_err(|error| OpenTap::Configure {
            name: name.clone(),
            error,
        })?;
        Ok(Self::of(fd, name, offload))
    }

    fn of(fd: OwnedFd, name: String, offload: OffloadMask) -> Self {
        let ifindex = ifindex(&name).unwrap_or(0);
        Self {
            fd,
            name,
            ifindex,
            offload,
        }
    }
}

impl FramePort for OffloadTap {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut count = 0;
        for buffer in buffers {
            match rustix::io::read(&self.fd, buffer.space()) {
                Ok(len) => buffer.set_len(len),
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
            written.count(
                envelope,
                rustix::io::write(&self.fd, envelope).map_err(io::Error::from),
            );
        }
        written
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A TAP takes every kind of superframe from us whatever its reader asked for: the kernel
    /// segments for a sandbox that cannot take it.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            checksum: true,
            tso: true,
            uso: self.offload.has_uso(),
        }
    }

    fn raw_tap(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn tap(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}

/// Sets the richest offload mask the kernel accepts, and tells which.
pub(crate) fn probe_offload(fd: BorrowedFd<'_>) -> io::Result<OffloadMask> {
    let ladder = [
        OffloadMask::USO,
        OffloadMask::TSO,
        OffloadMask::CSUM,
        OffloadMask::NONE,
    ];
    let mut refused = io::Error::from(io::ErrorKind::Unsupported);
    for mask in ladder {
        match tun::set_offload(fd, mask.0) {
            Ok(()) => return Ok(mask),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

pub(crate) const FLAGS: i32 = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
const VNET_HEADER_LEN: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_superframes_come_with_linux_6_2() {
        for release in ["6.2.0", "6.18.44-custom", "7.0-rc1"] {
            assert_eq!(
                OffloadMask::of_release(release),
                OffloadMask::USO,
                "{release}"
            );
        }
        for release in ["6.1.0-18-amd64", "5.10.0", "odd", ""] {
            assert_eq!(
                OffloadMask::of_release(release),
                OffloadMask::TSO,
                "{release}"
            );
        }
    }
}
