//! The edge's port on its network's bridge.
//!
//! # Theory of operation
//!
//! A question whose answer is known (a name of the network, or what an upstream said before) is answered by the worker
//! that carries it here: the answer goes into the queue towards the bridge that the edge's own frames take. Two threads
//! need not wake each other for it, which costs more than the answer. Everything else is queued for the edge's task.
//! While somebody reads the log of queries all of it is, because the task keeps the log.
//!
//! Questions are strangers' bytes. What one of them makes panic is its loss alone: it is refused here, before it could end the
//! worker.
//!
//! Who asks is the port by which the frame came in. What waits, in both directions, waits in that port's lane, so a flood of
//! questions is its sender's loss alone.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dns_core::Carrier;
use switch_core::edge::{EdgeConfig, Question};
use switch_core::{PortId, VnetHeader};
use switch_io::{Capabilities, ChannelEnd, ChannelPort, FrameBuffer, FramePort, Written};

use super::counts::Counts;
use super::names::{Decision, Names};
use crate::panics::contained;

pub(super) struct EdgePort {
    pub(super) port: ChannelPort,
    pub(super) end: Arc<ChannelEnd>,
    pub(super) config: EdgeConfig,
    pub(super) names: Arc<Names>,
    pub(super) counts: Arc<Counts>,
}

impl EdgePort {
    /// The frame that answers, if that can be had now.
    fn answer(&self, ingress: PortId, envelope: &[u8]) -> Option<Vec<u8>> {
        let question = Question::parse(&self.config, envelope.get(VnetHeader::LEN..)?)?;
        let decision = self.names.decide(ingress, Carrier::Udp, question.message());
        let Decision::Answer(outcome, message) = decision else {
            return None;
        };
        if message.is_empty() {
            return None;
        }
        let frame = question.reply(&self.config, &message)?;
        self.names.count(outcome);
        self.counts.answered.fetch_add(1, Ordering::Relaxed);
        Some(frame)
    }
}

impl FramePort for EdgePort {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        self.port.read(buffers)
    }

    /// Who came by no port has none by which an answer could reach him.
    fn write(&self, envelopes: &[&[u8]]) -> Written {
        Written {
            refused: u64::try_from(envelopes.len()).unwrap_or(u64::MAX),
            ..Written::default()
        }
    }

    fn write_from(&self, ingress: PortId, envelopes: &[&[u8]]) -> Written {
        if self.names.is_watched() {
            return self.port.write_for(ingress, envelopes);
        }
        let mut written = Written::default();
        for envelope in envelopes {
            // A worker carries others' frames too.
            let Some(answer) = contained(|| self.answer(ingress, envelope)) else {
                written.refused += 1;
                continue;
            };
            match answer {
                Some(frame) => {
                    // A full queue towards the bridge drops the frame and counts it there.
                    self.end.send_to(ingress, &frame);
                    written.count_sent(envelope);
                }
                None => written += self.port.write_for(ingress, &[envelope]),
            }
        }
        written
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.port.capabilities()
    }

    fn unread(&self) -> u64 {
        self.port.unread()
    }
}
