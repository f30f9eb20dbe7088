//! Packets of a link, as the kernel copies them into memory that it shares with us (packet(7), `PACKET_RX_RING`).
//!
//! # Theory of operation
//!
//! The ring is slots of equal length. A status word at the front of each says whose it is. The kernel fills its next slot
//! while that is its own, else drops the packet; then it hands the slot over. We read slots in the same order and hand each back.
//! No system call is involved but the one that waits.
//!
//! Version 2 of the layout, because version 3 hands over blocks of packets, when one is full or after a millisecond.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::packet_socket::{attach, bind, check, link_index, set, socket};

/// Receives what a filter admits of what arrives at one link.
#[derive(Debug)]
pub struct PacketRing {
    base: NonNull<u8>,
    /// Slot that is read next.
    next: usize,
    fd: OwnedFd,
}

// SAFETY: the mapping is owned by this value and read through `&mut self`; nothing ties it to the thread that made it.
unsafe impl Send for PacketRing {}

/// One packet in the ring, from its Ethernet header on.
#[derive(Debug)]
pub struct RingPacket<'a> {
    pub bytes: &'a mut [u8],
    /// Whether the kernel knows that the transport's checksum is right, or has left it to hardware that will not see it.
    pub is_verified: bool,
}

impl PacketRing {
    /// Longest packet that fits a slot, with its Ethernet header, in bytes. Let the filter refuse longer ones: they are cut.
    pub const PACKET_LEN_MAX: u16 = 1_920;

    /// In the network namespace of the calling thread. `filter` is a classic BPF program (bpf(2), `SO_ATTACH_FILTER`)
    /// that sees packets from their Ethernet header. Needs `CAP_NET_RAW`.
    pub fn open(link: &str, filter: &[libc::sock_filter]) -> io::Result<Self> {
        let fd = socket(libc::SOCK_NONBLOCK)?;
        let index = link_index(link)?;
        attach(&fd, filter)?;
        set(&fd, libc::SOL_PACKET, libc::PACKET_VERSION, &TPACKET_V2)?;
        set(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
        set(&fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &RING)?;
        let base = map(&fd)?;
        let ring = Self { base, next: 0, fd };
        // Bound last: before, the socket would receive from every link.
        bind(&ring.fd, index)?;
        Ok(ring)
    }

    /// The oldest packet; the same one until it is released.
    pub fn front(&mut self) -> Option<RingPacket<'_>> {
        let status = self.status().load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let slot = self.slot();
        // SAFETY: the slot is ours until its status is written, and begins with this header; the layout was asked for.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
        let start = usize::from(header.tp_mac).min(SLOT_LEN);
        let len = usize::try_from(header.tp_snaplen).unwrap_or(0);
        let len = len.min(SLOT_LEN - start);
        // SAFETY: `start` and `len` were just bounded by the slot, which nobody else touches while it is ours; the borrow of
        // `self` keeps it from being released meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts_mut(slot.add(start), len) };
        Some(RingPacket {
            bytes,
            is_verified: status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID) != 0,
        })
    }

    /// Hands the oldest packet's slot back to the kernel; does nothing when there is none.
    pub fn release(&mut self) {
        let status = self.status();
        if status.load(Ordering::Relaxed) & libc::TP_STATUS_USER != 0 {
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.next = (self.next + 1) % SLOTS;
        }
    }

    /// Nothing comes into the ring any more; what is in it stays.
    pub fn stop(&self) -> io::Result<()> {
        attach(&self.fd, &[NOTHING])
    }

    /// What the kernel has to say about the socket, once: that the link is down, above all.
    pub fn take_error(&self) -> io::Result<()> {
        let mut error: libc::c_int = 0;
        let mut len = libc::socklen_t::try_from(size_of_val(&error)).map_err(io::Error::other)?;
        // SAFETY: pointer and length describe `error`, which outlives the call.
        check(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                (&raw mut error).cast(),
                &raw mut len,
            )
        })?;
        match error {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn slot(&self) -> *mut u8 {
        // SAFETY: `next` is less than SLOTS, so the slot lies inside the mapping.
        unsafe { self.base.as_ptr().add(self.next * SLOT_LEN) }
    }

    fn status(&self) -> &AtomicU32 {
        // SAFETY: a slot is aligned to its length and begins with its status, which both sides access as one word.
        unsafe { &*self.slot().cast::<AtomicU32>() }
    }
}

impl Drop for PacketRing {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `open`, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), SLOT_LEN * SLOTS) };
    }
}

impl AsFd for PacketRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn map(fd: &OwnedFd) -> io::Result<NonNull<u8>> {
    // SAFETY: a mapping at an address of the kernel's choice touches no existing memory.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SLOT_LEN * SLOTS,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))
}

/// A packet of 1,500 bytes, its link header, and the kernel's 80 bytes before both.
const SLOT_LEN: usize = 2_048;
/// Some milliseconds of 10 Gbit/s, and no more than what stays in the cache.
const SLOTS: usize = 1_024;
const BLOCK_LEN: usize = 1 << 16;
#[allow(clippy::cast_possible_truncation, reason = "constants of a few digits")]
const RING: libc::tpacket_req = libc::tpacket_req {
    tp_block_size: BLOCK_LEN as u32,
    tp_block_nr: (SLOT_LEN * SLOTS / BLOCK_LEN) as u32,
    tp_frame_size: SLOT_LEN as u32,
    tp_frame_nr: SLOTS as u32,
};

/// Return no byte of the packet.
#[allow(clippy::cast_possible_truncation, reason = "codes have eight bits")]
const NOTHING: libc::sock_filter = libc::sock_filter {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: 0,
};

// From linux/if_packet.h.
const TPACKET_V2: libc::c_int = 1;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_CSUM_VALID: u32 = 1 << 7;
