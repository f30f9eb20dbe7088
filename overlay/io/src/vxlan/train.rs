//! Datagrams that leave together.
//!
//! # Theory of operation
//!
//! The kernel cuts one long payload into datagrams of equal length, the last of which may be shorter (`UDP_SEGMENT`, udp(7)).
//! A [`Train`] collects such a payload: a datagram joins while it has the same socket and outer header, no more than the length
//! of the first, and the train is not closed by a shorter one.

use overlay_core::{OuterFields, VxlanHeader};

use crate::socket::SEND_LEN_MAX;

/// The payload of one send.
#[derive(Debug)]
pub(super) struct Train {
    bytes: Box<[u8]>,
    len: usize,
    segment_len: usize,
    segments: usize,
    closed: bool,
    /// What the next datagrams must share.
    way: Way,
    /// Frames whose last datagram is in the train, and their bytes.
    pub(super) frames: u64,
    pub(super) frame_bytes: u64,
}

/// How a datagram leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Index of the sending socket.
    pub(super) socket: usize,
    pub(super) fields: OuterFields,
}

impl Train {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; SEND_LEN_MAX].into_boxed_slice(),
            len: 0,
            segment_len: 0,
            segments: 0,
            closed: false,
            way: Way::default(),
            frames: 0,
            frame_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Length of each datagram but the last; `None` when there is only one.
    pub(super) fn segment_size(&self) -> Option<usize> {
        (self.segments > 1).then_some(self.segment_len)
    }

    /// Whether a datagram with a frame of up to `frame_len` bytes may join; an empty train takes any that fits at all.
    pub(super) fn admits(&self, way: Way, frame_len: usize, segments_max: usize) -> bool {
        let len = VxlanHeader::LEN + frame_len;
        let joins = self.is_empty()
            || !self.closed
                && self.way == way
                && len <= self.segment_len
                && self.segments < segments_max;
        joins && self.len + len <= self.bytes.len()
    }

    /// Room for a frame behind `header`; [`Self::push`] makes a datagram of them.
    pub(super) fn room(&mut self, header: [u8; VxlanHeader::LEN]) -> &mut [u8] {
        let (head, rest) = self.bytes[self.len..].split_at_mut(VxlanHeader::LEN);
        head.copy_from_slice(&header);
        rest
    }

    /// Takes the frame of `frame_len` bytes that was written to [`Self::room`].
    pub(super) fn push(&mut self, way: Way, frame_len: usize) {
        let len = VxlanHeader::LEN + frame_len;
        if self.is_empty() {
            self.way = way;
            self.segment_len = len;
        }
        self.closed = len < self.segment_len;
        self.len += len;
        self.segments += 1;
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.segments = 0;
        self.closed = false;
        self.frames = 0;
        self.frame_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way {
        socket: 0,
        fields: OuterFields {
            tos: 0,
            ttl: None,
            df: true,
        },
    };

    fn push(train: &mut Train, len: usize) -> bool {
        let admitted = train.admits(WAY, len, 64);
        if admitted {
            train.room([8, 0, 0, 0, 0, 0, 1, 0])[..len].fill(7);
            train.push(WAY, len);
        }
        admitted
    }

    #[test]
    fn equal_datagrams_join_and_a_shorter_one_is_the_last() {
        let mut train = Train::new();
        assert!(push(&mut train, 100));
        assert_eq!(train.segment_size(), None);
        assert!(push(&mut train, 100) && push(&mut train, 60));
        assert_eq!(train.segment_size(), Some(108));
        assert_eq!(train.payload().len(), 108 + 108 + 68);
        assert!(!push(&mut train, 60) && !push(&mut train, 100));
        train.clear();
        assert!(push(&mut train, 60) && !push(&mut train, 61));
    }

    #[test]
    fn a_train_has_one_way_and_a_greatest_length() {
        let mut train = Train::new();
        while push(&mut train, 1500) {}
        assert_eq!(train.payload().len() / 1508, 43);
        train.clear();
        assert!(push(&mut train, 10));
        let other = Way {
            fields: OuterFields {
                tos: 3,
                ..WAY.fields
            },
            ..WAY
        };
        assert!(!train.admits(other, 10, 64) && train.admits(WAY, 10, 64));
        assert!(!train.admits(WAY, 10, 1));
    }
}
