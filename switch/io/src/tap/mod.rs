//! TAP drivers.

mod basic;
mod offload;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::frame_port::FramePort;
use crate::sys::tun;

pub use basic::BasicTap;
pub(crate) use offload::{FLAGS as TAP_FLAGS, probe_offload};
pub use offload::{OffloadMask, OffloadTap};

/// A TAP of whichever driver made it, taken over by its descriptor, perhaps from another process.
pub fn take_over(fd: OwnedFd) -> Result<Box<dyn FramePort>, OpenTap> {
    let (_, flags) = tun::attached(fd.as_fd()).map_err(|_| OpenTap::ForeignDescriptor)?;
    Ok(match flags & libc::IFF_VNET_HDR {
        0 => Box::new(BasicTap::from_fd(fd)?),
        _ => Box::new(OffloadTap::from_fd(fd)?),
    })
}

/// Shows a TAP's namespace a link that is plugged in or not (linux/if_tun.h, `TUNSETCARRIER`).
pub fn set_carrier(tap: impl AsFd, plugged: bool) -> io::Result<()> {
    tun::set_carrier(tap.as_fd(), plugged)
}

/// Whether a TAP's link outlives its last descriptor, or goes with that (linux/if_tun.h, `TUNSETPERSIST`).
pub fn set_persistent(tap: impl AsFd, persistent: bool) -> io::Result<()> {
    tun::set_persistent(tap.as_fd(), persistent)
}

/// The network namespace that a TAP's link is in by now, and what it is called there.
pub fn whereabouts(tap: impl AsFd) -> io::Result<(OwnedFd, String)> {
    let (name, _) = tun::attached(tap.as_fd())?;
    Ok((tun::namespace(tap.as_fd())?, name))
}

/// Why a TAP did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenTap {
    #[error("interface name {0:?} is not 1 to 15 printable bytes without '/' or ':'")]
    Name(String),
    #[error("cannot open /dev/net/tun: {0} (is the tun module there, and the device readable?)")]
    Device(#[source] io::Error),
    #[error("cannot create TAP {name:?}: {error}")]
    Create {
        name: String,
        #[source]
        error: io::Error,
    },
    #[error("cannot attach to TAP {name:?}: {error}")]
    Attach {
        name: String,
        #[source]
        error: io::Error,
    },
    #[error("cannot configure TAP {name:?}: {error}")]
    Configure {
        name: String,
        #[source]
        error: io::Error,
    },
    #[error(
        "the descriptor is not a TAP without packet information, and with a vnet header of 10 bytes or none"
    )]
    ForeignDescriptor,
}

/// A descriptor of the persistent TAP `name`, which is in the calling thread's namespace and to which nobody is attached.
fn attach(name: &str, flags: i32) -> Result<OwnedFd, OpenTap> {
    check_name(name)?;
    let fd = tun::open().map_err(OpenTap::Device)?;
    // The kernel makes one where there is none.
    ifindex(name)
        .and_then(|_| tun::attach(fd.as_fd(), name, flags))
        .map_err(|error| OpenTap::Attach {
            name: name.to_owned(),
            error,
        })?;
    Ok(fd)
}

/// The kernel's rules (`dev_valid_name`), without its `%d` templates.
fn check_name(name: &str) -> Result<(), OpenTap> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
    let valid = (1..=MAX_NAME_LEN).contains(&name.len())
        && name.bytes().all(plain)
        && name != "."
        && name != "..";
    if !valid {
        return Err(OpenTap::Name(name.to_owned()));
    }
    Ok(())
}

fn ifindex(name: &str) -> io::Result<u32> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let any_socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    Ok(netdevice::name_to_index(&any_socket, name)?)
}

/// IFNAMSIZ without the terminator.
const MAX_NAME_LEN: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_change_or_refuse_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "tap%d",
            "sixteen-bytes-xx",
            "é",
        ] {
            assert!(matches!(check_name(name), Err(OpenTap::Name(_))), "{name}");
        }
        for name in ["tap0", "fifteen-bytes-x"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
