//! What would become of frames that are only made up.
//!
//! # Theory of operation
//!
//! A rehearsal is a copy of the bridge: its ports with what is left of their budgets, its table, listeners, and who owns
//! which address. Frames are decided there by the same function as everywhere, and what they change, they change there. So
//! nothing is learned, counted or spent in the bridge itself, and a second frame of a rehearsal finds what the first one left.
//!
//! A copy costs memory and milliseconds by the size of the table; workers wait for it no longer than for a look at the table.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::{Bridge, FloodList, Passed, Withheld};
use crate::multicast::Snoopers;
use crate::suspicion::Suspicion;
use crate::trace::{Recorder, Step, Trace};
use crate::vlan::Tag;
use crate::{FloodKind, Frame, PortId, Time, Verdict};

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
            snoopers: self.snoopers.as_ref().map(Snoopers::copy),
            suspicion: Suspicion::default(),
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
        let Passed { verdict, tag } = self.0.decide(now, ingress, frame, &recorder);
        let mut steps = recorder.into_steps();
        let egresses = match verdict {
            Verdict::Unicast(egress) => vec![egress],
            Verdict::Flood => {
                let list = self.0.flood_list(ingress);
                let belongs = |egress: &PortId| *egress != ingress && list.takes(*egress, tag);
                let others = list.iter().copied().filter(belongs);
                let frame = &tag.map_or(*frame, |tag: Tag| tag.beneath(*frame));
                self.spread(
                    frame,
                    others,
                    |egress| list.judge(egress, frame),
                    &list,
                    &mut steps,
                )
            }
            Verdict::Group(group) => {
                let frame = &tag.map_or(*frame, |tag: Tag| tag.beneath(*frame));
                let asked = self.0.group_list(ingress, (group, tag), frame);
                let list = self.0.flood_list(ingress);
                let belongs = |egress: &PortId| list.takes(*egress, tag);
                let others = asked.egresses().filter(belongs);
                let judge = |egress| list.judge_asked(egress, frame);
                self.spread(frame, others, judge, &list, &mut steps)
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

    /// The ports that get a copy; notes which carry no frame of this length, get no floods of this kind, or may not have it.
    fn spread(
        &self,
        frame: &Frame<'_>,
        egresses: impl Iterator<Item = PortId>,
        judge: impl Fn(PortId) -> Result<(), Withheld>,
        list: &FloodList,
        steps: &mut Vec<Step>,
    ) -> Vec<PortId> {
        let (mut off, mut denied, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for egress in egresses {
            match (judge(egress), list.judgement(egress, frame)) {
                (Err(Withheld::Off), _) => off.push(egress),
                (Err(Withheld::Dropped(_)), Some(judged)) => {
                    denied.push(Step::Acl { egress, judged });
                }
                _ => left.push(egress),
            }
        }
        let (to, too_small) = self.fitting(frame, left.into_iter());
        if !off.is_empty() {
            let kind = FloodKind::of(frame.dst());
            steps.push(Step::FloodOff { kind, ports: off });
        }
        let is_denied = !denied.is_empty() && to.is_empty() && too_small.is_empty();
        steps.extend(denied);
        if !is_denied {
            steps.push(Step::Flood {
                to: to.clone(),
                too_small,
            });
        }
        to
    }

    /// Those that carry a frame of this length, and those that do not.
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
