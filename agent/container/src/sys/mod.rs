//! The kernel interfaces that have no safe wrapper: the only `unsafe` of the crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// The namespace that this one was made in, ioctl_ns(2). Not permitted where that is outside of the caller's own.
pub(crate) fn parent_namespace(namespace: &File) -> io::Result<File> {
    // SAFETY: NS_GET_PARENT takes no argument, and the descriptor is open for the whole call.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_PARENT) };
    if parent < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call gave a new descriptor, which nobody else has.
    Ok(unsafe { File::from_raw_fd(parent) })
}

/// Puts this thread, and all that it executes, under a filter of system calls, seccomp(2).
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        // The kernel reads only; the type is the one of `setsockopt`.
        filter: program.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: pointer and length are those of a slice that outlives the call, and the kernel copies and checks it.
    let outcome = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
