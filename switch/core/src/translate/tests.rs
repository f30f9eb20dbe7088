use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::checksum;
use crate::proxy::announcement;
use crate::testing::{Header, Transport, assert_checksums, frame};

const NIC: Mac = Mac::new([0x0a, 0, 0, 0, 0, 9]);
const ROUTER: Mac = Mac::new([0x0a, 0, 0, 0, 0, 1]);
/// That of the frames which `testing` builds, and their source.
const WEB: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const DB: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

fn translating() -> Crossing {
    let crossing = Crossing::new(Rule::Translate { groups: true }, NIC);
    crossing.register(WEB, &[ip("172.17.0.2"), [0xfd; 16].into()]);
    crossing.register(DB, &[ip("172.17.0.7")]);
    crossing
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The frame as the LAN sees it.
fn sent(crossing: &Crossing, bytes: &[u8], is_open: bool) -> Vec<u8> {
    let mut head = [0; Crossing::HEAD_LEN_MAX];
    let len = crossing.outward(bytes, is_open, &mut head);
    [&head[..len], &bytes[len..]].concat()
}

/// The frame as the network sees it, unless it is not for it.
fn received(crossing: &Crossing, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    crossing.inward(&mut bytes).then_some(bytes)
}

/// As the LAN answers: addresses swapped, to the MAC that it knows.
fn answer_to(header: &Header) -> Vec<u8> {
    let mut bytes = frame(header, b"answer");
    bytes[..6].copy_from_slice(&NIC.octets());
    bytes[6..12].copy_from_slice(&ROUTER.octets());
    let (from, len) = if header.ipv6 { (22, 16) } else { (26, 4) };
    let (one, other) = bytes[from..from + 2 * len].split_at_mut(len);
    one.swap_with_slice(other);
    bytes
}

fn discovery(kind: u8, source: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let at = message::options_at(kind).unwrap();
    let mut body = vec![0; at];
    body[0] = kind;
    body.extend(options);
    let mut bytes = [&[0x33, 0x33, 0, 0, 0, 1][..], &WEB.octets(), &[0x86, 0xdd]].concat();
    bytes.extend([0x60, 0, 0, 0]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend([58, 255]);
    bytes.extend(source.octets());
    bytes.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets());
    let at = bytes.len();
    bytes.extend(body);
    let sum = discovery_sum(&bytes);
    bytes[at + 2..at + 4].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    bytes
}

fn discovery_sum(bytes: &[u8]) -> u64 {
    let frame = Frame::parse(bytes).unwrap();
    let packet = Packet::parse(&frame).unwrap();
    let message = packet.transport(&frame);
    checksum::sum(
        checksum::pseudo_header(&packet, bytes, message.len()),
        message,
    )
}

#[test]
fn the_lan_sees_one_mac_and_every_answer_finds_its_station() {
    let crossing = translating();
    for header in Header::all().filter(|header| header.vlans == 0) {
        let out = sent(&crossing, &frame(&header, b"question"), false);
        assert_eq!(out[6..12], NIC.octets());
        assert_checksums(&out);
        let back = received(&crossing, &answer_to(&header)).unwrap();
        assert_eq!(
            (&back[..6], &back[6..12]),
            (&WEB.octets()[..], &ROUTER.octets()[..])
        );
    }
}

#[test]
fn what_is_for_the_nic_and_no_station_is_the_hosts() {
    let crossing = translating();
    crossing.unregister(WEB);
    let header = Header::default();
    assert_eq!(received(&crossing, &answer_to(&header)), None);
    let mut elsewhere = answer_to(&header);
    elsewhere[5] ^= 1;
    assert_eq!(received(&translating(), &elsewhere), None, "another's MAC");
    let mut tagged = frame(&Header { vlans: 1, ..header }, b"");
    tagged[..6].copy_from_slice(&NIC.octets());
    assert_eq!(received(&translating(), &tagged), None);
}

#[test]
fn arp_names_the_nic_outside_and_the_station_inside() {
    let crossing = translating();
    let told = announcement(WEB, ip("172.17.0.2"));
    let out = sent(&crossing, &told, false);
    assert_eq!(
        (&out[6..12], &out[22..28]),
        (&NIC.octets()[..], &NIC.octets()[..])
    );
    // An answer: to the NIC, for the address of a station.
    let mut answer = announcement(ROUTER, ip("172.17.0.1"));
    answer[..6].copy_from_slice(&NIC.octets());
    answer[21] = 2;
    answer[32..38].copy_from_slice(&NIC.octets());
    answer[38..42].copy_from_slice(&[172, 17, 0, 7]);
    let back = received(&crossing, &answer).unwrap();
    assert_eq!(
        (&back[..6], &back[32..38]),
        (&DB.octets()[..], &DB.octets()[..])
    );
    assert_eq!(back[22..28], ROUTER.octets());
}

#[test]
fn discovery_names_the_nic_and_its_checksum_holds() {
    let crossing = translating();
    let own = [&[1, 1][..], &WEB.octets()].concat();
    let others = [&[2, 1][..], &DB.octets()].concat();
    for kind in [133, 135, 136] {
        let bytes = discovery(kind, [0xfd; 16].into(), &[&own[..], &others].concat());
        let out = sent(&crossing, &bytes, false);
        let options = 54 + message::options_at(kind).unwrap();
        assert_eq!(out[options + 2..options + 8], NIC.octets());
        assert_eq!(
            out[options + 10..options + 16],
            DB.octets(),
            "another's stays"
        );
        assert_eq!(checksum::fold(discovery_sum(&out)), 0xffff, "{kind}");
        let open = sent(&crossing, &bytes, true);
        assert_eq!(open[56..58], bytes[56..58], "the device sums it");
    }
}

#[test]
fn leases_are_asked_for_by_broadcast() {
    let crossing = translating();
    let header = Header {
        transport: Transport::Udp,
        source_port: 68,
        ..Header::default()
    };
    let mut message = vec![0_u8; 300];
    message[0] = 1;
    message[28..34].copy_from_slice(&WEB.octets());
    let request = |message: &[u8]| {
        let mut bytes = frame(&header, message);
        bytes[36..38].copy_from_slice(&67_u16.to_be_bytes());
        // The builder's destination port is another one.
        let sum =
            u32::from(!u16::from_be_bytes([bytes[40], bytes[41]])) + u32::from(!5000_u16) + 67;
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        bytes[40..42].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
        bytes
    };
    let bytes = request(&message);
    assert_checksums(&bytes);
    let out = sent(&crossing, &bytes, false);
    assert_eq!(out[52..54], [0x80, 0]);
    assert_eq!(
        out[70..76],
        WEB.octets(),
        "the server tells stations apart by it"
    );
    assert_checksums(&out);
    message[12..16].copy_from_slice(&[172, 17, 0, 2]);
    let renewal = sent(&crossing, &request(&message), false);
    assert_eq!(renewal[52..54], [0, 0], "it is answered at its address");
}

#[test]
fn addresses_are_learned_from_what_stations_send_and_not_taken_from_others() {
    let crossing = translating();
    let [kept, private] = ["fe80::7", "fe80::8"].map(|text| text.parse::<Ipv6Addr>().unwrap());
    sent(&crossing, &discovery(135, kept, &[]), false);
    assert!(crossing.addresses().contains(&(kept.into(), WEB)));
    for number in 0..stations::LEARNED_MAX {
        let mut other = private.octets();
        other[7] = u8::try_from(number).unwrap();
        sent(&crossing, &discovery(135, other.into(), &[]), false);
    }
    assert!(
        !crossing.addresses().contains(&(kept.into(), WEB)),
        "the oldest goes"
    );
    assert_eq!(crossing.addresses().len(), 3 + stations::LEARNED_MAX);
    // Another's address on record.
    sent(&crossing, &announcement(WEB, ip("172.17.0.7")), false);
    assert!(crossing.addresses().contains(&(ip("172.17.0.7"), DB)));
    // A MAC that is no station's teaches nothing, and is seen by nobody.
    let strange = announcement(Mac::new([6; 6]), ip("172.17.0.9"));
    assert_eq!(sent(&crossing, &strange, false)[6..12], NIC.octets());
    assert_eq!(crossing.addresses().len(), 3 + stations::LEARNED_MAX);
}

#[test]
fn groups_pass_unless_the_rule_keeps_them_out() {
    let mut group = frame(&Header::default(), b"");
    group[..6].copy_from_slice(&Mac::BROADCAST.octets());
    for (rule, passes) in [
        (Rule::Open, true),
        (Rule::Stations, true),
        (Rule::Translate { groups: true }, true),
        (Rule::Translate { groups: false }, false),
    ] {
        let crossing = Crossing::new(rule, NIC);
        assert_eq!(received(&crossing, &group).is_some(), passes, "{rule:?}");
    }
}

#[test]
fn without_translation_stations_have_their_own_macs() {
    let crossing = Crossing::new(Rule::Stations, NIC);
    crossing.register(WEB, &[]);
    let out = frame(&Header::default(), b"");
    assert_eq!(sent(&crossing, &out, false), out);
    let mut back = answer_to(&Header::default());
    assert_eq!(received(&crossing, &back), None, "the host's");
    back[..6].copy_from_slice(&WEB.octets());
    assert_eq!(received(&crossing, &back).unwrap(), back);
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_and_none_leave_with_another_mac(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in prop_oneof![Just(0x0800_u16), Just(0x0806), Just(0x86dd), Just(0x8100)],
        ports in any::<bool>(),
    ) {
        let crossing = translating();
        let mut bytes = bytes;
        if bytes.len() > 40 {
            bytes[6] &= 0xfe;
            bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            if ports {
                bytes[14] = if kind == 0x0800 { 0x45 } else { 0x60 };
                bytes[20] = 58;
                bytes[23] = 17;
            }
        }
        if Frame::parse(&bytes).is_ok() {
            let out = sent(&crossing, &bytes, false);
            prop_assert_eq!(&out[6..12], &NIC.octets()[..]);
            prop_assert_eq!(out.len(), bytes.len());
        }
        received(&crossing, &bytes);
    }
}
