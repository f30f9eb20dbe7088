//! The kernel interface that has no safe wrapper: the only `unsafe` of the crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// The namespace that this one was made in, ioctl_ns(2). Not permitted where that is outside of the caller's own.
pub(super) fn parent_namespace(namespace: &File) -> io::Result<File> {
    // SAFETY: NS_GET_PARENT takes no argument, and the descriptor is open for the whole call.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_PARENT) };
    if parent < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call gave a new descriptor, which nobody else has.
    Ok(unsafe { File::from_raw_fd(parent) })
}
