//! Frames in VLANs: each leaves in the form that its egress has for the VLAN.
//!
//! # Theory of operation
//!
//! A frame for one port is changed where it is, which moves 22 bytes ([`crate::retag`]), unless something still writes these bytes,
//! as to a mirror. What goes to several ports has two forms at most, without tag and with one: ports that take the frame as it came
//! are served first, and the others from one copy of it. So nobody gets a frame that was changed for another.

use switch_core::vlan::{Shape, Tag, TagChange};
use switch_core::{DropReason, ListId, PortId};

use super::audience::{Audience, Everybody};
use super::batch::{Batch, Places, iter};
use super::buffers::Buffers;
use super::forward::{Class, Courier, Forwarder};
use super::table::PortTable;
use crate::port::Port;

impl Forwarder {
    pub(super) fn unicast_in_vlan(
        &mut self,
        ports: &PortTable,
        batch: &mut Batch,
        (ingress, places): (&Port, Places),
        (egress, tag): (PortId, Tag),
        courier: &mut impl Courier,
    ) {
        let Some(shape) = ingress.bridge.shape(egress, tag) else {
            return self.drop_all(&class(ingress, batch, places), DropReason::VlanEgress);
        };
        let change = tag.change(shape);
        let mut changed = 0;
        for place in iter(places) {
            let entry = batch.entry_mut(place);
            if change == TagChange::Keep || courier.retag(place, change, &entry.vnet) {
                *entry = entry.changed(tag, shape);
                changed |= 1 << place;
            }
        }
        if changed != 0 {
            self.unicast(ports, &class(ingress, batch, changed), egress, courier);
        }
        if changed != places {
            let rest = class(ingress, batch, places & !changed);
            self.with_copies(&rest, (tag, shape), courier, |this, copies, buffers| {
                this.unicast(ports, copies, egress, buffers);
            });
        }
    }

    pub(super) fn flood_in_vlan(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        tag: Tag,
        courier: &mut impl Courier,
    ) {
        let everybody = Everybody::at(class.ingress);
        self.spread_in_vlan(ports, class, (&everybody, tag), courier);
    }

    pub(super) fn group_in_vlan(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        (list, tag): (ListId, Tag),
        courier: &mut impl Courier,
    ) {
        if let Some(asked) = class.asked((list, Some(tag)), courier) {
            self.spread_in_vlan(ports, class, (&asked, tag), courier);
        }
    }

    fn spread_in_vlan(
        &mut self,
        ports: &PortTable,
        class: &Class<'_>,
        (audience, tag): (&impl Audience, Tag),
        courier: &mut impl Courier,
    ) {
        let is_as_it_came = |shape| tag.change(shape) == TagChange::Keep;
        let mut shapes = [Shape::Untagged, Shape::Tagged];
        shapes.sort_by_key(|shape| !is_as_it_came(*shape));
        let mut is_taken = false;
        for shape in shapes {
            let takes = |egress| audience.list().shape(egress, tag) == Some(shape);
            if is_as_it_came(shape) {
                is_taken |= self.spread_among(ports, class, audience, takes, courier);
            } else if audience.egresses().any(takes) {
                self.with_copies(class, (tag, shape), courier, |this, copies, buffers| {
                    is_taken |= this.spread_among(ports, copies, audience, takes, buffers);
                });
            }
        }
        if !is_taken {
            self.drop_all(class, DropReason::NoEgress);
        }
    }

    /// Makes copies of frames in another form, for `send` to send. They arrive after what was started before.
    fn with_copies(
        &mut self,
        class: &Class<'_>,
        (tag, shape): (Tag, Shape),
        courier: &mut impl Courier,
        send: impl FnOnce(&mut Self, &Class<'_>, &mut Buffers<'_>),
    ) {
        courier.settle();
        let mut variants = std::mem::take(&mut self.variants);
        variants.clear();
        for place in iter(class.places) {
            let entry = class.batch.entry(place);
            variants.add(courier.envelope(place), entry, (tag, shape));
        }
        let (batch, buffers) = variants.parts();
        let copies = Class {
            ingress: class.ingress,
            batch,
            places: batch.places(),
        };
        send(self, &copies, &mut Buffers(buffers));
        self.variants = variants;
    }
}

const fn class<'a>(ingress: &'a Port, batch: &'a Batch, places: Places) -> Class<'a> {
    Class {
        ingress,
        batch,
        places,
    }
}
