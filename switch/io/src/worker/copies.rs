//! Shows what passes a port to whoever wants to see it: captures, and the port that a mirror leads to.
//!
//! # Theory of operation
//!
//! A frame that came in is shown once its verdict is known. One that leaves is shown when its device has taken it, with why not if it
//! has not; where the kernel takes it later, as if it had. A mirror's copies are no frames of the network: they are decided about by
//! nobody, are mirrored no further, and what becomes of them is counted at the port that they are written to.

use std::time::SystemTime;

use switch_core::{DropReason, PortId, PortKind, Verdict, VnetHeader};

use super::batch::{Places, iter, select};
use super::forward::{Class, Courier, Forwarder, frame_of, open, settle};
use super::table::PortTable;
use crate::capture::{Direction, Sight};
use crate::frame_port::Written;
use crate::port::Port;

impl Forwarder {
    /// Frames that came in.
    pub(super) fn show_received(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        verdict: Verdict,
        courier: &mut impl Courier,
    ) {
        let dropped = match verdict {
            Verdict::Drop(reason) => Some(reason),
            _ => None,
        };
        let outfit = &class.ingress.outfit;
        if outfit.is_recorded() {
            self.record(class.ingress, Direction::In, class.places, dropped, courier);
        }
        if let Some(to) = outfit.mirror
            && dropped != Some(DropReason::LinkDown)
        {
            let places = select(class.places, |place| {
                let vnet = class.batch.entry(place).vnet;
                dropped.is_none() || is_sound(&vnet, courier.envelope(place))
            });
            self.mirror(ports, class, places, to, courier);
        }
    }

    /// Frames that `port` was given, or was not.
    pub(super) fn show_sent(
        &self,
        port: &Port,
        places: Places,
        dropped: Option<DropReason>,
        courier: &impl Courier,
    ) {
        self.record(port, Direction::Out, places, dropped, courier);
    }

    /// The answer that was just written to the port that asked.
    pub(super) fn show_reply(
        &mut self,
        ports: &PortTable,
        port: &Port,
        written: Written,
        courier: &mut impl Courier,
    ) {
        let sight = Sight {
            time: SystemTime::now(),
            direction: Direction::Out,
            envelope: self.scratch.envelope(),
            dropped: written.sole_reason(),
        };
        port.outfit.record(self.worker, &sight);
        if let Some(entry) = port.outfit.mirror.and_then(|to| open(ports, to))
            && !entry.port.is_down()
        {
            settle(entry, courier);
            self.write(&entry.port, &entry.port, &[self.scratch.envelope()]);
            self.busy.with(port.id);
        }
    }

    /// The link of `egress` is down: what should leave there does not.
    pub(super) fn miss(&self, class: &Class<'_>, egress: &Port, courier: &impl Courier) {
        let count = u64::from(class.places.count_ones());
        egress.add_drops(self.worker, DropReason::LinkDown, count);
        if egress.outfit.is_recorded() {
            self.show_sent(egress, class.places, Some(DropReason::LinkDown), courier);
        }
    }

    /// Writes to a device and shows what became of it. One frame at a time, so that it is known of each, but to a tunnel, which sends
    /// frames together.
    pub(super) fn write_recorded(&self, ingress: &Port, egress: &Port, envelopes: &[&[u8]]) {
        let together = match egress.config.kind {
            PortKind::Tunnel => envelopes.len().max(1),
            _ => 1,
        };
        for envelopes in envelopes.chunks(together) {
            let time = SystemTime::now();
            let dropped = self.hand(ingress, egress, envelopes).sole_reason();
            for envelope in envelopes {
                let sight = Sight {
                    time,
                    direction: Direction::Out,
                    envelope,
                    dropped,
                };
                egress.outfit.record(self.worker, &sight);
            }
        }
    }

    /// Writes copies to the port that a mirror leads to.
    pub(super) fn mirror(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        places: Places,
        to: PortId,
        courier: &mut impl Courier,
    ) {
        let Some(entry) = open(ports, to).filter(|_| places != 0) else {
            return;
        };
        let port = &*entry.port;
        let fitting = select(places, |place| {
            port.config.mtu >= class.ingress.config.mtu
                || frame_of(courier.envelope(place)).is_some_and(|frame| {
                    let vnet = class.batch.entry(place).vnet;
                    frame.with_vnet(&vnet).fits(port.config.mtu)
                })
        });
        let long = u64::from((places & !fitting).count_ones());
        port.add_drops(self.worker, DropReason::Oversize, long);
        let copies = Class {
            ingress: port,
            batch: class.batch,
            places: fitting,
        };
        match port.is_down() {
            true => self.miss(&copies, port, courier),
            false => self.bring(&copies, entry, fitting, courier),
        }
        self.busy.with(class.ingress.id);
    }

    fn record(
        &self,
        port: &Port,
        direction: Direction,
        places: Places,
        dropped: Option<DropReason>,
        courier: &impl Courier,
    ) {
        if places == 0 {
            return;
        }
        let time = SystemTime::now();
        for place in iter(places) {
            let sight = Sight {
                time,
                direction,
                envelope: courier.envelope(place),
                dropped,
            };
            port.outfit.record(self.worker, &sight);
        }
    }
}

/// Whether a frame that was dropped may be given to a device: its header is the one that was built for it.
fn is_sound(vnet: &VnetHeader, envelope: &[u8]) -> bool {
    envelope.starts_with(&vnet.to_bytes()) && frame_of(envelope).is_some()
}
