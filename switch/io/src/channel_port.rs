//! A port inside the process: two bounded queues, each with an eventfd that is readable while the queue is not empty.
//!
//! # Theory of operation
//!
//! [`channel`] makes a pair. The [`ChannelPort`] is attached to a switch; whoever holds the [`ChannelEnd`] is the station
//! behind it. A sender that finds the queue full drops the frame and counts it; nobody waits for anybody. When one side is
//! dropped, the other drains what was queued and then sees the end.
//!
//! A station that answers to ports is told by which port a frame came in ([`ChannelPort::write_for`]) and says by which one
//! its answer leaves ([`ChannelEnd::send_to`]). Such frames wait in lanes ([`crate::lanes`]): no port's flood pushes out
//! what is another's, in neither direction.
//!
//! The eventfd is set when a queue becomes non-empty and cleared when its reader has emptied it, both under the queue's
//! lock, so a reader that saw "empty" is always woken by the next frame.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use switch_core::{PortId, VnetHeader, lock};

use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};
use crate::lanes::Lanes;

/// Makes a port and its station. Each direction queues up to `capacity` frames; `capabilities` is what the station takes.
pub fn channel(
    capacity: usize,
    capabilities: Capabilities,
) -> io::Result<(ChannelPort, ChannelEnd)> {
    let (port, end) = crossed(capacity)?;
    let port = ChannelPort {
        queues: port,
        capabilities,
    };
    Ok((port, ChannelEnd { queues: end }))
}

/// Two queues, as either side has them. Each takes up to `capacity` frames.
pub(crate) fn crossed(capacity: usize) -> io::Result<(Queues, Queues)> {
    let (there, back) = (
        Arc::new(Queue::new(capacity)?),
        Arc::new(Queue::new(capacity)?),
    );
    let one = Queues {
        incoming: Receiving(Arc::clone(&back)),
        outgoing: Sending(Arc::clone(&there)),
    };
    let other = Queues {
        incoming: Receiving(there),
        outgoing: Sending(back),
    };
    Ok((one, other))
}

/// What one side reads from and writes to.
#[derive(Debug)]
pub(crate) struct Queues {
    incoming: Receiving,
    outgoing: Sending,
}

impl Queues {
    pub(crate) fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        self.incoming.0.pop_into(buffers)
    }

    /// In the lane of `port`, where one is named.
    pub(crate) fn write(&self, port: Option<PortId>, envelopes: &[&[u8]]) -> Written {
        self.outgoing.0.push_all(port, envelopes)
    }

    /// Readable while frames wait or nobody sends any more.
    pub(crate) fn readable(&self) -> BorrowedFd<'_> {
        self.incoming.0.event.as_fd()
    }
}

/// The switch's side of a channel.
#[derive(Debug)]
pub struct ChannelPort {
    queues: Queues,
    capabilities: Capabilities,
}

impl ChannelPort {
    /// As [`FramePort::write`], in the lane of the port by which the envelopes came in. What has no room there is lost by that
    /// port.
    pub fn write_for(&self, ingress: PortId, envelopes: &[&[u8]]) -> Written {
        let written = self.queues.write(Some(ingress), envelopes);
        Written {
            full: 0,
            busy: written.full,
            ..written
        }
    }
}

impl FramePort for ChannelPort {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        self.queues.read(buffers)
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        self.queues.write(None, envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queues.readable()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn unread(&self) -> u64 {
        self.queues.incoming.0.dropped.load(Ordering::Relaxed)
    }
}

/// The station's side of a channel. Usable from several threads.
#[derive(Debug)]
pub struct ChannelEnd {
    queues: Queues,
}

impl ChannelEnd {
    /// Sends a finished frame; `false` if it was dropped, because the queue is full or the port gone.
    pub fn send(&self, frame: &[u8]) -> bool {
        self.send_with(&VnetHeader::NONE.to_bytes(), frame)
    }

    /// Sends a finished frame to whoever is behind the port `egress` of the same bridge, and to nobody else.
    pub fn send_to(&self, egress: PortId, frame: &[u8]) -> bool {
        let envelope = [&VnetHeader::NONE.to_bytes(), frame].concat();
        self.queues.outgoing.0.push(Some(egress), envelope).is_ok()
    }

    /// Sends a frame behind a vnet header, which the switch will check.
    pub fn send_with(&self, vnet: &[u8; VnetHeader::LEN], frame: &[u8]) -> bool {
        let envelope = [vnet.as_slice(), frame].concat();
        self.queues.outgoing.0.push(None, envelope).is_ok()
    }

    /// The next frame. `WouldBlock`: none now, wait for [`Self::as_fd`]. `BrokenPipe`: the port is gone.
    pub fn try_recv(&self) -> io::Result<Received> {
        let (ingress, envelope) = self.queues.incoming.0.pop()?;
        Ok(Received { ingress, envelope })
    }

    /// The next frame, waiting up to `timeout` for it; `TimedOut` after that.
    pub fn recv_timeout(&self, timeout: Duration) -> io::Result<Received> {
        let limit = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        match self.try_recv() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        let mut fds = [PollFd::new(&self.queues.incoming.0.event, PollFlags::IN)];
        if poll(&mut fds, Some(&limit))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.try_recv()
    }

    /// Frames that [`Self::send`] dropped.
    pub fn dropped(&self) -> u64 {
        self.queues.outgoing.0.dropped.load(Ordering::Relaxed)
    }
}

impl AsFd for ChannelEnd {
    /// Readable while frames wait or the port is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queues.readable()
    }
}

/// An envelope as the switch sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    ingress: Option<PortId>,
    envelope: Vec<u8>,
}

impl Received {
    /// The port by which the frame came in, where the channel was told.
    pub fn ingress(&self) -> Option<PortId> {
        self.ingress
    }

    pub fn vnet(&self) -> &[u8] {
        &self.envelope[..VnetHeader::LEN]
    }

    pub fn frame(&self) -> &[u8] {
        &self.envelope[VnetHeader::LEN..]
    }
}

/// Closes its queue on drop: the other side still reads what is queued.
#[derive(Debug)]
struct Sending(Arc<Queue>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Closes its queue on drop: the other side's sends fail.
#[derive(Debug)]
struct Receiving(Arc<Queue>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    event: OwnedFd,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct State {
    envelopes: Lanes,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Full,
    Closed,
}

impl Queue {
    fn new(capacity: usize) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let state = Mutex::new(State {
            envelopes: Lanes::new(capacity),
            closed: false,
        });
        Ok(Self {
            state,
            event,
            dropped: AtomicU64::new(0),
        })
    }

    fn push_all(&self, port: Option<PortId>, envelopes: &[&[u8]]) -> Written {
        let mut written = Written::default();
        for envelope in envelopes {
            if envelope.len() < VnetHeader::LEN {
                written.refused += 1;
                continue;
            }
            match self.push(port, envelope.to_vec()) {
                Ok(()) => written.count_sent(envelope),
                Err(Refused::Full) => written.full += 1,
                Err(Refused::Closed) => written.gone += 1,
            }
        }
        written
    }

    fn push(&self, port: Option<PortId>, envelope: Vec<u8>) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        let was_empty = state.envelopes.is_empty();
        let refused = match () {
            () if state.closed => Refused::Closed,
            () if !state.envelopes.push(port, envelope) => Refused::Full,
            () => {
                if was_empty {
                    self.raise();
                }
                return Ok(());
            }
        };
        self.dropped.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    fn pop(&self) -> io::Result<(Option<PortId>, Vec<u8>)> {
        let mut state = lock(&self.state);
        let Some(envelope) = state.envelopes.pop() else {
            let kind = if state.closed {
                io::ErrorKind::BrokenPipe
            } else {
                io::ErrorKind::WouldBlock
            };
            return Err(kind.into());
        };
        if state.envelopes.is_empty() && !state.closed {
            self.clear();
        }
        Ok(envelope)
    }

    fn pop_into(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut count = 0;
        for buffer in buffers {
            match self.pop() {
                Ok((egress, envelope)) => {
                    buffer.fill(&envelope);
                    if let Some(egress) = egress {
                        buffer.set_egress(egress);
                    }
                }
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
            count += 1;
        }
        Ok(count)
    }

    fn close(&self) {
        lock(&self.state).closed = true;
        self.raise();
    }

    /// The counter saturates long after "readable", so a failed write changes nothing.
    fn raise(&self) {
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(fd: BorrowedFd<'_>) -> bool {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .unwrap()
            == 1
    }

    fn buffers(count: usize) -> Vec<FrameBuffer> {
        std::iter::repeat_with(FrameBuffer::new)
            .take(count)
            .collect()
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_frames_wait() {
        let (port, end) = channel(4, Capabilities::NONE).unwrap();
        assert!(!readable(port.as_fd()));
        assert!(end.send(b"one") && end.send(b"two"));
        assert!(readable(port.as_fd()));
        let mut buffers = buffers(4);
        assert_eq!(port.read(&mut buffers).unwrap(), 2);
        assert_eq!(&buffers[1].envelope()[VnetHeader::LEN..], b"two");
        assert!(!readable(port.as_fd()));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (port, end) = channel(1, Capabilities::NONE).unwrap();
        let envelope = [0; 24];
        let written = port.write(&[&envelope, &envelope, &envelope]);
        assert_eq!((written.frames, written.bytes, written.full), (1, 14, 2));
        assert!(end.send(b"a") && !end.send(b"b"));
        assert_eq!(end.dropped(), 1);
        assert_eq!(end.try_recv().unwrap().frame().len(), 14);
    }

    #[test]
    fn a_flood_of_one_port_leaves_room_for_another_both_ways() {
        let (port, end) = channel(8, Capabilities::NONE).unwrap();
        let envelope = [0; 24];
        let flood = port.write_for(PortId(1), &[envelope.as_slice(); 100]);
        assert_eq!((flood.frames, flood.busy, flood.full), (4, 96, 0));
        assert_eq!(port.write_for(PortId(2), &[&envelope]).frames, 1);
        let ingress = |_| end.try_recv().unwrap().ingress().unwrap().0;
        assert_eq!((0..3).map(ingress).collect::<Vec<_>>(), [1, 2, 1]);

        let sent = (0..100)
            .filter(|_| end.send_to(PortId(1), b"flood"))
            .count();
        assert_eq!(sent, 4);
        assert!(end.send_to(PortId(2), b"answer"));
        let mut buffers = buffers(8);
        assert_eq!(port.read(&mut buffers).unwrap(), 5);
        assert_eq!(buffers[1].take_egress(), Some(PortId(2)));
        assert_eq!(&buffers[1].envelope()[VnetHeader::LEN..], b"answer");
    }

    #[test]
    fn a_dropped_side_ends_the_other_after_its_queue() {
        let (port, end) = channel(4, Capabilities::NONE).unwrap();
        end.send(b"last");
        drop(end);
        let mut buffers = buffers(1);
        assert_eq!(port.read(&mut buffers).unwrap(), 1);
        assert!(readable(port.as_fd()));
        assert_eq!(
            port.read(&mut buffers).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        assert_eq!(port.write(&[&[0; 24]]).gone, 1);
    }

    #[test]
    fn waiting_for_a_frame_ends_with_the_timeout() {
        let (_port, end) = channel(4, Capabilities::NONE).unwrap();
        let error = end.recv_timeout(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
