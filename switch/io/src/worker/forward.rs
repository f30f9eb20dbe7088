//! Sends a classified batch, class by class.
//!
//! # Theory of operation
//!
//! Frames of one ingress with one verdict are a class and are sent together. A frame goes to an egress as it is if the
//! egress admits it unfinished; otherwise it is *lowered*: cut into segments with complete checksums. To an egress that does
//! not admit all of a class its frames go one by one, so that they stay in order. In a flood a frame is lowered once, and
//! every segment goes to all the weak ports before the next is made.

use switch_core::vlan::{Tag, TagChange};
use switch_core::{
    DropReason, Frame, ListId, PortId, Sampler, Segments, Verdict, VnetHeader, Withheld,
};

use super::audience::{Asked, Audience, Everybody};
use super::batch::{Batch, Places, iter, select};
use super::busy::Busy;
use super::join::{Joiner, concerns};
use super::setup::Setup;
use super::table::{Entry, PortTable};
use super::tally::Tally;
use super::variants::Variants;
use crate::frame_port::{Capabilities, FrameBuffer, Written};
use crate::lookout::Lookout;
use crate::observers::Observers;
use crate::port::Port;
use crate::sampling::Sampling;

/// Knows where the frames of a batch are.
pub(super) trait Courier {
    /// The frame at `place`, in its envelope.
    fn envelope(&self, place: usize) -> &[u8];

    /// Starts writes to `egress` whose outcome is counted later, and returns the places for which it could not.
    fn start(&mut self, egress: &Entry, places: Places) -> Places;

    /// Carries out the writes that were started, so that what is written after this arrives after them.
    fn settle(&mut self);

    /// Changes the tag of the frame at `place`, and its header `vnet` with it; false where something has its bytes in use.
    fn retag(&mut self, place: usize, change: TagChange, vnet: &VnetHeader) -> bool;
}

/// What sending takes beside the batch.
pub(super) struct Forwarder {
    pub(super) worker: usize,
    /// Whose frames it moves, or whose device has them.
    pub(super) busy: Busy,
    lookout: Lookout,
    pub(super) observers: Observers,
    pub(super) sampling: Sampling,
    pub(super) sampler: Sampler,
    /// One lowered frame or reply.
    pub(super) scratch: FrameBuffer,
    joiner: Option<Joiner>,
    tally: Tally,
    pub(super) variants: Variants,
}

impl Forwarder {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            worker: setup.index,
            busy: setup.busy.clone(),
            lookout: setup.lookout.clone(),
            observers: setup.observers.clone(),
            sampling: setup.sampling.clone(),
            sampler: Sampler::new(seed(setup)),
            scratch: FrameBuffer::new(),
            joiner: setup.join.then(Joiner::new),
            tally: setup.tally.clone(),
            variants: Variants::default(),
        }
    }

    /// Sends every frame of `batch` where its verdict says.
    pub(super) fn dispatch(
        &mut self,
        ports: &PortTable,
        batch: &mut Batch,
        courier: &mut impl Courier,
    ) {
        self.tally.note(batch.len());
        if self.observers.are_there() {
            self.tell_of(ports, batch, courier);
        }
        if let Some(every) = self.sampling.every() {
            self.sample(every, ports, batch, courier);
        }
        let mut pending = batch.places();
        while let Some(place) = iter(pending).next() {
            let class = batch.class(place, pending);
            pending &= !class;
            let entry = *batch.entry(place);
            let Some(ingress) = ports.port(entry.ingress) else {
                continue;
            };
            self.busy.with(ingress.id);
            if let Some(vlan) = ingress.bridge.take_suspicion() {
                self.lookout.suspect(&ingress.bridge, vlan);
            }
            if ingress.bridge.take_call() {
                self.lookout.call(&ingress.bridge);
            }
            let places = class;
            let class = Class {
                ingress,
                batch,
                places,
            };
            if ingress.outfit.is_watched() {
                self.show_received(ports, &class, entry.verdict, courier);
            }
            match entry.verdict {
                Verdict::Drop(DropReason::BpduGuard) => {
                    self.lookout.saw_bpdu(&ingress.bridge, ingress.id);
                }
                Verdict::Drop(_) | Verdict::Taken => {}
                Verdict::Unicast(egress) => match entry.tag {
                    None => self.unicast(ports, &class, egress, courier),
                    Some(tag) => {
                        let frames = (ingress, places);
                        self.unicast_in_vlan(ports, batch, frames, (egress, tag), courier);
                    }
                },
                Verdict::Flood => match entry.tag {
                    None => self.flood(ports, &class, courier),
                    Some(tag) => self.flood_in_vlan(ports, &class, tag, courier),
                },
                Verdict::Group(list) => match entry.tag {
                    None => self.group(ports, &class, list, courier),
                    Some(tag) => self.group_in_vlan(ports, &class, (list, tag), courier),
                },
                Verdict::Reply => self.reply(ports, &class, courier),
                Verdict::Probe => self.tell_of_probes(&class, courier),
            }
        }
    }

    pub(super) fn unicast(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        egress: PortId,
        courier: &mut impl Courier,
    ) {
        let Some(entry) = open(ports, egress) else {
            return self.drop_all(class, DropReason::EgressGone);
        };
        if entry.port.is_down() {
            return self.miss(class, &entry.port, courier);
        }
        let fitting = self.fitting(class, &entry.port, courier);
        if let Some(to) = entry.port.outfit.mirror {
            self.mirror(ports, class, fitting, to, courier);
        }
        self.bring(class, entry, fitting, courier);
    }

    /// Sends frames to one port, finished where it needs that.
    pub(super) fn bring(
        &mut self,
        class: &Class<'_>,
        egress: &Entry,
        places: Places,
        courier: &mut impl Courier,
    ) {
        if class.suits(&egress.port) {
            return self.send(class, egress, places, courier);
        }
        self.one_by_one(class, places, courier, || std::iter::once(&*egress.port));
    }

    fn flood(&mut self, ports: &PortTable, class: &Class<'_>, courier: &mut impl Courier) {
        let everybody = Everybody::at(class.ingress);
        if !self.spread_among(ports, class, &everybody, |_| true, courier) {
            self.drop_all(class, DropReason::NoEgress);
        }
    }

    /// To those who asked for a group.
    fn group(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        list: ListId,
        courier: &mut impl Courier,
    ) {
        if let Some(asked) = class.asked((list, None), courier)
            && !self.spread_among(ports, class, &asked, |_| true, courier)
        {
            self.drop_all(class, DropReason::NoEgress);
        }
    }

    /// To those of an audience that take it. Whether there is any.
    pub(super) fn spread_among(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        audience: &impl Audience,
        takes: impl Fn(PortId) -> bool,
        courier: &mut impl Courier,
    ) -> bool {
        let egresses = || audience.egresses().filter(|egress| takes(*egress));
        let tag = class.tag();
        let judge = |egress, frame: &Frame<'_>| match tag {
            None => audience.judge(egress, frame),
            Some(tag) => audience.judge(egress, &tag.beneath(*frame)),
        };
        let judge = audience.list().is_selective().then_some(judge);
        self.spread(ports, class, egresses, judge, courier)
    }

    /// Sends frames to several ports; where somebody judges, only those that are let through. Whether there is any port.
    fn spread<Egresses: Iterator<Item = PortId>>(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        list: impl Fn() -> Egresses,
        judge: Option<impl Fn(PortId, &Frame<'_>) -> Result<(), Withheld>>,
        courier: &mut impl Courier,
    ) -> bool {
        let egresses = || list().filter_map(|egress| open(ports, egress));
        if egresses().next().is_none() {
            return false;
        }
        let mut weak = 0;
        for egress in egresses() {
            if egress.port.is_down() {
                self.miss(class, &egress.port, courier);
                continue;
            }
            let mut fitting = self.fitting(class, &egress.port, courier);
            if let Some(judge) = &judge {
                fitting = self.admitted(judge, &egress.port, fitting, courier);
            }
            if let Some(to) = egress.port.outfit.mirror {
                self.mirror(ports, class, fitting, to, courier);
            }
            if class.suits(&egress.port) {
                self.send(class, egress, fitting, courier);
            } else if judge.is_some() {
                // Others may not get all of them.
                self.one_by_one(class, fitting, courier, || std::iter::once(&*egress.port));
            } else {
                weak |= fitting;
            }
        }
        if weak != 0 {
            self.one_by_one(class, weak, courier, || {
                egresses()
                    .map(|egress| &*egress.port)
                    .filter(|port| !class.suits(port) && !port.is_down())
            });
        }
        true
    }

    /// The places whose flooded frames the egress shall get; what it may not have is counted there.
    #[cold]
    fn admitted(
        &self,
        judge: &impl Fn(PortId, &Frame<'_>) -> Result<(), Withheld>,
        egress: &Port,
        places: Places,
        courier: &impl Courier,
    ) -> Places {
        select(places, |place| {
            let Some(frame) = frame_of(courier.envelope(place)) else {
                return false;
            };
            match judge(egress.id, &frame) {
                Ok(()) => true,
                Err(Withheld::Off) => false,
                Err(Withheld::Dropped(reason)) => {
                    egress.counters(self.worker).add_drop(reason);
                    false
                }
            }
        })
    }

    /// Sends frames to ports that do not admit all of them. One by one, because a flow may have frames of both kinds.
    fn one_by_one<'p, Sinks: Iterator<Item = &'p Port>>(
        &mut self,
        class: &Class<'_>,
        places: Places,
        courier: &mut impl Courier,
        sinks: impl Fn() -> Sinks,
    ) {
        courier.settle();
        for place in iter(places) {
            let vnet = class.batch.entry(place).vnet;
            let envelope = courier.envelope(place);
            let fitting = || sinks().filter(|port| fits(class, place, port, envelope));
            let admits = |port: &&Port| port.capabilities.admit(&vnet);
            for port in fitting().filter(admits) {
                self.write(class.ingress, port, &[envelope]);
            }
            if !fitting().all(|port| admits(&port)) {
                self.lower(class, place, envelope, |write| {
                    fitting().filter(|port| !admits(port)).for_each(write);
                });
            }
        }
    }

    fn reply(&mut self, ports: &PortTable, class: &Class<'_>, courier: &mut impl Courier) {
        for place in iter(class.places) {
            let Some(frame) = frame_of(courier.envelope(place)) else {
                continue;
            };
            let room = &mut self.scratch.bare_space()[..switch_core::Bridge::REPLY_LEN_MAX];
            let len = class.ingress.bridge.reply(class.ingress.id, &frame, room);
            if len > 0 {
                self.scratch.set_bare_len(len);
                let written = class.ingress.device.write(&[self.scratch.envelope()]);
                self.count(class.ingress, class.ingress, written);
                if class.ingress.outfit.is_watched() {
                    self.show_reply(ports, class.ingress, written, courier);
                }
            }
        }
    }

    fn tell_of_probes(&self, class: &Class<'_>, courier: &impl Courier) {
        let bridge = &class.ingress.bridge;
        for place in iter(class.places) {
            let frame = frame_of(courier.envelope(place));
            if let Some(probe) = frame.and_then(|frame| bridge.probe(&frame)) {
                self.lookout.saw(bridge, probe, class.ingress.id);
            }
        }
    }

    /// Sends frames to an egress that admits them as they are.
    fn send(
        &mut self,
        class: &Class<'_>,
        egress: &Entry,
        places: Places,
        courier: &mut impl Courier,
    ) {
        let port = &*egress.port;
        if self.is_worth_joining(class, port, places, courier) {
            settle(egress, courier);
            if port.outfit.is_recorded() {
                self.show_sent(port, places, None, courier);
            }
            return self.join(class, port, places, courier);
        }
        let rest = match port.device.raw_tap() {
            Some(_) => courier.start(egress, places),
            None => places,
        };
        if port.outfit.is_recorded() {
            self.show_sent(port, places & !rest, None, courier);
        }
        if rest != 0 {
            settle(egress, courier);
            let mut envelopes = [&[][..]; Batch::LEN];
            let mut count = 0;
            for place in iter(rest) {
                envelopes[count] = courier.envelope(place);
                count += 1;
            }
            self.write(class.ingress, port, &envelopes[..count]);
        }
    }

    fn is_worth_joining(
        &self,
        class: &Class<'_>,
        egress: &Port,
        places: Places,
        courier: &impl Courier,
    ) -> bool {
        let joining = egress.config.joining;
        self.joiner.is_some()
            && iter(places).nth(Joiner::FRAMES_MIN - 1).is_some()
            && egress.capabilities == Capabilities::ALL
            && egress.device.raw_tap().is_some()
            && !iter(places).any(|place| class.batch.entry(place).vnet.is_superframe())
            && iter(places)
                .filter(|place| concerns(joining, courier.envelope(*place)))
                .nth(Joiner::FRAMES_MIN - 1)
                .is_some()
    }

    fn join(&mut self, class: &Class<'_>, egress: &Port, places: Places, courier: &impl Courier) {
        let Some(joiner) = &mut self.joiner else {
            return;
        };
        let envelopes =
            iter(places).map(|place| (class.batch.entry(place).vnet, courier.envelope(place)));
        let written = joiner.send(egress, envelopes);
        self.count(class.ingress, egress, written);
    }

    /// The places whose frames the egress link can carry; the others are counted.
    fn fitting(&self, class: &Class<'_>, egress: &Port, courier: &impl Courier) -> Places {
        if egress.config.mtu >= class.ingress.config.mtu {
            return class.places;
        }
        select(class.places, |place| {
            let fits = fits(class, place, egress, courier.envelope(place));
            if !fits {
                egress.counters(self.worker).add_drop(DropReason::Oversize);
            }
            fits
        })
    }

    /// Sends one frame, cut and with its checksums complete, to every sink that `each_sink` names.
    fn lower(
        &mut self,
        class: &Class<'_>,
        place: usize,
        envelope: &[u8],
        each_sink: impl Fn(&mut dyn FnMut(&Port)),
    ) {
        let vnet = class.batch.entry(place).vnet;
        let Some(frame) = frame_of(envelope) else {
            return;
        };
        let Some(mut segments) = Segments::new(&vnet, &frame) else {
            let bytes = frame.bytes();
            let room = &mut self.scratch.bare_space()[..bytes.len()];
            room.copy_from_slice(bytes);
            vnet.complete_checksum(room);
            self.scratch.set_bare_len(bytes.len());
            each_sink(&mut |sink| self.write_scratch(class, sink));
            return;
        };
        while let Some(len) = segments.write_next(self.scratch.bare_space()) {
            self.scratch.set_bare_len(len);
            each_sink(&mut |sink| self.write_scratch(class, sink));
        }
    }

    fn write_scratch(&self, class: &Class<'_>, sink: &Port) {
        self.write(class.ingress, sink, &[self.scratch.envelope()]);
    }

    /// Writes to a device, which is to blame for what happens meanwhile.
    pub(super) fn write(&self, ingress: &Port, egress: &Port, envelopes: &[&[u8]]) {
        if egress.outfit.is_recorded() {
            return self.write_recorded(ingress, egress, envelopes);
        }
        self.hand(ingress, egress, envelopes);
    }

    pub(super) fn hand(&self, ingress: &Port, egress: &Port, envelopes: &[&[u8]]) -> Written {
        self.busy.with(egress.id);
        let written = egress.device.write_from(ingress.id, envelopes);
        self.busy.with(ingress.id);
        self.count(ingress, egress, written);
        written
    }

    /// Books an outcome: what was sent, and what the egress did not take, on the egress; other drops on the ingress.
    pub(super) fn count(&self, ingress: &Port, egress: &Port, written: Written) {
        if written.frames > 0 {
            egress
                .counters(self.worker)
                .add_tx(written.frames, written.bytes);
        }
        for (reason, count) in written.drops_at_egress() {
            egress.add_drops(self.worker, reason, count);
            self.tell_of_loss(ingress, egress, (reason, count));
        }
        for (reason, count) in written.drops_at_ingress() {
            ingress.add_drops(self.worker, reason, count);
            self.tell_of_loss(ingress, egress, (reason, count));
        }
    }

    fn tell_of_loss(&self, ingress: &Port, egress: &Port, lost: (DropReason, u64)) {
        if lost.1 > 0 && self.observers.are_there() {
            let ports = (ingress.id, egress.id);
            self.observers.tell_of_loss(&ingress.bridge, ports, lost);
        }
    }

    pub(super) fn drop_all(&self, class: &Class<'_>, reason: DropReason) {
        class
            .ingress
            .add_drops(self.worker, reason, u64::from(class.places.count_ones()));
    }
}

/// Frames of one ingress with one verdict.
pub(super) struct Class<'a> {
    pub(super) ingress: &'a Port,
    pub(super) batch: &'a Batch,
    pub(super) places: Places,
}

impl Class<'_> {
    /// Those who asked for its group: every frame has the same list.
    pub(super) fn asked(
        &self,
        (list, tag): (ListId, Option<Tag>),
        courier: &impl Courier,
    ) -> Option<Asked> {
        let first = iter(self.places).next()?;
        let frame = frame_of(courier.envelope(first))?;
        let frame = tag.map_or(frame, |tag| tag.beneath(frame));
        Some(Asked::at(self.ingress, (list, tag), &frame))
    }

    /// Which all of its frames have.
    fn tag(&self) -> Option<Tag> {
        let first = iter(self.places).next()?;
        self.batch.entry(first).tag
    }

    /// Whether every frame may be written to `port` unfinished.
    fn suits(&self, port: &Port) -> bool {
        port.capabilities == Capabilities::ALL
            || iter(self.places).all(|place| port.capabilities.admit(&self.batch.entry(place).vnet))
    }
}

/// Of each worker another, so that they do not take the same frames of flows alike.
fn seed(setup: &Setup) -> u64 {
    u64::try_from(setup.index).unwrap_or(0) << 32 | u64::from(setup.life)
}

/// Whether the egress link can carry the frame; the bridge checked only the ingress's MTU.
fn fits(class: &Class<'_>, place: usize, egress: &Port, envelope: &[u8]) -> bool {
    let vnet = class.batch.entry(place).vnet;
    egress.config.mtu >= class.ingress.config.mtu
        || frame_of(envelope).is_some_and(|frame| frame.with_vnet(&vnet).fits(egress.config.mtu))
}

/// A port that may be written.
pub(super) fn open(ports: &PortTable, id: PortId) -> Option<&Entry> {
    ports.entry(id).filter(|entry| entry.closing.is_none())
}

/// What is written to `egress` after this arrives after what was started before.
pub(super) fn settle(egress: &Entry, courier: &mut impl Courier) {
    if egress.writes.get() > 0 {
        courier.settle();
    }
}

/// The frame of an envelope that was classified, so this parses.
pub(super) fn frame_of(envelope: &[u8]) -> Option<Frame<'_>> {
    let (_, bytes) = envelope.split_at_checked(VnetHeader::LEN)?;
    Frame::parse(bytes).ok()
}
