//! What those are told who watch the frames of a network.

use switch_core::{DropReason, PortId, Summary, Verdict};

use super::batch::{Batch, iter};
use super::forward::{Courier, Forwarder, frame_of, open};
use super::table::PortTable;
use crate::observers::Sight;
use crate::port::Port;

impl Forwarder {
    /// Tells whoever watches of each frame of a batch.
    #[cold]
    pub(super) fn tell_of(&self, ports: &PortTable, batch: &Batch, courier: &impl Courier) {
        for place in iter(batch.places()) {
            let entry = batch.entry(place);
            let Some(ingress) = ports.port(entry.ingress) else {
                continue;
            };
            self.observers.tell(&ingress.bridge, || {
                let frame = frame_of(courier.envelope(place));
                Sight {
                    ingress: ingress.id,
                    egress: None,
                    summary: frame.map(|frame| Summary::of(&frame)),
                    verdict: outcome(ports, ingress, entry.verdict),
                    frames: 1,
                }
            });
        }
    }
}

/// The verdict, as far as it can be carried out now.
pub(super) fn outcome(ports: &PortTable, ingress: &Port, verdict: Verdict) -> Verdict {
    let is_open = |egress: &PortId| *egress != ingress.id && open(ports, *egress).is_some();
    match verdict {
        Verdict::Unicast(egress) if open(ports, egress).is_none() => {
            Verdict::Drop(DropReason::EgressGone)
        }
        Verdict::Flood if !ingress.bridge.flood_list(ingress.id).iter().any(is_open) => {
            Verdict::Drop(DropReason::NoEgress)
        }
        verdict => verdict,
    }
}
