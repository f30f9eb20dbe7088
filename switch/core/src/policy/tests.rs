//! The bit vectors beside a model that asks one rule after the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::packet::protocol;
use crate::{Mac, PortConfig, PortId, ethertype};

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Yes,
    No,
    Unknown,
}

impl From<bool> for Known {
    fn from(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Whole,
    First,
    Later,
}

/// A frame as its maker knows it.
#[derive(Clone, Debug)]
struct Made {
    tags: u8,
    carried: Carried,
    source_mac: u8,
    destination_mac: u8,
}

#[derive(Clone, Debug)]
enum Carried {
    Type(u16),
    Packet(Sent),
}

#[derive(Clone, Debug)]
struct Sent {
    is_v6: bool,
    source: u8,
    destination: u8,
    protocol: u8,
    piece: Piece,
    /// Extension headers before the fragment header, and options after it or in IPv4.
    extensions: Vec<u8>,
    ports: (u16, u16),
    icmp_type: u8,
    flags: u8,
    /// The packet ends before its transport header does.
    is_cut: bool,
}

impl Sent {
    fn is_readable(&self) -> bool {
        self.piece != Piece::Later && !self.is_cut
    }

    fn address(&self, last: u8) -> IpAddr {
        match self.is_v6 {
            true => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
            false => Ipv4Addr::new(10, 0, 0, last).into(),
        }
    }

    fn transport(&self) -> Vec<u8> {
        let (from, to) = (self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes());
        let ports = [&from[..], &to].concat();
        let mut header = match self.protocol {
            protocol::TCP => [&ports[..], &[0; 8], &[0x50, self.flags, 0, 0, 0, 0, 0, 0]].concat(),
            protocol::ICMP | protocol::ICMPV6 => vec![self.icmp_type, 0, 0, 0, 0, 0, 0, 0],
            _ => [&ports[..], &[0; 16]].concat(),
        };
        if self.is_cut {
            header.truncate(0);
        }
        header
    }

    fn bytes(&self) -> Vec<u8> {
        match self.is_v6 {
            true => self.v6(),
            false => self.v4(),
        }
    }

    fn v4(&self) -> Vec<u8> {
        let payload = self.transport();
        let options = self.extensions.len() * 4;
        let field: u16 = match self.piece {
            Piece::Whole => 0,
            Piece::First => 0x2000,
            Piece::Later => 5,
        };
        let len = u16::try_from(20 + options + payload.len()).unwrap();
        let ihl = 0x45 + u8::try_from(self.extensions.len()).unwrap();
        [
            &[ihl, 0][..],
            &len.to_be_bytes(),
            &[0, 7],
            &field.to_be_bytes(),
            &[64, self.protocol, 0, 0],
            &[10, 0, 0, self.source, 10, 0, 0, self.destination],
            &vec![1; options],
            &payload,
        ]
        .concat()
    }

    fn v6(&self) -> Vec<u8> {
        let mut chain = self.extensions.clone();
        if self.piece != Piece::Whole {
            chain.push(protocol::FRAGMENT);
        }
        chain.push(self.protocol);
        let mut payload = Vec::new();
        for pair in chain.windows(2) {
            let field: u8 = match (pair[0], self.piece) {
                (protocol::FRAGMENT, Piece::First) => 1,
                (protocol::FRAGMENT, Piece::Later) => 0x28,
                _ => 0,
            };
            payload.extend([pair[1], 0, 0, field, 0, 0, 0, 0]);
        }
        payload.extend(self.transport());
        let len = u16::try_from(payload.len()).unwrap();
        let address = |last| match self.address(last) {
            IpAddr::V6(address) => address.octets(),
            IpAddr::V4(_) => unreachable!(),
        };
        [
            &[0x60, 0, 0, 0][..],
            &len.to_be_bytes(),
            &[chain[0], 64],
            &address(self.source),
            &address(self.destination),
            &payload,
        ]
        .concat()
    }
}

fn mac(n: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, n])
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [
            &mac(self.destination_mac).octets()[..],
            &mac(self.source_mac).octets(),
        ]
        .concat();
        for _ in 0..self.tags {
            bytes.extend([0x81, 0, 0, 7]);
        }
        match &self.carried {
            Carried::Type(kind) => {
                bytes.extend(kind.to_be_bytes());
                bytes.extend([0; 46]);
            }
            Carried::Packet(sent) => {
                let kind = match sent.is_v6 {
                    true => ethertype::IPV6,
                    false => ethertype::IPV4,
                };
                bytes.extend(kind.to_be_bytes());
                bytes.extend(sent.bytes());
            }
        }
        bytes
    }

    fn is_hidden(&self) -> bool {
        self.tags > 2
    }

    fn is_discovery(&self) -> bool {
        match &self.carried {
            Carried::Packet(sent) => {
                sent.is_v6
                    && sent.protocol == protocol::ICMPV6
                    && sent.is_readable()
                    && (133..=137).contains(&sent.icmp_type)
            }
            Carried::Type(_) => false,
        }
    }

    fn ethertype(&self) -> u16 {
        match &self.carried {
            Carried::Type(kind) => *kind,
            Carried::Packet(sent) if sent.is_v6 => ethertype::IPV6,
            Carried::Packet(_) => ethertype::IPV4,
        }
    }
}

/// What is known of whether a rule means the frame, its ends apart.
fn meant(rule: &Rule, made: &Made) -> Known {
    let is_mac = |wanted: Option<Mac>, n| wanted.is_none_or(|wanted| wanted == mac(n));
    let macs = is_mac(rule.source_mac, made.source_mac)
        && is_mac(rule.destination_mac, made.destination_mac);
    let mut known = vec![Known::from(macs)];
    let asks_ip = rule.protocol.is_some() || rule.source.is_some() || rule.destination.is_some();
    if made.is_hidden() {
        let is_silent = rule.ethertype.is_none() && !asks_ip;
        known.push(if is_silent {
            Known::Yes
        } else {
            Known::Unknown
        });
        return all(&known);
    }
    let kind = made.ethertype();
    known.push(rule.ethertype.is_none_or(|wanted| wanted == kind).into());
    match &made.carried {
        Carried::Type(ethertype::ARP) => {
            known.push((rule.ethertype.is_some() && !asks_ip).into());
        }
        Carried::Type(_) => known.push((!asks_ip).into()),
        Carried::Packet(sent) => {
            if made.is_discovery() {
                let is_all = rule.ethertype.is_some() && rule.protocol.is_none();
                let is_message = rule.protocol.is_some() && rule.icmp_type.is_some();
                known.push((is_all || is_message).into());
            }
            known.extend(packet_meant(rule, sent));
        }
    }
    all(&known)
}

fn packet_meant(rule: &Rule, sent: &Sent) -> Vec<Known> {
    let within = |range: Option<AddressRange>, address| {
        range.is_none_or(|range| {
            let same = range.first.is_ipv4() == IpAddr::is_ipv4(&address);
            same && range.first <= address && address <= range.last
        })
    };
    let mut known = vec![
        within(rule.source, sent.address(sent.source)).into(),
        within(rule.destination, sent.address(sent.destination)).into(),
    ];
    // A first fragment without its headers says nothing of what it is (RFC 7112).
    let is_nameless = sent.is_v6
        && sent.piece == Piece::First
        && sent.is_cut
        && matches!(
            sent.protocol,
            protocol::TCP | protocol::UDP | protocol::ICMPV6
        );
    let is_foreign = match sent.protocol {
        protocol::ICMP => sent.is_v6,
        protocol::ICMPV6 => !sent.is_v6,
        _ => false,
    };
    known.push(match rule.protocol {
        None => Known::Yes,
        Some(_) if is_nameless => Known::Unknown,
        Some(wanted) => (wanted == sent.protocol && !is_foreign).into(),
    });
    let asks = rule.source_ports.is_some()
        || rule.destination_ports.is_some()
        || rule.icmp_type.is_some()
        || rule.established;
    if !asks {
        return known;
    }
    if !sent.is_readable() {
        known.push(Known::Unknown);
        return known;
    }
    let has = |range: &Option<std::ops::RangeInclusive<u16>>, port| {
        range.as_ref().is_none_or(|range| range.contains(&port))
    };
    known.push(has(&rule.source_ports, sent.ports.0).into());
    known.push(has(&rule.destination_ports, sent.ports.1).into());
    known.push(
        rule.icmp_type
            .is_none_or(|wanted| wanted == sent.icmp_type)
            .into(),
    );
    known.push((!rule.established || sent.flags & 0x14 != 0).into());
    known
}

fn all(known: &[Known]) -> Known {
    if known.contains(&Known::No) {
        Known::No
    } else if known.contains(&Known::Unknown) {
        Known::Unknown
    } else {
        Known::Yes
    }
}

fn model(rules: &[(Rule, [bool; 2])], default: Action, made: &Made) -> Judgement {
    for (rule, ends) in rules {
        let is_meant = match meant(rule, made) {
            Known::Yes => true,
            Known::Unknown => rule.action == Action::Deny,
            Known::No => false,
        };
        if is_meant && ends[0] && ends[1] {
            return Judgement {
                action: rule.action,
                by: JudgedBy::Rule(rule.number),
            };
        }
    }
    let is_arp = !made.is_hidden() && made.ethertype() == ethertype::ARP;
    match is_arp || !made.is_hidden() && made.is_discovery() {
        true => Judgement::EXEMPT,
        false => Judgement {
            action: default,
            by: JudgedBy::Default,
        },
    }
}

const TYPES: [u16; 4] = [ethertype::ARP, 0x88b5, 0x88cc, 0x0800];
const PROTOCOLS: [u8; 7] = [6, 17, 1, 58, 47, 132, 50];

fn any_made() -> impl Strategy<Value = Made> {
    let piece =
        proptest::sample::select(vec![Piece::Whole, Piece::Whole, Piece::First, Piece::Later]);
    let extension = proptest::sample::select(vec![
        protocol::HOP_BY_HOP,
        protocol::DESTINATION,
        protocol::ROUTING,
    ]);
    let sent = (
        (any::<bool>(), 0..6_u8, 0..6_u8),
        (proptest::sample::select(PROTOCOLS.to_vec()), piece),
        proptest::collection::vec(extension, 0..3),
        (0..6_u16, 0..6_u16),
        (130..140_u8, any::<u8>(), 0..8_u8),
    );
    let sent = sent.prop_map(
        |((is_v6, source, destination), (protocol, piece), extensions, ports, rest)| {
            let (icmp_type, flags, cut) = rest;
            Carried::Packet(Sent {
                is_v6,
                source,
                destination,
                protocol,
                piece,
                extensions,
                ports,
                icmp_type,
                flags,
                is_cut: cut == 0,
            })
        },
    );
    let kind = proptest::sample::select(TYPES[..3].to_vec()).prop_map(Carried::Type);
    let carried = prop_oneof![1 => kind, 6 => sent];
    (0..4_u8, carried, 1..5_u8, 1..5_u8).prop_map(|(tags, carried, source_mac, destination_mac)| {
        Made {
            tags,
            carried,
            source_mac,
            destination_mac,
        }
    })
}

fn any_rule() -> impl Strategy<Value = (Rule, [bool; 2])> {
    let seldom = |p: u8| (0..p).prop_map(|n| n == 0);
    let range = (0..6_u16, 0..4_u16).prop_map(|(from, len)| from..=from + len);
    let net = (any::<bool>(), 0..6_u8, 0..3_u8).prop_map(|(is_v6, first, len)| {
        let address = |last: u8| -> IpAddr {
            match is_v6 {
                true => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
                false => Ipv4Addr::new(10, 0, 0, last).into(),
            }
        };
        AddressRange {
            first: address(first),
            last: address(first + len),
        }
    });
    (
        (any::<bool>(), any::<[bool; 2]>()),
        (seldom(4), seldom(4), 1..5_u8),
        (
            proptest::option::weighted(0.3, net.clone()),
            proptest::option::weighted(0.3, net),
        ),
        (
            seldom(4),
            proptest::sample::select(vec![ethertype::ARP, 0x88b5, 0x0800, 0x86dd]),
        ),
        (any::<bool>(), proptest::sample::select(PROTOCOLS.to_vec())),
        (
            proptest::option::of(range.clone()),
            proptest::option::of(range),
        ),
        (any::<bool>(), 130..140_u8, any::<bool>()),
    )
        .prop_map(|(head, macs, nets, types, protocols, ports, rest)| {
            let mut rule = Rule::new(0, if head.0 { Action::Allow } else { Action::Deny });
            rule.source_mac = macs.0.then(|| mac(macs.2));
            rule.destination_mac = macs.1.then(|| mac(macs.2));
            (rule.source, rule.destination) = nets;
            rule.ethertype = types.0.then_some(types.1);
            let number = protocols.1;
            rule.protocol = protocols.0.then_some(number);
            match rule.protocol {
                Some(6 | 17 | 132) => {
                    (rule.source_ports, rule.destination_ports) = ports;
                    rule.established = number == 6 && rest.2;
                }
                Some(1 | 58) => rule.icmp_type = rest.0.then_some(rest.1),
                _ => {}
            }
            (rule, [head.1[0] || macs.0, head.1[1] || macs.1])
        })
}

fn port(id: u32) -> BridgePort {
    BridgePort::new(PortId(id), PortConfig::new(PortKind::Tap, 1500))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bit_vectors_decide_as_one_rule_after_the_other_does(
        rules in proptest::collection::vec(any_rule(), 0..90),
        padding in 0..200_usize,
        frames in proptest::collection::vec(any_made(), 1..40),
        allows in any::<bool>(),
    ) {
        let default = if allows { Action::Allow } else { Action::Deny };
        // Rules before the others that mean nobody, so that these stand in any word.
        let nobody = std::iter::repeat_n((Rule::new(0, Action::Deny), [false; 2]), padding);
        let mut rules: Vec<_> = nobody.chain(rules).collect();
        for (number, (rule, _)) in (1..).zip(&mut rules) {
            rule.number = number;
        }
        let only: Vec<_> = rules.iter().map(|(rule, _)| rule.clone()).collect();
        let membership = Membership {
            from: RuleSet::of(rules.len(), |index| rules[index].1[0]),
            to: RuleSet::of(rules.len(), |index| rules[index].1[1]),
        };
        let members = Members {
            ports: vec![(PortId(7), membership.clone()), (PortId(9), membership)],
            ..Members::default()
        };
        let policy = Policy::new(&only, default, &members);
        let mut decided = 0;
        for made in &frames {
            let bytes = made.bytes();
            let frame = Frame::parse(&bytes).unwrap();
            let facts = Facts::of(&frame, None);
            let judged = policy.judge(&port(7), &port(9), &frame, &facts);
            prop_assert_eq!(judged, model(&rules, default, made), "{:?}", made);
            decided += u64::from(judged.by != JudgedBy::Exempt);
            // A port of which nobody knows anything passes nothing.
            let unknown = policy.judge(&port(7), &port(8), &frame, &facts);
            prop_assert_eq!(unknown, Judgement::UNKNOWN);
        }
        let (hits, none) = policy.hits();
        let sum: u64 = hits.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(sum + none, decided);
    }
}

#[test]
fn what_the_gateway_answers_passes_and_a_copy_counts_for_itself() {
    let members = Members {
        ports: vec![(PortId(7), Membership::default())],
        ..Members::default()
    };
    let policy = Policy::new(&[], Action::Deny, &members);
    let edge = BridgePort::new(PortId(2), PortConfig::new(PortKind::Edge, 1500));
    let made = Made {
        tags: 0,
        carried: Carried::Type(0x88b5),
        source_mac: 1,
        destination_mac: 2,
    };
    let bytes = made.bytes();
    let frame = Frame::parse(&bytes).unwrap();
    let facts = Facts::of(&frame, None);
    let seven = port(7);
    let judge = |policy: &Policy, from, to| policy.judge(from, to, &frame, &facts);
    assert_eq!(judge(&policy, &edge, &seven), Judgement::EXEMPT);
    let copy = policy.copy();
    let denied = judge(&copy, &seven, &edge);
    assert_eq!(denied.action, Action::Deny);
    assert_eq!((policy.hits().1, copy.hits().1), (0, 1));
    let others = policy.with_members(&Members::default());
    assert_eq!(judge(&others, &seven, &edge), Judgement::UNKNOWN);
}
