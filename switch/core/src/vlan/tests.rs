//! What becomes of a frame's tag between two ports, beside a model that writes frames anew.

use proptest::prelude::*;

use super::*;
use crate::{DropReason, Frame};

const STATIONS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn vid(number: u16) -> Vid {
    Vid::new(number).unwrap()
}

/// A frame with tags, by type and TCI.
fn frame(tags: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = STATIONS.to_vec();
    for (kind, tci) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend([0x88, 0xb5, 1, 2, 3, 4]);
    bytes
}

/// What leaves by `egress`; `None` where nothing does.
fn passed(
    network: VlanConfig,
    (ingress, egress): (&PortVlans, &PortVlans),
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, DropReason> {
    let frame = Frame::parse(bytes)?;
    let (tag, _) = Tag::admit(network, ingress, &frame)?;
    let Some(shape) = tag.shape_at(egress) else {
        return Ok(None);
    };
    let (addresses, rest) = bytes.split_at(12);
    let change = tag.change(shape);
    let out = match change {
        TagChange::Keep => bytes.to_vec(),
        TagChange::Push(tag) => [addresses, &tag, rest].concat(),
        TagChange::Pop => [addresses, &rest[4..]].concat(),
        TagChange::Replace(tag) => [addresses, &tag, &rest[4..]].concat(),
    };
    let grown = bytes.len().checked_add_signed(change.growth());
    assert_eq!(grown, Some(out.len()));
    assert_eq!(tag.changed(shape).change(shape), TagChange::Keep);
    Ok(Some(out))
}

/// The same by a model: tags as a list.
fn modelled(
    network: VlanConfig,
    (ingress, egress): (&PortVlans, &PortVlans),
    tags: &[(u16, u16)],
) -> Result<Option<Vec<(u16, u16)>>, DropReason> {
    let own = network.protocol.ethertype();
    let (outer, beneath) = match tags {
        [(kind, tci), beneath @ ..] if *kind == own => (Some(*tci), beneath),
        _ => (None, tags),
    };
    let number = outer.unwrap_or(0) % 4096;
    let vid = match (number, ingress.native()) {
        (0, None) => return Err(DropReason::VlanUntagged),
        (0, Some(native)) => native,
        (number, native) => Vid::new(number)
            .filter(|vid| native == Some(*vid) || ingress.tagged().contains(*vid))
            .ok_or(DropReason::VlanForeign)?,
    };
    let tci = outer.unwrap_or(0) / 4096 * 4096 + vid.get();
    let is_stacked = outer.is_some() && beneath.first().is_some_and(|(kind, _)| *kind == own);
    let tagged = [&[(own, tci)], beneath].concat();
    Ok(if egress.native() == Some(vid) {
        Some(match is_stacked && !egress.tagged().is_empty() {
            true => tagged,
            false => beneath.to_vec(),
        })
    } else {
        egress.tagged().contains(vid).then_some(tagged)
    })
}

fn any_port() -> impl Strategy<Value = PortVlans> {
    let vids = prop::collection::vec(1..6_u16, 0..4);
    (prop::option::of(1..6_u16), vids).prop_map(|(native, vids)| {
        PortVlans::trunk(
            native.and_then(Vid::new),
            vids.into_iter().map(vid).collect(),
        )
    })
}

fn any_tag() -> impl Strategy<Value = (u16, u16)> {
    let number = prop_oneof![0..6_u16, Just(4095)];
    (prop::bool::ANY, 0..16_u16, number).prop_map(|(is_service, bits, number)| {
        let kind = if is_service { 0x88a8 } else { 0x8100 };
        (kind, bits << 12 | number)
    })
}

proptest! {
    #[test]
    fn a_frame_leaves_as_the_model_has_it(
        is_service: bool,
        ingress in any_port(),
        egress in any_port(),
        tags in prop::collection::vec(any_tag(), 0..3),
    ) {
        let protocol = if is_service { TagProtocol::Service } else { TagProtocol::Customer };
        let network = VlanConfig { protocol, ..VlanConfig::default() };
        let ports = (&ingress, &egress);
        let expected = modelled(network, ports, &tags);
        let expected = expected.map(|tags| tags.map(|tags| frame(&tags)));
        prop_assert_eq!(passed(network, ports, &frame(&tags)), expected);
    }

    #[test]
    fn no_station_speaks_in_a_vlan_that_its_port_does_not_belong_to(
        first in any_port(),
        between in any_port(),
        tags in prop::collection::vec(any_tag(), 0..3),
    ) {
        // Over a second bridge: what leaves by a trunk comes in there by one of the same VLANs.
        let network = VlanConfig::default();
        prop_assume!(between.takes_tags());
        if let Ok(Some(bytes)) = passed(network, (&first, &between), &frame(&tags)) {
            let frame = Frame::parse(&bytes).unwrap();
            let (tag, _) = Tag::admit(network, &between, &frame).unwrap();
            prop_assert!(first.shape(tag.vid()).is_some());
        }
    }
}

#[test]
fn priority_is_kept_with_the_tag_and_with_one_that_takes_its_place() {
    let network = VlanConfig::default();
    let access = PortVlans::access(vid(10));
    let trunk = PortVlans::trunk(None, "10,20".parse().unwrap());
    let sent = |ports, tags: &[_]| passed(network, ports, &frame(tags)).unwrap().unwrap();
    // PCP 5, DEI set, without a VLAN.
    let urgent = sent((&access, &trunk), &[(0x8100, 0xb000)]);
    assert_eq!(urgent, frame(&[(0x8100, 0xb00a)]));
    let kept = sent((&trunk, &trunk), &[(0x8100, 0xe014)]);
    assert_eq!(kept, frame(&[(0x8100, 0xe014)]));
    assert_eq!(sent((&access, &trunk), &[]), frame(&[(0x8100, 10)]));
    assert_eq!(sent((&trunk, &access), &[(0x8100, 0xe00a)]), frame(&[]));
    let bytes = frame(&[(0x8100, 0xb000)]);
    let (tag, _) = Tag::admit(network, &access, &Frame::parse(&bytes).unwrap()).unwrap();
    assert_eq!((tag.pcp(), tag.vid(), tag.is_present()), (5, vid(10), true));
}

#[test]
fn an_outer_tag_carries_the_customers() {
    let network = VlanConfig {
        protocol: TagProtocol::Service,
        ..VlanConfig::default()
    };
    let customer = PortVlans::access(vid(100));
    let uplink = PortVlans::trunk(Some(vid(1)), "100".parse().unwrap());
    let inside = frame(&[(0x8100, 0x200a)]);
    let outside = frame(&[(0x88a8, 100), (0x8100, 0x200a)]);
    assert_eq!(
        passed(network, (&customer, &uplink), &inside),
        Ok(Some(outside.clone()))
    );
    assert_eq!(
        passed(network, (&uplink, &customer), &outside),
        Ok(Some(inside))
    );
}
