//! Submitting together with waiting, as io_uring_enter(2) does it.

use std::io;
use std::time::Duration;

use io_uring::IoUring;
use io_uring::types::Timespec;

/// How this kernel can wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    flags: u32,
    least: bool,
}

impl Wait {
    pub(super) fn of(ring: &IoUring) -> Self {
        // SAFETY: no argument structure is passed. Nothing is submitted; a flag that the kernel does not know is refused.
        let uncounted = unsafe {
            let submitter = ring.submitter();
            submitter.enter::<GeteventsArg>(0, 0, ENTER_NO_IOWAIT, None)
        };
        Self {
            flags: match uncounted {
                Ok(_) => ENTER_GETEVENTS | ENTER_NO_IOWAIT,
                Err(_) => ENTER_GETEVENTS,
            },
            least: ring.params().is_feature_min_timeout(),
        }
    }

    /// Submits what was pushed and waits for a completion; for `least` at least, or until [`PLENTY`] are there, where the
    /// kernel can do that.
    pub(super) fn submit_and_wait(self, ring: &mut IoUring, least: Duration) -> io::Result<usize> {
        let pending = pending(ring);
        let submitter = ring.submitter();
        let min_wait_usec = u32::try_from(least.as_micros()).unwrap_or(u32::MAX);
        if min_wait_usec == 0 || !self.least {
            // SAFETY: no argument structure is passed.
            return unsafe { submitter.enter::<GeteventsArg>(pending, 1, self.flags, None) };
        }
        // Without an end the kernel would end the wait with the least time, completions or not; and it does not look at
        // what the submission completed at once, which must not wait for the next frame.
        let end = Timespec::new().nsec(WAIT_MAX_NS);
        let arg = GeteventsArg {
            sigmask: 0,
            sigmask_sz: 0,
            min_wait_usec,
            ts: std::ptr::from_ref(&end) as u64,
        };
        // SAFETY: EXT_ARG says that `arg` is a `struct io_uring_getevents_arg`, which it is; it and `end` outlive the call.
        unsafe { submitter.enter(pending, PLENTY, self.flags | ENTER_EXT_ARG, Some(&arg)) }
    }
}

/// Submits what was pushed, has a DEFER_TASKRUN ring do its work, and does not wait.
pub(super) fn submit_and_look(ring: &mut IoUring) -> io::Result<usize> {
    let pending = pending(ring);
    // SAFETY: no argument structure is passed.
    unsafe {
        let submitter = ring.submitter();
        submitter.enter::<GeteventsArg>(pending, 0, ENTER_GETEVENTS, None)
    }
}

/// Entries that were pushed and not submitted.
fn pending(ring: &mut IoUring) -> u32 {
    u32::try_from(ring.submission().len()).unwrap_or(u32::MAX)
}

/// `struct io_uring_getevents_arg` of linux/io_uring.h.
#[repr(C)]
struct GeteventsArg {
    sigmask: u64,
    sigmask_sz: u32,
    min_wait_usec: u32,
    ts: u64,
}

/// So many completions end a wait whatever its least time.
pub(super) const PLENTY: u32 = 64;
/// The longest wait that has a least time: 10 ms.
const WAIT_MAX_NS: u32 = 10_000_000;
/// IORING_ENTER_GETEVENTS, IORING_ENTER_EXT_ARG and IORING_ENTER_NO_IOWAIT of linux/io_uring.h.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_NO_IOWAIT: u32 = 1 << 7;
