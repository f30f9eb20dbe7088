//! What the datagrams of one frame are, before they are made.

use super::cut::Step;
use crate::quic_frame::DatagramHeader;

/// How one frame becomes datagrams.
#[derive(Debug)]
pub(super) struct Plan {
    /// The header of the first datagram.
    pub(super) header: DatagramHeader,
    /// Bytes at the start of the frame that pieces repeat.
    pub(super) headers_len: usize,
    pub(super) count: usize,
    pub(super) step: Step,
}

impl Plan {
    pub(super) const fn whole(header: DatagramHeader) -> Self {
        Self {
            header,
            headers_len: 0,
            count: 1,
            step: Step::Aligned { step: usize::MAX },
        }
    }

    pub(super) const fn has_headers(&self, index: usize) -> bool {
        match self.step {
            Step::Aligned { .. } => true,
            Step::Even { .. } => index == 0 || index + 1 == self.count,
        }
    }

    pub(super) fn payload_len(&self, index: usize, at: usize, whole: usize) -> usize {
        let len = match self.step {
            Step::Aligned { step } => step,
            Step::Even { total } => {
                let (base, longer) = (total / self.count, total % self.count);
                let headers = if self.has_headers(index) {
                    self.headers_len
                } else {
                    0
                };
                base + usize::from(index < longer) - headers
            }
        };
        len.min(whole - at)
    }

    pub(super) fn header(&self, inner: usize, at: usize) -> DatagramHeader {
        // Both were checked to fit when the plan was made.
        let (inner, at) = (
            u16::try_from(inner).unwrap_or(0),
            u16::try_from(at).unwrap_or(0),
        );
        let mut header = self.header;
        match &mut header {
            DatagramHeader::Piece {
                offset, header_len, ..
            } => {
                *offset = at;
                *header_len = inner;
            }
            DatagramHeader::Fragment { offset, .. } => *offset = at,
            _ => {}
        }
        header
    }
}
