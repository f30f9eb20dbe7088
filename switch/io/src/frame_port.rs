//! What a port is to the workers.
//!
//! # Theory of operation
//!
//! Frames move in *envelopes*: a 10-byte vnet header (see [`switch_core::VnetHeader`]) and the frame, in one piece, so
//! that a TAP with `IFF_VNET_HDR` reads and writes them as they are:
//!
//! ```text
//! FrameBuffer:  | headroom | vnet header | frame ...              | unused |
//!                52 bytes    10 bytes      up to 65,730 bytes
//!                          |<------------ envelope -------------->|
//! ```
//!
//! A port is read by exactly one worker and written by any, at the same time; hence `&self`. Reading and writing never
//! block. A worker writes only what [`FramePort::capabilities`] admits: it completes checksums and cuts superframes
//! before, once for all the weak ports of a flood. A header that was read is validated and rebuilt by the worker; a
//! header that is written can be trusted.
//!
//! A device that carries the frames of many ports over one descriptor, a tunnel's socket, is a *trunk*: it is read like a
//! port, and says in each [`FrameBuffer`] which port the frame came from. Those ports are only written.

use std::io;
use std::ops::Deref;
use std::os::fd::BorrowedFd;

use switch_core::vlan::{Tag, TagChange};
use switch_core::{DropReason, PortId, RawVnet, VnetHeader};

use crate::retag::retag;

/// A source and sink of frames.
pub trait FramePort: Send + Sync {
    /// Fills `buffers` from the front and returns how many were filled, at least one.
    ///
    /// `WouldBlock`: there is nothing now, wait for [`Self::as_fd`]. `EBADFD`, `EBADF`, `BrokenPipe` and
    /// `UnexpectedEof`: there will never be anything again. Other errors are transient.
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize>;

    /// Sends envelopes in order; what cannot be sent at once is dropped and reported.
    fn write(&self, envelopes: &[&[u8]]) -> Written;

    /// As [`Self::write`], and says by which port the envelopes came in, for stations that answer to ports.
    fn write_from(&self, _ingress: PortId, envelopes: &[&[u8]]) -> Written {
        self.write(envelopes)
    }

    /// Readable when [`Self::read`] is worth a try.
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// Constant over the life of the port.
    fn capabilities(&self) -> Capabilities;

    /// A descriptor on which one `read(2)` or `write(2)` moves one envelope, with nothing else to be done: io_uring then
    /// bypasses `read` and `write`. `None` for everything but a bare TAP with a vnet header.
    fn raw_tap(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The descriptor of a TAP: its link counts what its queue loses, which nobody reads. `None` for everything else.
    fn tap(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Frames that the device's own queue had no room for before they could be read, so far; a TAP's link counts its own.
    fn unread(&self) -> u64 {
        0
    }

    /// The switch gave the port this number. Called once, before the port is read or written; for the ports of a trunk,
    /// which put the number into what they read.
    fn attached(&self, _id: PortId) {}

    /// The device is about to be taken from around the one below. From now on it changes and holds back nothing: what waits to
    /// be written leaves before this returns, and what waits to be read is read before anything newer.
    fn settle(&self) {}

    /// The same, and every device below it too.
    fn settle_all(&self) {
        self.settle();
    }

    /// It changes and holds back again, and every device below it, as before they were told to settle.
    fn unsettle(&self) {}

    /// Whether a device that was told to [`Self::settle`] still has frames to be read that the one below has not.
    fn holds(&self) -> bool {
        false
    }
}

/// Whatever owns or shares a port is one.
impl<D> FramePort for D
where
    D: Deref<Target: FramePort> + Send + Sync,
{
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        (**self).read(buffers)
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        (**self).write(envelopes)
    }

    fn write_from(&self, ingress: PortId, envelopes: &[&[u8]]) -> Written {
        (**self).write_from(ingress, envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn raw_tap(&self) -> Option<BorrowedFd<'_>> {
        (**self).raw_tap()
    }

    fn tap(&self) -> Option<BorrowedFd<'_>> {
        (**self).tap()
    }

    fn unread(&self) -> u64 {
        (**self).unread()
    }

    fn attached(&self, id: PortId) {
        (**self).attached(id);
    }

    fn settle(&self) {
        (**self).settle();
    }

    fn settle_all(&self) {
        (**self).settle_all();
    }

    fn unsettle(&self) {
        (**self).unsettle();
    }

    fn holds(&self) -> bool {
        (**self).holds()
    }
}

/// What may be written to a port unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Frames whose checksum is left open.
    pub checksum: bool,
    /// TCP superframes.
    pub tso: bool,
    /// UDP superframes.
    pub uso: bool,
}

impl Capabilities {
    pub const ALL: Self = Self {
        checksum: true,
        tso: true,
        uso: true,
    };
    pub const NONE: Self = Self {
        checksum: false,
        tso: false,
        uso: false,
    };

    /// Whether a frame with this header may be written as it is.
    pub fn admit(self, vnet: &VnetHeader) -> bool {
        use switch_core::Gso;
        let cut = match vnet.gso() {
            Gso::None => true,
            Gso::TcpV4 { .. } | Gso::TcpV6 { .. } => self.tso,
            Gso::Udp { .. } => self.uso,
        };
        cut && (self.checksum || !vnet.needs_checksum())
    }
}

/// Room for one envelope, with headroom before it. Its pages cost nothing until a frame touches them.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Box<[u8]>,
    /// Where the envelope is.
    start: usize,
    len: usize,
    origin: Option<PortId>,
    egress: Option<PortId>,
}

impl FrameBuffer {
    /// Length of a whole buffer. Not a power of two, so that buffers do not compete for the same cache sets.
    pub const LEN: usize = 65_792;
    /// Bytes before the envelope. The payload of TCP over IPv4 with timestamps then starts on a cache line, which the kernel's
    /// copies into and out of the buffer are 10 % faster for.
    pub const HEADROOM: usize = 52;

    pub fn new() -> Self {
        Self {
            bytes: vec![0; Self::LEN].into_boxed_slice(),
            start: Self::HEADROOM,
            len: 0,
            origin: None,
            egress: None,
        }
    }

    /// Says which port of a trunk the frame came from; the worker takes it as that port's.
    pub fn set_origin(&mut self, port: PortId) {
        self.origin = Some(port);
    }

    pub(crate) fn take_origin(&mut self) -> Option<PortId> {
        self.origin.take()
    }

    /// Says that the frame is for whoever is behind `port` and leaves by no other, wherever its MAC has been seen.
    pub fn set_egress(&mut self, port: PortId) {
        self.egress = Some(port);
    }

    pub(crate) fn take_egress(&mut self) -> Option<PortId> {
        self.egress.take()
    }

    /// Where an envelope is to be read into.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[Self::HEADROOM..]
    }

    /// Where a frame without vnet header is to be read into; [`Self::set_bare_len`] completes the envelope.
    pub fn bare_space(&mut self) -> &mut [u8] {
        &mut self.bytes[Self::HEADROOM + VnetHeader::LEN..]
    }

    /// Says that `len` bytes of [`Self::space`] hold an envelope; capped to the space.
    pub fn set_len(&mut self, len: usize) {
        self.start = Self::HEADROOM;
        self.len = len.min(Self::LEN - Self::HEADROOM);
    }

    /// Says that `len` bytes of [`Self::bare_space`] hold a finished frame.
    pub fn set_bare_len(&mut self, len: usize) {
        self.set_len(len + VnetHeader::LEN);
        self.space()[..VnetHeader::LEN].copy_from_slice(&VnetHeader::NONE.to_bytes());
    }

    /// Copies `envelope` in; one that is too long is cut.
    pub fn fill(&mut self, envelope: &[u8]) {
        self.set_len(envelope.len());
        let len = self.len;
        self.space()[..len].copy_from_slice(&envelope[..len]);
    }

    /// The vnet header and the frame.
    pub fn envelope(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub fn envelope_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// Changes the tag of the frame, and with it what the header, which describes the frame as it was, says of places in it.
    pub(crate) fn retag(&mut self, change: TagChange, vnet: &VnetHeader) {
        self.change(change, vnet.moved(change.growth()).to_bytes());
    }

    /// Puts a tag behind the addresses of a frame whose header nobody has checked yet.
    pub(crate) fn push_tag(&mut self, tag: [u8; Tag::LEN]) {
        if let Some(raw) = RawVnet::read(self.envelope()) {
            self.change(TagChange::Push(tag), raw.tagged().to_bytes());
        }
    }

    fn change(&mut self, change: TagChange, vnet: [u8; VnetHeader::LEN]) {
        let envelope = (self.start, self.len);
        (self.start, self.len) = retag(&mut self.bytes, envelope, change, vnet);
    }
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of a batch of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Frames that were sent.
    pub frames: u64,
    /// Their bytes, without vnet headers.
    pub bytes: u64,
    /// Dropped: the queue was full.
    pub full: u64,
    /// Dropped: the sender's share of the queue was used up.
    pub busy: u64,
    /// Dropped: the link is down.
    pub down: u64,
    /// Dropped: the device called the frame malformed.
    pub refused: u64,
    /// Dropped: the other end is gone.
    pub gone: u64,
    /// Dropped: a fault that was asked for.
    pub fault: u64,
}

impl Written {
    /// Books the outcome of one `write(2)` of `envelope`.
    pub fn count(&mut self, envelope: &[u8], result: io::Result<usize>) {
        *self += Self::of(envelope.len(), result);
    }

    pub fn count_sent(&mut self, envelope: &[u8]) {
        self.count(envelope, Ok(envelope.len()));
    }

    /// The outcome of one `write(2)` of an envelope of `len` bytes.
    pub(crate) fn of(len: usize, result: io::Result<usize>) -> Self {
        let mut written = Self::default();
        match result {
            Ok(sent) if sent == len => {
                written.frames = 1;
                written.bytes = u64::try_from(len.saturating_sub(VnetHeader::LEN)).unwrap_or(0);
            }
            Ok(_) => written.refused = 1,
            Err(error) => *written.place(&error) = 1,
        }
        written
    }

    /// Frames that were not sent, for whatever reason.
    pub(crate) fn dropped(&self) -> u64 {
        let reasons = self.drops_at_egress().into_iter();
        let reasons = reasons.chain(self.drops_at_ingress());
        reasons.map(|(_, count)| count).sum()
    }

    /// Why the frames were not sent, where none was and for one reason.
    pub(crate) fn sole_reason(&self) -> Option<DropReason> {
        let reasons = self.drops_at_egress().into_iter();
        let mut reasons = reasons
            .chain(self.drops_at_ingress())
            .filter(|(_, count)| *count > 0);
        let (reason, _) = reasons.next()?;
        (self.frames == 0 && reasons.next().is_none()).then_some(reason)
    }

    /// What is counted at the port that should have taken the frames, zeros included: it was too slow, or down, or would not.
    pub(crate) fn drops_at_egress(&self) -> [(DropReason, u64); 3] {
        [
            (DropReason::QueueFull, self.full),
            (DropReason::LinkDown, self.down),
            (DropReason::EgressRefused, self.refused),
        ]
    }

    /// What is counted at the port that the frames came from, zeros included.
    pub(crate) fn drops_at_ingress(&self) -> [(DropReason, u64); 3] {
        [
            (DropReason::EdgeBusy, self.busy),
            (DropReason::EgressGone, self.gone),
            (DropReason::Fault, self.fault),
        ]
    }

    fn place(&mut self, error: &io::Error) -> &mut u64 {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => &mut self.full,
            Some(libc::EIO | libc::ENETDOWN) => &mut self.down,
            Some(libc::EBADFD | libc::EBADF | libc::EPIPE) => &mut self.gone,
            _ => &mut self.refused,
        }
    }
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.full += other.full;
        self.busy += other.busy;
        self.down += other.down;
        self.refused += other.refused;
        self.gone += other.gone;
        self.fault += other.fault;
    }
}

/// Whether an error of [`FramePort::read`] means that the port is gone for good.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    ) || matches!(
        error.raw_os_error(),
        Some(libc::EBADFD | libc::EBADF | libc::ENODEV)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_frame_gets_an_empty_header_in_front() {
        let mut buffer = FrameBuffer::new();
        buffer.bare_space()[..3].copy_from_slice(&[7, 8, 9]);
        buffer.set_bare_len(3);
        assert_eq!(buffer.envelope(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8, 9]);
    }

    #[test]
    fn an_envelope_too_long_for_the_buffer_is_cut() {
        let mut buffer = FrameBuffer::new();
        buffer.fill(&vec![1; 70_000]);
        // The drawing above.
        assert_eq!(FrameBuffer::HEADROOM, 52);
        assert_eq!(buffer.envelope().len(), VnetHeader::LEN + 65_730);
    }

    #[test]
    fn the_largest_superframe_with_two_tags_fits() {
        const { assert!(FrameBuffer::HEADROOM + VnetHeader::LEN + 14 + 8 + 65_535 <= FrameBuffer::LEN) }
    }

    #[test]
    fn the_payload_of_tcp_starts_on_a_cache_line() {
        const { assert!((FrameBuffer::HEADROOM + VnetHeader::LEN + 14 + 20 + 32).is_multiple_of(64)) }
        const { assert!(FrameBuffer::LEN.is_multiple_of(64)) }
    }

    #[test]
    fn every_write_is_booked_once() {
        let mut written = Written::default();
        let envelope = [0; 24];
        written.count(&envelope, Ok(24));
        written.count(&envelope, Ok(3));
        for errno in [libc::EAGAIN, libc::EIO, libc::EINVAL, libc::EBADFD] {
            written.count(&envelope, Err(io::Error::from_raw_os_error(errno)));
        }
        let expected = Written {
            frames: 1,
            bytes: 14,
            full: 1,
            busy: 0,
            down: 1,
            refused: 2,
            gone: 1,
            fault: 0,
        };
        assert_eq!(written, expected);
    }

    #[test]
    fn capabilities_admit_what_they_name() {
        assert!(Capabilities::NONE.admit(&VnetHeader::NONE));
        assert!(Capabilities::ALL.admit(&VnetHeader::NONE));
    }
}
