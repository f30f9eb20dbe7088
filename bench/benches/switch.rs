//! What one frame costs the switch, without a wire: decisions, table, segmentation, coalescing, checksums.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use etherparse::PacketBuilder;
use switch_core::{
    Bridge, BridgeConfig, Coalescer, Fdb, FdbConfig, Frame, Gso, Joining, Mac, OpenChecksum,
    PortConfig, PortId, PortKind, RawVnet, Segments, Time, VnetHeader,
};

fn main() {
    divan::main();
}

const NOW: Time = Time::from_millis(1000);
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
