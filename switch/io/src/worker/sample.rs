//! Takes samples of what passes.

use std::num::NonZeroU32;

use switch_core::{Segments, Summary, Verdict, VnetHeader};

use super::batch::{Batch, Classified, iter};
use super::forward::{Courier, Forwarder, frame_of};
use super::sights::outcome;
use super::table::PortTable;
use crate::frame_port::FrameBuffer;
use crate::port::Port;
use crate::sampling::FlowSample;

impl Forwarder {
    /// Takes one in `every` of the frames of a batch, and those that were dropped.
    #[cold]
    pub(super) fn sample(
        &mut self,
        every: NonZeroU32,
        ports: &PortTable,
        batch: &Batch,
        courier: &impl Courier,
    ) {
        for place in iter(batch.places()) {
            let entry = batch.entry(place);
            let envelope = courier.envelope(place);
            let wire = entry
                .vnet
                .on_wire(envelope.len().saturating_sub(VnetHeader::LEN));
            let times = self.sampler.take(every, wire.0);
            if times == 0 && !matches!(entry.verdict, Verdict::Drop(_)) {
                continue;
            }
            let Some(ingress) = ports.port(entry.ingress) else {
                continue;
            };
            let scratch = &mut self.scratch;
            self.sampling.put(self.worker, || {
                let verdict = outcome(ports, ingress, entry);
                let taken = Taken {
                    every,
                    times,
                    wire,
                    verdict,
                };
                taken.sample(ingress, entry, envelope, scratch)
            });
        }
    }
}

/// A frame that is taken.
struct Taken {
    every: NonZeroU32,
    times: u32,
    wire: (u32, u64),
    verdict: Verdict,
}

impl Taken {
    /// `None` for what is no frame.
    fn sample(
        &self,
        ingress: &Port,
        entry: &Classified,
        envelope: &[u8],
        scratch: &mut FrameBuffer,
    ) -> Option<FlowSample> {
        let frame = frame_of(envelope)?;
        let what = (ingress.id, self.verdict, Summary::of(&frame));
        let sample = FlowSample::new(what, (self.every, self.times), self.wire);
        let Some(mut segments) = Segments::new(&entry.vnet, &frame) else {
            return Some(sample.with_head(frame.bytes()));
        };
        // Who reads the headers shall find lengths that were ever on a wire.
        let room = scratch.bare_space();
        let len = segments.write_next(room)?;
        Some(sample.with_head(&room[..len]))
    }
}
