//! Sends the frames of one network to one remote VTEP.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use overlay_core::ecn::{self, Ecn};
use overlay_core::{VxlanHeader, flow_hash, mss};
use quinn_udp::{EcnCodepoint, Transmit};
use switch_core::{Frame, PortId, Segments, VnetHeader, checksum};
use switch_io::{Capabilities, FrameBuffer, FramePort, Written};

use super::train::{Train, Way};
use super::{Gateway, Key, Shared};
use crate::envelope;
use crate::tunnel::Member;

/// A remote VTEP in one network: a port that is written, while the trunk reads for it.
#[derive(Debug)]
pub struct VxlanPort {
    shared: Arc<Shared>,
    key: Key,
    member: Arc<Member>,
    header: [u8; VxlanHeader::LEN],
    remote: SocketAddr,
    gateway: Option<Gateway>,
}

impl VxlanPort {
    pub(super) fn new(shared: Arc<Shared>, key: Key, member: Arc<Member>) -> Self {
        let (vni, remote) = key;
        Self {
            header: VxlanHeader { vni }.to_bytes(),
            remote: SocketAddr::new(remote, shared.remote_udp_port),
            shared,
            key,
            member,
            gateway: None,
        }
    }

    /// Answers packets that are too big in the name of `gateway`.
    #[must_use]
    pub fn with_gateway(mut self, gateway: Gateway) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Puts a frame's datagrams into the train, and sends the train whenever it is full.
    fn load(&self, train: &mut Train, envelope: &[u8], written: &mut Written) {
        let Some((vnet, frame)) = envelope::open(envelope) else {
            written.refused += 1;
            return;
        };
        if !frame.with_vnet(&vnet).fits(self.member.mtu()) {
            self.refuse(&frame);
            written.refused += 1;
            return;
        }
        let way = self.way(&frame);
        let taken = match Segments::new(&vnet, &frame) {
            Some(segments) => self.load_segments(train, way, segments, written),
            None => self.load_whole(train, way, &vnet, &frame, written),
        };
        if taken {
            train.frames += 1;
            train.frame_bytes += u64::try_from(frame.bytes().len()).unwrap_or(0);
        } else {
            written.refused += 1;
        }
    }

    /// Tells the sender of a packet that is too big.
    fn refuse(&self, frame: &Frame<'_>) {
        self.shared.counters.too_big.fetch_add(1, Ordering::Relaxed);
        let Some(gateway) = &self.gateway else { return };
        let mtu = self.member.mtu();
        if self.shared.answers.answer(frame, mtu, gateway) {
            self.shared.readiness.raise();
        }
    }

    fn load_segments(
        &self,
        train: &mut Train,
        way: Way,
        mut segments: Segments<'_>,
        written: &mut Written,
    ) -> bool {
        let len_max = segments.len_max();
        while !segments.is_done() {
            if !self.make_room(train, way, len_max, written) {
                return false;
            }
            match segments.write_next(train.room(self.header)) {
                Some(len) => train.push(way, len),
                None => return false,
            }
        }
        true
    }

    fn load_whole(
        &self,
        train: &mut Train,
        way: Way,
        vnet: &VnetHeader,
        frame: &Frame<'_>,
        written: &mut Written,
    ) -> bool {
        let bytes = frame.bytes();
        if !self.make_room(train, way, bytes.len(), written) {
            return false;
        }
        let room = &mut train.room(self.header)[..bytes.len()];
        room.copy_from_slice(bytes);
        checksum::complete(vnet, room);
        mss::clamp(&VnetHeader::NONE, room, self.member.mtu());
        train.push(way, bytes.len());
        true
    }

    /// `false`: no train can carry such a frame.
    fn make_room(&self, train: &mut Train, way: Way, len: usize, written: &mut Written) -> bool {
        let segments_max = self.shared.senders[way.socket].segments_max();
        if !train.admits(way, len, segments_max) {
            self.send(train, written);
        }
        train.admits(way, len, segments_max)
    }

    fn send(&self, train: &mut Train, written: &mut Written) {
        if train.is_empty() {
            return;
        }
        let way = train.way();
        let result = self.shared.senders[way.socket].send(&Transmit {
            destination: self.remote,
            ecn: codepoint(way.ecn),
            contents: train.payload(),
            segment_size: train.segment_size(),
            src_ip: None,
        });
        *written += envelope::fate(train.frames, train.frame_bytes, result);
        train.clear();
    }

    fn way(&self, frame: &Frame<'_>) -> Way {
        let senders = u64::try_from(self.shared.senders.len()).unwrap_or(1);
        Way {
            socket: usize::try_from(flow_hash(frame) % senders).unwrap_or(0),
            ecn: ecn::encapsulate(frame),
        }
    }
}

impl FramePort for VxlanPort {
    fn read(&self, _buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        Err(self.member.read())
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        let mut written = Written::default();
        TRAIN.with_borrow_mut(|train| {
            for envelope in envelopes {
                self.load(train, envelope, &mut written);
            }
            self.send(train, &mut written);
        });
        written
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.member).as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn attached(&self, id: PortId) {
        self.member.attach(id);
    }
}

impl Drop for VxlanPort {
    fn drop(&mut self) {
        self.shared.members.remove(&self.key);
    }
}

thread_local! {
    /// Always left empty, so that all ports that a thread writes share it.
    static TRAIN: RefCell<Train> = RefCell::new(Train::new());
}

fn codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    EcnCodepoint::from_bits(ecn.bits())
}
