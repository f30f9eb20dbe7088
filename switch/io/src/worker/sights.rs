//! What those are told who watch the frames of a network.

use switch_core::vlan::Tag;
use switch_core::{DropReason, PortId, Summary, Verdict};

use super::batch::{Batch, Classified, iter};
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
                let verdict = outcome(ports, ingress, entry);
                let is_denied = verdict == Verdict::Drop(DropReason::Acl);
                let denied = frame.filter(|_| is_denied);
                Sight {
                    ingress: ingress.id,
                    egress: None,
                    summary: frame.map(|frame| Summary::of(&frame)),
                    verdict,
                    denied: denied.and_then(|frame| ingress.bridge.denial(ingress.id, &frame)),
                    frames: 1,
                }
            });
        }
    }
}

/// The verdict, as far as it can be carried out now.
pub(super) fn outcome(ports: &PortTable, ingress: &Port, entry: &Classified) -> Verdict {
    let list = ingress.bridge.flood_list(ingress.id);
    let takes = |egress, tag: Tag| list.shape(egress, tag).is_some();
    let is_open = |egress: &PortId| {
        *egress != ingress.id
            && open(ports, *egress).is_some()
            && entry.tag.is_none_or(|tag| takes(*egress, tag))
    };
    match entry.verdict {
        Verdict::Unicast(egress) if open(ports, egress).is_none() => {
            Verdict::Drop(DropReason::EgressGone)
        }
        Verdict::Flood if !list.iter().any(is_open) => Verdict::Drop(DropReason::NoEgress),
        verdict => verdict,
    }
}
