//! The ioctls of `/dev/net/tun` (linux/if_tun.h).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// Opens the clone device, non-blocking and close-on-exec. No interface is attached yet.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// Attaches (creating it if need be) the interface `name` with `IFF_*` flags; returns its name,
/// which the kernel chose if `name` was empty or held `%d`.
pub(crate) fn attach(fd: BorrowedFd<'_>, name: &str, flags: i32) -> io::Result<String> {
    let mut request = ifreq(name, flags)?;
    ioctl(fd, libc::TUNSETIFF, &mut request)?;
    Ok(name_of(&request))
}

/// The name and `IFF_*` flags of the attached interface.
pub(crate) fn attached(fd: BorrowedFd<'_>) -> io::Result<(String, i32)> {
    let mut request = ifreq("", 0)?;
    ioctl(fd, libc::TUNGETIFF, &mut request)?;
    // SAFETY: TUNGETIFF filled `ifru_flags`, and every bit pattern is a valid `c_short`.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name_of(&request), i32::from(flags.cast_unsigned())))
}

/// The `IFF_*` features this kernel knows.
pub(crate) fn features(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut features: libc::c_uint = 0;
    ioctl(fd, libc::TUNGETFEATURES, &mut features)?;
    Ok(features)
}

/// The network namespace that the attached interface is in by now. Needs `CAP_NET_ADMIN` over it.
pub(crate) fn namespace(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: TUNGETDEVNETNS takes no argument and touches no memory of ours.
    let namespace = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETDEVNETNS) };
    if namespace < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// Declares with a `TUN_F_*` mask what the reader of this descriptor accepts.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, mask: u32) -> io::Result<()> {
    let argument = libc::c_ulong::from(mask);
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether the interface stays when its last descriptor is closed, with no carrier until somebody attaches to it again.
pub(crate) fn set_persistent(fd: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    let argument = libc::c_ulong::from(persistent);
    // SAFETY: TUNSETPERSIST takes its argument by value and touches no memory of ours.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Plugs the interface in, or pulls its plug: without a carrier its namespace sends nothing through it.
pub(crate) fn set_carrier(fd: BorrowedFd<'_>, plugged: bool) -> io::Result<()> {
    let mut carrier = libc::c_int::from(plugged);
    ioctl(fd, libc::TUNSETCARRIER, &mut carrier)
}

/// The length of the vnet header in front of each frame.
pub(crate) fn vnet_header_len(fd: BorrowedFd<'_>) -> io::Result<i32> {
    let mut len: libc::c_int = 0;
    ioctl(fd, libc::TUNGETVNETHDRSZ, &mut len)?;
    Ok(len)
}

fn ifreq(name: &str, flags: i32) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is a plain C structure for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = u16::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    request.ifr_ifru.ifru_flags = flags.cast_signed();
    Ok(request)
}

fn name_of(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.map(i8::cast_unsigned);
    CStr::from_bytes_until_nul(&bytes).map_or_else(
        |_| String::new(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Calls an ioctl whose argument is a pointer to `T`; each caller above pairs the request with
/// the type if_tun.h gives it.
fn ioctl<T>(fd: impl AsFd, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: the kernel reads and writes at most the structure the request is defined for, which
    // is `T`, exclusively borrowed for the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
