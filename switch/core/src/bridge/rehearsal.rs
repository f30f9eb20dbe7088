//! What would become of frames that are only made up.
//!
//! # Theory of operation
//!
//! A rehearsal is a copy of the bridge: its ports with what is left of their budgets, its table, listeners, and who owns
//! which address. Frames are decided there by the same function as everywhere, and what they change, they change there. So
//! nothing is learned, counted or spent in the bridge itself, and a second frame of a rehearsal finds what the first one left.
//!
//! A copy costs memory and milliseconds by the size of the table; workers wait for it no longer than for a look at the table.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::Bridge;
use crate::trace::{Recorder, Step, Trace};
use crate::{Frame, PortId, Time, Verdict};

/// A copy of a bridge, for frames that nobody sends.
#[derive(Debug)]
pub struct Rehearsal(Bridge);

impl Bridge {
    /// A copy as it is now.
    pub fn rehearse(&self) -> Rehearsal {
        let topology = self.ports.load().copy();
        Rehearsal(Self {
            config: self.config,
            fdb: self.fdb.copy(),
            listeners: self.listeners.copy(),
            snooper: self
                .snooper
                .as_ref()
                .map(|snooper| Box::new(snooper.copy())),
            suspicion: AtomicBool::new(false),
            ports: ArcSwap::new(Arc::new(topology)),
            endpoints: Mutex::default(),
        })
    }
}

impl Rehearsal {
    /// What becomes of these bytes, an Ethernet frame without frame check sequence, when they come in by `ingress`.
    pub fn trace(&self, now: Time, ingress: PortId, bytes: &[u8]) -> Trace {
        match Frame::parse(bytes) {
            Ok(frame) => self.trace_frame(now, ingress, &frame),
            Err(reason) => Trace {
                steps: vec![Step::Malformed(reason)],
                verdict: Verdict::Drop(reason),
                egresses: Vec::new(),
            },
        }
    }

    fn trace_frame(&self, now: Time, ingress: PortId, frame: &Frame<'_>) -> Trace {
        let recorder = Recorder::default();
        let verdict = self.0.decide(now, ingress, frame, &recorder);
        let mut steps = recorder.into_steps();
        let egresses = match verdict {
            Verdict::Unicast(egress) => vec![egress],
            Verdict::Flood => {
                let (to, too_small) = self.flood(ingress, frame);
                steps.push(Step::Flood {
                    to: to.clone(),
                    too_small,
                });
                to
            }
            Verdict::Group(list) => {
                let (to, too_small) =
                    self.fitting(frame, self.0.group_list(ingress, list, frame).egresses());
                steps.push(Step::Flood {
                    to: to.clone(),
                    too_small,
                });
                to
            }
            Verdict::Reply => vec![ingress],
            Verdict::Probe | Verdict::Taken | Verdict::Drop(_) => Vec::new(),
        };
        Trace {
            steps,
            verdict,
            egresses,
        }
    }

    /// The ports of a flood, and those that carry no frame of this length.
    fn flood(&self, ingress: PortId, frame: &Frame<'_>) -> (Vec<PortId>, Vec<PortId>) {
        let list = self.0.flood_list(ingress);
        self.fitting(
            frame,
            list.iter().copied().filter(|egress| *egress != ingress),
        )
    }

    fn fitting(
        &self,
        frame: &Frame<'_>,
        egresses: impl Iterator<Item = PortId>,
    ) -> (Vec<PortId>, Vec<PortId>) {
        egresses.partition(|egress| {
            let config = self.0.port_config(*egress);
            config.is_some_and(|config| frame.fits(config.mtu))
        })
    }

    /// The bridge that it is a copy of, as the frames so far have changed it.
    pub const fn bridge(&self) -> &Bridge {
        &self.0
    }
}
