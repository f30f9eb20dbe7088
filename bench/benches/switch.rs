//! What one frame costs the switch, without a wire: decisions, table, segmentation, coalescing, checksums.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use etherparse::PacketBuilder;
use switch_core::vlan::{PortVlans, Vid, VidSet, VlanConfig};
use switch_core::{
    Bridge, BridgeConfig, Coalescer, Fdb, FdbConfig, Frame, Gso, Joining, Mac, OpenChecksum,
    PortConfig, PortId, PortKind, RawVnet, Segments, SnoopingConfig, Time, Verdict, VnetHeader,
    policy::{Action, AddressRange, Members, Membership, Policy, Rule, RuleSet},
};

fn main() {
    divan::main();
}

const NOW: Time = Time::from_millis(1000);
/// When every port has had time to answer.
const LATER: Time = Time::from_millis(10_000);
const STATIONS: u8 = 100;

#[divan::bench]
fn forward_unicast(bencher: Bencher<'_, '_>) {
    let bridge = Bridge::new(BridgeConfig::default());
    for port in 1..=2 {
        bridge.add_port(PortId(port), PortConfig::new(PortKind::Tap, 1500));
    }
    let (there, back) = (udp(1, 2, 64), udp(2, 1, 64));
    let (there, back) = (parse(&there), parse(&back));
    bridge.forward(NOW, PortId(1), &there);
    bridge.forward(NOW, PortId(2), &back);
    bencher.bench_local(|| bridge.forward(NOW, PortId(1), black_box(&there)));
}

/// The same with a thousand rules, of which the last decides.
#[divan::bench(args = [false, true])]
fn forward_unicast_by_1000_rules(bencher: Bencher<'_, '_>, with_addresses: bool) {
    let bridge = Bridge::new(BridgeConfig::default());
    for port in 1..=2 {
        bridge.add_port(PortId(port), PortConfig::new(PortKind::Tap, 1500));
    }
    bridge.set_policy(Some(thousand_rules(with_addresses).into()));
    let (there, back) = (udp(1, 2, 64), udp(2, 1, 64));
    let (there, back) = (parse(&there), parse(&back));
    bridge.forward(NOW, PortId(1), &there);
    bridge.forward(NOW, PortId(2), &back);
    bencher.bench_local(|| bridge.forward(NOW, PortId(1), black_box(&there)));
}

/// Each denies a port of TCP or UDP between some; the last allows all.
fn thousand_rules(with_addresses: bool) -> Policy {
    let rule = |number: u16| {
        let mut rule = Rule::new(number.into(), Action::Deny);
        rule.protocol = Some(if number.is_multiple_of(2) { 6 } else { 17 });
        rule.destination_ports = Some(10_000 + number..=10_000 + number);
        if with_addresses {
            let [high, low] = number.to_be_bytes();
            let network = |last: u8| [10, high, low, last].into();
            rule.source = Some(AddressRange {
                first: network(0),
                last: network(255),
            });
        }
        rule
    };
    let mut rules: Vec<_> = (0..999).map(rule).collect();
    rules.push(Rule::new(1000, Action::Allow));
    let all = RuleSet::of(rules.len(), |_| true);
    let member = Membership {
        from: all.clone(),
        to: all,
    };
    let members = Members {
        ports: vec![(PortId(1), member.clone()), (PortId(2), member)],
        ..Members::default()
    };
    Policy::new(&rules, Action::Deny, &members)
}

/// As [`forward_unicast`], from a port of one VLAN to a trunk of 4,000, and the form in which it leaves: to be at most 1.1 times
/// that.
#[divan::bench]
fn forward_unicast_to_trunk(bencher: Bencher<'_, '_>) {
    let access = Vid::new(1000).map(PortVlans::access);
    let access = access.expect("a VLAN's number");
    forward_in_vlan(bencher, access, &udp(1, 2, 64));
}

/// The other way, where the frame has a tag.
#[divan::bench]
fn forward_unicast_from_trunk(bencher: Bencher<'_, '_>) {
    forward_in_vlan(bencher, trunk(), &tagged(&udp(1, 2, 64), 1000));
}

/// A frame from a port of such VLANs to a trunk of 4,000.
fn forward_in_vlan(bencher: Bencher<'_, '_>, from: PortVlans, there: &[u8]) {
    let bridge = Bridge::new(BridgeConfig {
        vlans: Some(VlanConfig::default()),
        ..BridgeConfig::default()
    });
    for (port, vlans) in [(PortId(1), from), (PortId(2), trunk())] {
        let config = PortConfig {
            vlans: Some(vlans),
            ..PortConfig::new(PortKind::Tap, 1500)
        };
        bridge.add_port(port, config);
    }
    let (there, back) = (parse(there), tagged(&udp(2, 1, 64), 1000));
    bridge.forward(NOW, PortId(1), &there);
    bridge.forward(NOW, PortId(2), &parse(&back));
    bencher.bench_local(|| {
        let passed = bridge.pass(NOW, PortId(1), black_box(&there));
        passed.tag.map(|tag| bridge.shape(PortId(2), tag))
    });
}

fn trunk() -> PortVlans {
    let many: VidSet = Vid::all().take(4000).collect();
    PortVlans::trunk(None, many)
}

#[divan::bench]
fn parse_and_forward(bencher: Bencher<'_, '_>) {
    let bridge = Bridge::new(BridgeConfig::default());
    for port in 1..=2 {
        bridge.add_port(PortId(port), PortConfig::new(PortKind::Tap, 1500));
    }
    let bytes = udp(1, 2, 64);
    bencher.bench_local(|| {
        let raw = [0; VnetHeader::LEN];
        let frame = parse(black_box(&bytes));
        let vnet = VnetHeader::validate(&raw, &frame).expect("an ordinary frame");
        bridge.forward(NOW, PortId(1), &frame.with_vnet(&vnet))
    });
}

/// A network of 64 ports that all listen to 100 groups; without snooping they are not asked.
fn listeners(snooping: bool) -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        snooping: snooping.then(SnoopingConfig::default),
        ..BridgeConfig::default()
    });
    for port in 1..=64 {
        bridge.add_port(PortId(port), PortConfig::new(PortKind::Tap, 1500));
    }
    bridge.take_queries(NOW);
    bridge.take_queries(LATER);
    for port in 1..=64_u8 {
        for group in 0..100 {
            let report = join(port, group);
            bridge.forward(LATER, PortId(port.into()), &parse(&report));
        }
    }
    bridge
}

/// A datagram that goes to one port, in a network that snoops and in one that does not.
#[divan::bench(args = [false, true])]
fn snooping_unicast(bencher: Bencher<'_, '_>, snooping: bool) {
    let bridge = listeners(snooping);
    let (there, back) = (udp(1, 2, 64), udp(2, 1, 64));
    let (there, back) = (parse(&there), parse(&back));
    bridge.forward(LATER, PortId(1), &there);
    bridge.forward(LATER, PortId(2), &back);
    bencher.bench_local(|| bridge.forward(LATER, PortId(1), black_box(&there)));
}

/// A datagram for a group that 63 others listen to: what is decided, and who gets it.
#[divan::bench(args = [false, true])]
fn snooping_group(bencher: Bencher<'_, '_>, snooping: bool) {
    let bridge = listeners(snooping);
    let bytes = to_group(1, 50);
    let frame = parse(&bytes);
    let ingress = PortId(1);
    bencher.bench_local(|| match bridge.forward(LATER, ingress, black_box(&frame)) {
        Verdict::Group(list) => bridge
            .group_list(ingress, (list, None), &frame)
            .egresses()
            .count(),
        Verdict::Flood => {
            let list = bridge.flood_list(ingress);
            list.iter().filter(|port| **port != ingress).count()
        }
        other => panic!("{other:?}"),
    });
}

/// The decision alone.
#[divan::bench(args = [false, true])]
fn snooping_verdict(bencher: Bencher<'_, '_>, snooping: bool) {
    let bridge = listeners(snooping);
    let bytes = to_group(1, 50);
    let frame = parse(&bytes);
    bencher.bench_local(|| bridge.forward(LATER, PortId(1), black_box(&frame)));
}

/// A port that joins and leaves a group of 64 listeners.
#[divan::bench]
fn snooping_join_and_leave(bencher: Bencher<'_, '_>) {
    let bridge = listeners(true);
    bridge.add_port(PortId(65), PortConfig::new(PortKind::Host, 1500));
    let (join, leave) = (join(65, 50), report(65, 50, 0x17));
    bencher.bench_local(|| {
        bridge.forward(LATER, PortId(65), &parse(&join));
        bridge.forward(LATER, PortId(65), &parse(&leave));
    });
}

#[divan::bench]
fn fdb_lookup(bencher: Bencher<'_, '_>) {
    let fdb = Fdb::new(FdbConfig::default());
    for station in 0..STATIONS {
        fdb.learn(NOW, mac(station), PortId(1), usize::MAX);
    }
    let mut station = 0;
    bencher.bench_local(|| {
        station = (station + 1) % STATIONS;
        fdb.lookup(black_box(mac(station)))
    });
}

#[divan::bench]
fn fdb_learn_known(bencher: Bencher<'_, '_>) {
    let fdb = Fdb::new(FdbConfig::default());
    let mut station = 0;
    bencher.bench_local(|| {
        station = (station + 1) % STATIONS;
        fdb.learn(NOW, black_box(mac(station)), PortId(1), usize::MAX)
    });
}

#[divan::bench]
fn fdb_learn_move(bencher: Bencher<'_, '_>) {
    let fdb = Fdb::new(FdbConfig::default());
    let mut port = 1;
    bencher.bench_local(|| {
        port = 3 - port;
        fdb.learn(NOW, mac(1), PortId(port), usize::MAX)
    });
}

/// One TCP superframe of 64 KB into segments of 1448 bytes, checksums included.
#[divan::bench]
fn segment_tcp(bencher: Bencher<'_, '_>) {
    let bytes = tcp(62_264);
    let raw = raw_vnet(Gso::TcpV4 {
        size: 1448,
        ecn: false,
    });
    let frame = parse(&bytes);
    let vnet = VnetHeader::validate(&raw, &frame).expect("a valid superframe");
    let mut out = vec![0; 2048];
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| {
            let mut segments = Segments::new(&vnet, &frame).expect("a superframe");
            let mut count = 0;
            while segments.write_next(&mut out).is_some() {
                count += 1;
            }
            count
        });
}

/// Sixteen datagrams of one flow into one superframe.
#[divan::bench]
fn coalesce_udp(bencher: Bencher<'_, '_>) {
    let frames = vec![udp6(1000); 16];
    let parsed: Vec<Frame<'_>> = frames.iter().map(|bytes| parse(bytes)).collect();
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let mut coalescer = Coalescer::new();
    for frame in &parsed {
        coalescer.push(frame, Joining::TcpAndUdp);
    }
    let joined = coalescer.take().map_or(0, |(_, frame)| frame.len());
    assert!(joined > 16 * 1000, "one superframe, not {joined} bytes");
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        for frame in &parsed {
            black_box(coalescer.push(frame, Joining::TcpAndUdp));
        }
        coalescer.take().map(|(_, superframe)| superframe.len())
    });
}

/// The missing checksum of a full-sized frame and of a superframe.
#[divan::bench(args = [1448, 62_264])]
fn complete_checksum(bencher: Bencher<'_, '_>, payload: usize) {
    let mut bytes = tcp(payload);
    let raw = raw_vnet(Gso::None);
    let vnet = VnetHeader::validate(&raw, &parse(&bytes)).expect("a valid partial checksum");
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| vnet.complete_checksum(black_box(&mut bytes)));
}

fn mac(station: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, station])
}

fn parse(bytes: &[u8]) -> Frame<'_> {
    Frame::parse(bytes).expect("etherparse builds valid frames")
}

fn udp(from: u8, to: u8, payload: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(mac(from).octets(), mac(to).octets())
        .ipv4([10, 0, 0, from], [10, 0, 0, to], 64)
        .udp(4000, 4001);
    let mut frame = Vec::new();
    builder
        .write(&mut frame, &vec![0; payload])
        .expect("writing to a vector");
    frame
}

fn to_group(from: u8, group: u8) -> Vec<u8> {
    let mut frame = udp(from, 2, 64);
    frame[..6].copy_from_slice(&[1, 0, 0x5e, 1, 1, group]);
    frame[30..34].copy_from_slice(&[239, 1, 1, group]);
    frame
}

fn join(from: u8, group: u8) -> Vec<u8> {
    report(from, group, 0x16)
}

/// IGMPv2, with its checksum.
fn report(from: u8, group: u8, kind: u8) -> Vec<u8> {
    let mut frame = to_group(from, group)[..34].to_vec();
    frame[16..18].copy_from_slice(&28_u16.to_be_bytes());
    frame[23] = 2;
    let sum = u32::from(kind) * 256 + 0xef01 + 0x0100 + u32::from(group);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    let [high, low] = (!sum).to_be_bytes();
    frame.extend([kind, 0, high, low, 239, 1, 1, group]);
    frame
}

/// The same with an 802.1Q tag.
fn tagged(frame: &[u8], vid: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0], &vid.to_be_bytes(), rest].concat()
}

/// Over IPv6, which has no identification that would have to count up.
fn udp6(payload: usize) -> Vec<u8> {
    let address = |station| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, station).octets();
    let builder = PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets())
        .ipv6(address(1), address(2), 64)
        .udp(4000, 4001);
    let mut frame = Vec::new();
    builder
        .write(&mut frame, &vec![0; payload])
        .expect("writing to a vector");
    frame
}

fn tcp(payload: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(mac(1).octets(), mac(2).octets())
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(4000, 4001, 7, 65_535);
    let mut frame = Vec::new();
    builder
        .write(&mut frame, &vec![0; payload])
        .expect("writing to a vector");
    frame
}

/// The vnet header of a TCP frame whose checksum is missing: header of 54 bytes, checksum at 34 + 16.
fn raw_vnet(gso: Gso) -> [u8; VnetHeader::LEN] {
    let open = OpenChecksum {
        start: 34,
        offset: 16,
    };
    RawVnet::new(gso, Some(open)).with_header_len(54).to_bytes()
}
