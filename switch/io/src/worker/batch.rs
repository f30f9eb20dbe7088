//! Frames between their reading and their writing.

use std::sync::Arc;

use switch_core::{DropReason, Flow, Frame, PortId, Time, Verdict, VnetHeader};

use super::table::PortTable;
use crate::frame_port::FrameBuffer;
use crate::port::Port;

/// A set of places in a batch.
pub(super) type Places = u32;

/// Up to [`Batch::LEN`] classified frames. Where their bytes are is known to who reads and writes them.
#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Classified>,
}

/// A frame and what is to become of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classified {
    pub(super) ingress: PortId,
    pub(super) verdict: Verdict,
    pub(super) vnet: VnetHeader,
    pub(super) flow: Flow,
    /// Of the frame.
    pub(super) len: u32,
}

impl Batch {
    pub(super) const LEN: usize = 32;

    pub(super) fn new() -> Self {
        Self {
            entries: Vec::with_capacity(Self::LEN),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= Self::LEN
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn push(&mut self, classified: Classified) {
        debug_assert!(!self.is_full());
        self.entries.push(classified);
    }

    pub(super) fn entry(&self, place: usize) -> &Classified {
        &self.entries[place]
    }

    /// Every place in use.
    pub(super) fn places(&self) -> Places {
        (0..self.entries.len()).fold(0, |places, place| places | 1 << place)
    }

    /// The places among `pending` that share ingress and verdict with `place`.
    pub(super) fn class(&self, place: usize, pending: Places) -> Places {
        let model = &self.entries[place];
        let alike =
            |other: &Classified| other.ingress == model.ingress && other.verdict == model.verdict;
        select(pending, |other| alike(&self.entries[other]))
    }
}

/// The places of a set that `keep` wants; it is asked about each once, in order.
pub(super) fn select(places: Places, keep: impl Fn(usize) -> bool) -> Places {
    iter(places).fold(0, |kept, place| kept | u32::from(keep(place)) << place)
}

/// The places of a set, in order.
pub(super) fn iter(places: Places) -> impl Iterator<Item = usize> {
    let mut rest = places;
    std::iter::from_fn(move || {
        let place = usize::try_from(rest.trailing_zeros()).ok()?;
        let bit = 1_u32.checked_shl(rest.trailing_zeros())?;
        rest &= !bit;
        Some(place)
    })
}

/// Checks an envelope that came from `port`, puts the rebuilt vnet header into it, asks the bridge and counts.
pub(super) fn classify(port: &Port, worker: usize, now: Time, envelope: &mut [u8]) -> Classified {
    let counters = port.counters(worker);
    let len = u32::try_from(envelope.len().saturating_sub(VnetHeader::LEN)).unwrap_or(0);
    counters.add_rx(1, u64::from(len));
    let (verdict, vnet, flow) = match decide(port, now, envelope) {
        Ok(decided) => decided,
        Err(reason) => (Verdict::Drop(reason), VnetHeader::NONE, Flow::default()),
    };
    if let Verdict::Drop(reason) = verdict {
        counters.add_drop(reason);
    }
    Classified {
        ingress: port.id,
        verdict,
        vnet,
        flow,
        len,
    }
}

/// As [`classify`], for a frame that `reader` read into a buffer, which may say where it comes from and where alone it may go.
pub(super) fn classify_read(
    ports: &PortTable,
    reader: &Port,
    worker: usize,
    now: Time,
    buffer: &mut FrameBuffer,
) -> Classified {
    let port = ports.origin(buffer, reader);
    let mut classified = classify(port, worker, now, buffer.envelope_mut());
    if let Some(egress) = buffer.take_egress() {
        classified.verdict = confine(ports, port, worker, classified.verdict, egress);
    }
    classified
}

/// What the bridge would send anywhere goes to `egress`, as long as that is a port of the same network.
fn confine(
    ports: &PortTable,
    port: &Port,
    worker: usize,
    verdict: Verdict,
    egress: PortId,
) -> Verdict {
    if !matches!(
        verdict,
        Verdict::Unicast(_) | Verdict::Flood | Verdict::Group(_)
    ) {
        return verdict;
    }
    let is_here = |egress: &Port| Arc::ptr_eq(&egress.bridge, &port.bridge);
    if ports.port(egress).is_some_and(is_here) {
        return Verdict::Unicast(egress);
    }
    port.counters(worker).add_drop(DropReason::EgressGone);
    Verdict::Drop(DropReason::EgressGone)
}

fn decide(
    port: &Port,
    now: Time,
    envelope: &mut [u8],
) -> Result<(Verdict, VnetHeader, Flow), DropReason> {
    let (header, bytes) = envelope
        .split_at_mut_checked(VnetHeader::LEN)
        .ok_or(DropReason::Runt)?;
    if port.is_down() {
        return Err(DropReason::LinkDown);
    }
    let frame = Frame::parse(bytes)?;
    let vnet = VnetHeader::validate(header, &frame)?;
    header.copy_from_slice(&vnet.to_bytes());
    let verdict = port.bridge.forward(now, port.id, &frame.with_vnet(&vnet));
    Ok((verdict, vnet, Flow::of(&frame)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ingress: u32, verdict: Verdict) -> Classified {
        Classified {
            ingress: PortId(ingress),
            verdict,
            vnet: VnetHeader::NONE,
            flow: Flow::default(),
            len: 0,
        }
    }

    #[test]
    fn a_class_shares_ingress_and_verdict() {
        let mut batch = Batch::new();
        for (ingress, egress) in [(1, 2), (1, 3), (1, 2), (4, 2), (1, 2)] {
            batch.push(entry(ingress, Verdict::Unicast(PortId(egress))));
        }
        assert_eq!(batch.places(), 0b11111);
        assert_eq!(batch.class(0, batch.places()), 0b10101);
        assert_eq!(batch.class(3, 0b11010), 0b01000);
    }

    #[test]
    fn a_full_set_is_iterated_in_order() {
        assert!(iter(u32::MAX).eq(0..32));
        assert_eq!(iter(0).count(), 0);
    }
}
