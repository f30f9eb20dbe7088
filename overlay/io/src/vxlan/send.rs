//! Sends the frames of one network to one remote VTEP.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use overlay_core::{Df, OuterPolicy, VxlanHeader, flow_hash, mss};
use quinn_udp::{EcnCodepoint, Transmit};
use switch_core::{Frame, Segments, VnetHeader, Vni};
use switch_io::Written;

use super::answers::Gateway;
use super::header;
use super::line::{Line, count};
use super::paths::Traffic;
use super::train::{Train, Way};
use crate::envelope;
use crate::readiness::Readiness;
use crate::socket::TunnelSocket;

/// Where a port's frames go, and with what header.
#[derive(Debug)]
pub struct Sender {
    header: [u8; VxlanHeader::LEN],
    remote: SocketAddr,
    gateway: Option<Gateway>,
    policy: OuterPolicy,
    /// Of the path's search; absent where packets may be fragmented.
    traffic: Option<Arc<Traffic>>,
}

impl Sender {
    pub(super) fn new(vni: Vni, remote: SocketAddr) -> Self {
        Self {
            header: VxlanHeader { vni }.to_bytes(),
            remote,
            gateway: None,
            policy: OuterPolicy::default(),
            traffic: None,
        }
    }

    /// Tells the search of the path that frames go.
    pub(super) fn follow(&mut self, traffic: Arc<Traffic>) {
        self.traffic = Some(traffic);
    }

    pub(super) fn fill_in(&mut self, policy: OuterPolicy) {
        self.policy = policy;
        if policy.df == Df::Unset {
            self.traffic = None;
        }
    }

    /// In whose name packets that are too big are answered.
    pub(super) fn answer_as(&mut self, gateway: Gateway) {
        self.gateway = Some(gateway);
    }
}

/// A port that sends.
pub(super) struct Sending<'a> {
    pub(super) line: &'a Line,
    pub(super) readiness: &'a Readiness,
    pub(super) sender: &'a Sender,
    pub(super) mtu: u32,
}

impl Sending<'_> {
    pub(super) fn write(&self, envelopes: &[&[u8]]) -> Written {
        let traffic = self.sender.traffic.as_ref();
        if traffic.is_some_and(|traffic| traffic.begins()) {
            self.line.call();
            self.readiness.raise();
        }
        let mut written = Written::default();
        TRAIN.with_borrow_mut(|train| {
            for envelope in envelopes {
                self.load(train, envelope, &mut written);
            }
            self.send(train, &mut written);
        });
        written
    }

    /// Puts a frame's datagrams into the train, and sends the train whenever it is full.
    fn load(&self, train: &mut Train, envelope: &[u8], written: &mut Written) {
        let Some((vnet, frame)) = envelope::open(envelope) else {
            written.refused += 1;
            return;
        };
        let way = self.way(&frame);
        // What may be fragmented may have any length.
        if way.fields.df && !frame.with_vnet(&vnet).fits(self.mtu) {
            self.refuse(&frame);
            written.refused += 1;
            return;
        }
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
        count(&self.line.counters.too_big);
        let Some(gateway) = &self.sender.gateway else {
            return;
        };
        if self.line.answers.answer(frame, self.mtu, gateway) {
            self.readiness.raise();
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
            match segments.write_next(train.room(self.sender.header)) {
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
        let room = &mut train.room(self.sender.header)[..bytes.len()];
        room.copy_from_slice(bytes);
        vnet.complete_checksum(room);
        mss::clamp(&VnetHeader::NONE, room, self.mtu);
        train.push(way, bytes.len());
        true
    }

    /// `false`: no train can carry such a frame.
    fn make_room(&self, train: &mut Train, way: Way, len: usize, written: &mut Written) -> bool {
        let segments_max = self.socket(way).segments_max();
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
        let socket = self.socket(way);
        let result = match way.fields.are_plain() {
            true => socket.send(&Transmit {
                destination: self.sender.remote,
                ecn: EcnCodepoint::from_bits(way.fields.tos),
                contents: train.payload(),
                segment_size: train.segment_size(),
                src_ip: None,
            }),
            false => {
                let payload = (train.payload(), train.segment_size());
                header::send(socket, self.sender.remote, payload, way.fields)
            }
        };
        *written += envelope::fate(train.frames, train.frame_bytes, result);
        train.clear();
    }

    fn way(&self, frame: &Frame<'_>) -> Way {
        Way {
            socket: self.line.flows.index(flow_hash(frame)),
            fields: self.sender.policy.fields(frame),
        }
    }

    fn socket(&self, way: Way) -> &TunnelSocket {
        self.line.flows(way.fields.df).socket(way.socket)
    }
}

thread_local! {
    /// Always left empty, so that all ports that a thread writes share it.
    static TRAIN: RefCell<Train> = RefCell::new(Train::new());
}
