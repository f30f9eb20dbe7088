//! # Theory of operation
//!
//! An io_uring for frames. The ring owns a fixed number of equal buffers. A buffer is either the
//! kernel's (it sits in the provided-buffer ring and a multishot read may fill it at any time) or
//! the caller's (a read completion named it). The caller may look at its buffers, change one that
//! no write uses, write one to any number of descriptors, and give it back. A buffer goes back to
//! the kernel when the caller has released it and its last write has completed, so neither side
//! ever touches what the other uses. That bookkeeping lives here because the soundness of every
//! safe method rests on it.
//!
//! A request carries a caller's token, and for writes the buffer, in its user data (see [`token`]).
//!
//! The ring is made for one thread (SINGLE_ISSUER) and completes work only when that thread asks
//! (DEFER_TASKRUN), so a read never interrupts forwarding. Writes carry RWF_NOWAIT: they finish
//! during submission and never wait inside the kernel for a slow reader. A wait for frames is not
//! one for a disk, and where the kernel can (Linux 6.15) it is not counted as such (NO_IOWAIT):
//! an idle switch would show as 100 % "wa" in top.

mod probe;
/// `IORING_REGISTER_PROBE` and `IORING_REGISTER_PBUF_RING` of linux/io_uring.h.
const REGISTRATIONS: [u8; 2] = [8, 22];
/// What a ring is asked for.
const OPERATIONS: [u8; 4] = [
    opcode::ReadMulti::CODE,
    opcode::Write::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
];

#[cfg(test)]
mod tests;
mod token;
mod wait;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

pub(crate) use self::probe::probe;
use self::token::{Kind, split, user_data};
use self::wait::Wait;
use super::mapping::Mapping;

/// An io_uring, its provided buffers and who owns which.
pub(crate) struct FrameRing {
    /// Dropped first: closing the ring cancels the reads that point into `buffers`.
    ring: IoUring,
    entries: Mapping,
    buffers: Mapping,
    layout: BufferLayout,
    owners: Vec<Owner>,
    /// Buffers of the kernel's.
    free: usize,
    tail: u16,
    wait: Wait,
    /// Completions taken out of the queue while room was made in it.
    early: VecDeque<Completion>,
}

/// Number and shape of a ring's buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferLayout {
    /// A power of two.
    pub(crate) count: u16,
    /// Distance between two buffers, in bytes.
    pub(crate) stride: usize,
    /// Where in a buffer reads start.
    pub(crate) headroom: usize,
}

/// Something the kernel finished.
#[derive(Debug)]
pub(crate) enum Completion {
    /// A multishot read; `armed` tells whether more will come. `Ok` hands a buffer to the caller.
    Read {
        token: u32,
        result: io::Result<Filled>,
        armed: bool,
    },
    /// A write of `bytes`.
    Written {
        token: u32,
        result: io::Result<usize>,
        buffer: u16,
    },
    /// A one-shot poll, fired or cancelled.
    Ready { token: u32 },
    /// A cancel request; the cancelled request completes by itself.
    Cancelled { token: u32, result: io::Result<u32> },
}

/// A buffer of the caller's that holds `len` bytes, from `at` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    pub(crate) buffer: u16,
    pub(crate) at: usize,
    pub(crate) len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Kernel,
    /// Held by the caller if `held`; used by so many writes.
    User {
        held: bool,
        writes: u32,
    },
}

impl FrameRing {
    /// Makes a ring of `entries` submissions for the calling thread and lends it all its buffers. The kernel takes no other requests
    /// from it than those below, so that a ring is no way around a filter of system calls.
    pub(crate) fn new(entries: u32, layout: BufferLayout) -> io::Result<Self> {
        if !layout.count.is_power_of_two() || layout.headroom >= layout.stride {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let count = usize::from(layout.count);
        let ring = build(entries)?;
        let mut frame_ring = Self {
            wait: Wait::of(&ring),
            ring,
            entries: Mapping::new(count * size_of::<BufRingEntry>())?,
            buffers: Mapping::new(count * layout.stride)?,
            layout,
            owners: vec![Owner::Kernel; count],
            free: 0,
            tail: 0,
            early: VecDeque::with_capacity(EARLY_KEPT),
        };
        frame_ring.register()?;
        for buffer in 0..layout.count {
            frame_ring.lend(buffer);
        }
        Ok(frame_ring)
    }

    /// Starts a multishot read of `fd` into whichever buffers are free.
    pub(crate) fn read_multishot(&mut self, fd: BorrowedFd<'_>, token: u32) -> io::Result<()> {
        let entry = opcode::ReadMulti::new(Fd(fd.as_raw_fd()), 0, GROUP).build();
        self.push(entry.user_data(user_data(Kind::Read, 0, token)))
    }

    /// Waits for `fd` to become readable, once.
    pub(crate) fn poll_once(&mut self, fd: BorrowedFd<'_>, token: u32) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), POLLIN).build();
        self.push(entry.user_data(user_data(Kind::Poll, 0, token)))
    }

    pub(crate) fn cancel_read(&mut self, token: u32) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(user_data(Kind::Read, 0, token)).build();
        self.push(entry.user_data(user_data(Kind::Cancel, 0, token)))
    }

    pub(crate) fn cancel_poll(&mut self, token: u32) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(user_data(Kind::Poll, 0, token)).build();
        self.push(entry.user_data(user_data(Kind::Cancel, 0, token)))
    }

    /// Writes what a held buffer holds to `fd`, which must stay open
    /// until the write completes.
    pub(crate) fn write(&mut self, fd: RawFd, received: Filled, token: u32) -> io::Result<()> {
        let Filled { buffer, len, .. } = received;
        let address = self.held(received);
        let len = u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let entry = opcode::Write::new(Fd(fd), address, len)
            .rw_flags(libc::RWF_NOWAIT)
            .build();
        self.push(entry.user_data(user_data(Kind::Write, buffer, token)))?;
        if let Owner::User { writes, .. } = &mut self.owners[usize::from(buffer)] {
            *writes += 1;
        }
        Ok(())
    }

    /// The received bytes. Panics if the caller does not hold the buffer.
    pub(crate) fn bytes(&self, received: Filled) -> &[u8] {
        let address = self.held(received);
        // SAFETY: `held` checked that the buffer is the caller's and the range inside it. While it
        // is, the kernel only reads it (writes in flight), and `bytes_mut` needs `&mut self`.
        unsafe { std::slice::from_raw_parts(address, received.len) }
    }

    /// The received bytes, to be changed. Panics if the caller does not hold the buffer or writes it.
    pub(crate) fn bytes_mut(&mut self, received: Filled) -> &mut [u8] {
        let address = self.held(received);
        let owner = self.owners[usize::from(received.buffer)];
        assert_eq!(
            owner,
            Owner::User {
                held: true,
                writes: 0
            },
            "the buffer is being written"
        );
        // SAFETY: as in `bytes`; no write reads the buffer, and `&mut self` excludes other borrows.
        unsafe { std::slice::from_raw_parts_mut(address, received.len) }
    }

    /// All of a held buffer, to be changed; `None` as long as something writes it. Panics if the caller does not hold the buffer.
    pub(crate) fn room_mut(&mut self, received: Filled) -> Option<&mut [u8]> {
        self.held(received);
        let owner = self.owners[usize::from(received.buffer)];
        if owner
            != (Owner::User {
                held: true,
                writes: 0,
            })
        {
            return None;
        }
        let start = usize::from(received.buffer) * self.layout.stride;
        let address = self.buffers.at(start);
        // SAFETY: the mapping has `stride` bytes for each buffer, and this one is the caller's, as `held` checked. No write reads
        // it, the kernel fills only its own buffers, and `&mut self` excludes other borrows.
        Some(unsafe { std::slice::from_raw_parts_mut(address, self.layout.stride) })
    }

    /// Gives a held buffer back; it returns to the kernel once its writes are done.
    pub(crate) fn release(&mut self, buffer: u16) {
        match &mut self.owners[usize::from(buffer)] {
            Owner::User { writes: 0, .. } => self.lend(buffer),
            Owner::User { held, .. } => *held = false,
            Owner::Kernel => {}
        }
    }

    /// Submits what was pushed and, unless completions are at hand, waits for one. With `least` > 0 the wait goes on for that
    /// long, or until [`wait::PLENTY`] are there, where the kernel can do that (Linux 6.12).
    pub(crate) fn submit_and_wait(&mut self, least: Duration) -> io::Result<()> {
        if !self.early.is_empty() {
            return forgive(self.ring.submit());
        }
        forgive(self.wait.submit_and_wait(&mut self.ring, least))
    }

    /// Submits what was pushed, runs the work the kernel deferred, and does not wait.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        forgive(wait::submit_and_look(&mut self.ring))
    }

    /// Submits what was pushed, if anything was, and nothing else. Writes have been carried out when this returns.
    pub(crate) fn submit_started(&mut self) -> io::Result<()> {
        if self.ring.submission().is_empty() {
            return Ok(());
        }
        forgive(self.ring.submit())
    }

    /// Buffers that reads can fill.
    pub(crate) fn free_buffers(&self) -> usize {
        self.free
    }

    /// The next completion, in order.
    pub(crate) fn next_completion(&mut self) -> Option<Completion> {
        if let Some(completion) = self.early.pop_front() {
            if self.early.is_empty() {
                // A flood to thousands of ports leaves a queue that is rarely needed again.
                self.early.shrink_to(EARLY_KEPT);
            }
            return Some(completion);
        }
        let entry = self.ring.completion().next()?;
        Some(self.complete(&entry))
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        for _ in 0..PUSH_ATTEMPTS {
            if !self.ring.submission().is_full() {
                break;
            }
            self.make_room()?;
        }
        // SAFETY: descriptors are the caller's to keep open; every address points into `buffers`,
        // which outlives the ring, and `owners` keeps the range untouched until the completion.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    /// Submits a full queue and takes the completions, so that neither queue overflows.
    fn make_room(&mut self) -> io::Result<()> {
        forgive(self.ring.submit())?;
        loop {
            let Some(entry) = self.ring.completion().next() else {
                return Ok(());
            };
            let completion = self.complete(&entry);
            self.early.push_back(completion);
        }
    }

    fn complete(&mut self, entry: &cqueue::Entry) -> Completion {
        let (kind, buffer, token) = split(entry.user_data());
        let result = outcome(entry.result());
        match kind {
            Kind::Read => {
                let armed = cqueue::more(entry.flags());
                let chosen = cqueue::buffer_select(entry.flags());
                Completion::Read {
                    token,
                    result: self.receive(chosen, result),
                    armed,
                }
            }
            Kind::Write => {
                self.finish_write(buffer);
                Completion::Written {
                    token,
                    result: result.map(usize_of),
                    buffer,
                }
            }
            Kind::Poll => Completion::Ready { token },
            Kind::Cancel => Completion::Cancelled { token, result },
        }
    }

    fn receive(&mut self, chosen: Option<u16>, result: io::Result<u32>) -> io::Result<Filled> {
        let Some(buffer) = chosen else {
            // An end of file, which no TAP reports, has no buffer.
            return result.and_then(|_| Err(io::ErrorKind::UnexpectedEof.into()));
        };
        self.owners[usize::from(buffer)] = Owner::User {
            held: true,
            writes: 0,
        };
        self.free = self.free.saturating_sub(1);
        match result {
            Ok(len) => Ok(Filled {
                buffer,
                at: self.layout.headroom,
                len: usize_of(len),
            }),
            Err(error) => {
                self.lend(buffer);
                Err(error)
            }
        }
    }

    fn finish_write(&mut self, buffer: u16) {
        let Owner::User { held, writes } = &mut self.owners[usize::from(buffer)] else {
            return;
        };
        *writes = writes.saturating_sub(1);
        if *writes == 0 && !*held {
            self.lend(buffer);
        }
    }

    /// The address of a held buffer's bytes, after checking that `len` of them exist.
    fn held(&self, received: Filled) -> *mut u8 {
        let Filled { buffer, at, len } = received;
        let owner = self.owners[usize::from(buffer)];
        assert!(
            matches!(owner, Owner::User { held: true, .. }),
            "buffer {buffer} is not held"
        );
        assert!(
            at.saturating_add(len) <= self.layout.stride,
            "{len} bytes do not fit a buffer"
        );
        self.buffers
            .at(usize::from(buffer) * self.layout.stride + at)
    }

    /// Puts a buffer at the tail of the provided-buffer ring.
    fn lend(&mut self, buffer: u16) {
        let slot = usize::from(self.tail & (self.layout.count - 1));
        let address = self
            .buffers
            .at(usize::from(buffer) * self.layout.stride + self.layout.headroom);
        let room = u32::try_from(self.layout.stride - self.layout.headroom).unwrap_or(u32::MAX);
        // SAFETY: `slot` is below `count`, so the entry lies in the mapping, which is page-aligned
        // and zeroed (a valid entry). The kernel does not read a slot before the tail passes it.
        let entry = unsafe { &mut *self.entries.at(0).cast::<BufRingEntry>().add(slot) };
        entry.set_addr(address as u64);
        entry.set_len(room);
        entry.set_bid(buffer);
        self.owners[usize::from(buffer)] = Owner::Kernel;
        self.free += 1;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail overlays the `resv` field of the first entry, is 2-byte aligned, and is
        // only accessed atomically by the kernel and here.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.at(0).cast()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn register(&mut self) -> io::Result<()> {
        let address = self.entries.at(0) as u64;
        debug_assert!(
            self.entries.len() >= usize::from(self.layout.count) * size_of::<BufRingEntry>()
        );
        // SAFETY: the mapping holds `count` entries and, by field order, outlives the ring.
        unsafe {
            self.ring
                .submitter()
                .register_buf_ring_with_flags(address, self.layout.count, GROUP, 0)
        }
    }
}

fn build(entries: u32) -> io::Result<IoUring> {
    let ring = IoUring::builder()
        .setup_r_disabled()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(entries * 4)
        .dontfork()
        .build(entries)?;
    restrict(&ring)?;
    Ok(ring)
}

fn restrict(ring: &IoUring) -> io::Result<()> {
    let operations = OPERATIONS.map(Restriction::sqe_op);
    let registrations = REGISTRATIONS.map(Restriction::register_op);
    let flags = Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits());
    let mut allowed: Vec<Restriction> = operations.into_iter().chain(registrations).collect();
    allowed.push(flags);
    ring.submitter().register_restrictions(&mut allowed)?;
    ring.submitter().register_enable_rings()
}

/// Interrupted, at the end of its time, or the kernel wants completions taken out first: the next round goes on.
fn forgive(submitted: io::Result<usize>) -> io::Result<()> {
    match submitted {
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn outcome(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

fn usize_of(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// The kernel may take nothing before completions have been taken out, so the second attempt has room.
const PUSH_ATTEMPTS: usize = 4;
const EARLY_KEPT: usize = 1024;
const GROUP: u16 = 0;
const POLLIN: u32 = 1;
