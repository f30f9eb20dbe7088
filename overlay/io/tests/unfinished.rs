//! What a sender behind the kernel's VXLAN device leaves unfinished inside an encapsulation of its own. Needs root.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use overlay_io::{VxlanConfig, VxlanTunnel};
use overlay_lab::{Network, Station, Underlay, ip, kernel_container, vni};
use switch_io::EngineChoice;
use switch_io::packet::{PacketFrame, PacketSocket};
use switch_lab::internet_sum;

const MTU: u32 = 1430;
const OUTSIDE: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const NEEDS_CSUM: u8 = 1;
/// The field of UDP's checksum.
const OFFSET: usize = 6;

#[test]
fn a_checksum_left_open_inside_an_encapsulation_arrives_right() {
    let underlay = Underlay::new();
    let (_network, ours) = ours(&underlay);
    let options = format!("id 42 local {} remote {}", OUTSIDE[1], OUTSIDE[0]);
    let theirs = kernel_container(&underlay.hosts[1], &options, MTU, &["10.9.0.2/24"]);
    let receiver = ours.run(|| PacketSocket::open("eth0").unwrap());
    let inner = udp(5000, b"the innermost");
    for (what, frame) in [
        ("plain", inner.clone()),
        ("VXLAN", vxlan(&inner)),
        ("VXLAN in VXLAN", vxlan(&vxlan(&inner))),
    ] {
        let start = frame.len() - inner.len() + 34;
        send(&theirs, frame.clone(), start);
        let received = receive(&receiver, frame.len());
        assert!(received.frame[..start + OFFSET] == frame[..start + OFFSET]);
        assert!(is_right(&finished(received), start), "{what}");
    }
}

/// A host of ours with one container; what is returned keeps it alive.
fn ours(underlay: &Underlay) -> ((Network, VxlanTunnel), Station) {
    let host = &underlay.hosts[0];
    let mut network = Network::new(EngineChoice::Auto, MTU);
    let (tunnel, trunk) =
        host.run(|| VxlanTunnel::bind(&VxlanConfig::new(ip(OUTSIDE[0]))).unwrap());
    network.trunk(trunk);
    network.tunnel(tunnel.port(vni(42), ip(OUTSIDE[1]), MTU).unwrap());
    let (_, container) = network.container(host, &["10.9.0.1/24"]);
    ((network, tunnel), container)
}

fn send(from: &Station, frame: Vec<u8>, start: usize) {
    let mut vnet = [NEEDS_CSUM, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (at, value) in [(6, start), (8, OFFSET)] {
        vnet[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_ne_bytes());
    }
    from.run(move || {
        let socket = PacketSocket::open("eth0").unwrap();
        socket.send(&vnet, &frame).unwrap();
    });
}

/// The next frame of that length and from the sender of [`udp`].
fn receive(socket: &PacketSocket, len: usize) -> PacketFrame {
    loop {
        let received = socket.receive(Duration::from_secs(5)).unwrap().unwrap();
        if received.frame.len() == len && received.frame[6..12] == [2, 0, 0, 0, 0, 0x77] {
            return received;
        }
    }
}

/// A broadcast frame with a datagram whose checksum is the pseudo-header's sum.
fn udp(udp_port: u16, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).unwrap();
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 0x77, 8, 0, 0x45, 0]);
    frame.extend((20 + udp_len).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1]);
    let header = !internet_sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    frame.extend(
        [4000, udp_port, udp_len, pseudo_header(&frame, 14, udp_len)]
            .map(u16::to_be_bytes)
            .concat(),
    );
    frame.extend(payload);
    frame
}

/// `frame` in VXLAN without a checksum, on a port that is not VXLAN's own.
fn vxlan(frame: &[u8]) -> Vec<u8> {
    let mut outer = udp(7777, &[&[8, 0, 0, 0, 0, 0, 7, 0], frame].concat());
    outer[34 + OFFSET..][..2].fill(0);
    outer
}

/// With the checksum computed that the vnet header asks for.
fn finished(received: PacketFrame) -> Vec<u8> {
    let PacketFrame { vnet, mut frame } = received;
    if vnet[0] & NEEDS_CSUM != 0 {
        let word = |at: usize| usize::from(u16::from_ne_bytes([vnet[at], vnet[at + 1]]));
        let field = word(6) + word(8);
        let checksum = !internet_sum(&frame[word(6)..]);
        frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

fn is_right(frame: &[u8], start: usize) -> bool {
    let udp_len = u16::try_from(frame.len() - start).unwrap();
    let pseudo_header = pseudo_header(frame, start - 20, udp_len).to_be_bytes();
    internet_sum(&[&pseudo_header, &frame[start..]].concat()) == 0xffff
}

/// Of the IPv4 packet that starts at `at`.
fn pseudo_header(frame: &[u8], at: usize, udp_len: u16) -> u16 {
    let [high, low] = udp_len.to_be_bytes();
    internet_sum(&[&frame[at + 12..at + 20], &[0, 17, high, low]].concat())
}
