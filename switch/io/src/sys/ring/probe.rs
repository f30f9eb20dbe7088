//! Whether io_uring can be used here, and if not, why.

use std::io;

use io_uring::{Probe, opcode};

use super::{BufferLayout, FrameRing};

/// Whether this kernel and its policy allow the rings above; the error says what is missing.
pub(crate) fn probe() -> io::Result<()> {
    let layout = BufferLayout {
        count: 2,
        stride: 4096,
        headroom: 0,
    };
    let ring = FrameRing::new(8, layout).map_err(explain)?;
    let mut probe = Probe::new();
    ring.ring.submitter().register_probe(&mut probe)?;
    for (code, name) in [
        (opcode::ReadMulti::CODE, "multishot read (Linux 6.7)"),
        (opcode::Write::CODE, "write"),
        (opcode::PollAdd::CODE, "poll"),
        (opcode::AsyncCancel::CODE, "cancel"),
    ] {
        if !probe.is_supported(code) {
            return Err(io::Error::other(format!("io_uring lacks {name}")));
        }
    }
    Ok(())
}

/// What a refused ring means to the person who reads it.
fn explain(error: io::Error) -> io::Error {
    let cause = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no io_uring",
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden, by sysctl kernel.io_uring_disabled or a seccomp filter"
        }
        Some(libc::EINVAL) => "this kernel's io_uring is too old (6.7 is needed)",
        Some(libc::ENOMEM) => "no memory may be locked for io_uring (ulimit -l)",
        _ => "io_uring cannot be set up",
    };
    io::Error::new(error.kind(), format!("{cause}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_is_probed_with_a_reason() {
        if let Err(error) = probe() {
            assert!(!error.to_string().is_empty());
        }
    }
}
