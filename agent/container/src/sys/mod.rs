//! The kernel interfaces that have no safe wrapper: the only `unsafe` of the crate.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, fork as fork_process};

/// Where a fork returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fork {
    /// With the child's PID.
    Parent(i32),
    Child,
}

/// Makes a process that is a copy of this one, fork(2). Refused where this one has more threads than the caller's, of which the child would have
/// nothing but their locks.
pub(crate) fn fork() -> io::Result<Fork> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the process has several threads"));
    }
    // SAFETY: there is one thread, so that the child may go on as the parent does.
    match unsafe { fork_process() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child.as_raw())),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Whether the kernel collects children that end, so that nobody has to wait for them, sigaction(2).
pub(crate) fn forget_children(forgets: bool) -> io::Result<()> {
    let flags = match forgets {
        true => SaFlags::SA_NOCLDWAIT,
        false => SaFlags::empty(),
    };
    let action = SigAction::new(SigHandler::SigDfl, flags, SigSet::empty());
    // SAFETY: the action is the default one, which runs no code of this process.
    unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(())
}

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
