//! Traffic from one station to another, of which every byte is checked, or the rate measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use switch_io::packet::PacketSocket;
use switch_lab::Station;

use crate::ip;

/// Gbit/s of one TCP stream for `seconds` from there to `server`, which runs `iperf3 -s`.
pub fn iperf(from: &Station, server: &str, seconds: u32, options: &str) -> f64 {
    let report = from.sh(&format!("iperf3 -J -c {server} -t {seconds} {options}"));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let retransmits = report["end"]["sum_sent"]["retransmits"].as_u64();
    if let Some(count @ 1..) = retransmits {
        eprintln!("{count} retransmits");
    }
    report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .unwrap()
        / 1e9
}

/// Sends `len` bytes by TCP and checks every one.
pub fn transfer(from: &Station, to: &Station, address: &str, len: usize) {
    let address = (ip(address), 9);
    let listener = to.run(move || TcpListener::bind(address).unwrap());
    let receiver = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let data: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[n % 3]).collect();
    let mut stream = from.run(move || TcpStream::connect(address).unwrap());
    stream
        .set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(&data).unwrap();
    drop(stream);
    assert!(
        receiver.join().unwrap() == data,
        "the data changed on the way"
    );
}

/// Sends bursts of datagrams and checks that each arrives, in order, as the packet it was sent as.
pub fn datagrams_stay_as_they_were_sent(from: &Station, to: &Station, address: &str) {
    to.sh(
        "nft 'add table ip watch; add chain ip watch i { type filter hook input priority 0; };
           add rule ip watch i udp dport 19 udp length != 108 counter'",
    );
    let address = SocketAddr::new(ip(address), 19);
    let receiver = to.run(move || UdpSocket::bind(address).unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let sender = from.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    sender.connect(address).unwrap();
    for round in 0..50 {
        for n in 0..40 {
            sender.send(&[round ^ n; 100]).unwrap();
        }
        for n in 0..40 {
            let mut datagram = [0; 200];
            assert_eq!(receiver.recv(&mut datagram).unwrap(), 100);
            assert_eq!(datagram[0], round ^ n, "round {round}");
        }
    }
    let rules = to.sh("nft list table ip watch");
    assert!(rules.contains("counter packets 0 "), "{rules}");
}

/// Unicast, broadcast, IPv6, superframes and tagged frames, both ways.
pub fn everything_crosses(a: &Station, b: &Station) {
    assert!(a.pings("10.9.0.2"));
    assert!(b.pings("fd09::1"));
    transfer(a, b, "10.9.0.2", TRANSFER);
    transfer(b, a, "10.9.0.1", TRANSFER);
    transfer(a, b, "fd09::2", TRANSFER);
    transfer(b, a, "fd09::1", TRANSFER);
    tagged_frames_cross(a, b);
    tagged_frames_cross(b, a);
}

/// Broadcast and with two VLAN tags.
fn tagged_frames_cross(from: &Station, to: &Station) {
    let mut frame = vec![0xff; 6];
    frame.extend([
        2, 0, 0, 0, 0, 0x77, 0x88, 0xa8, 0, 7, 0x81, 0, 0x20, 9, 0x88, 0xb5,
    ]);
    frame.extend([5; 60]);
    let receiver = to.run(|| PacketSocket::open("eth0").unwrap());
    let sent = frame.clone();
    from.run(move || {
        PacketSocket::open("eth0")
            .unwrap()
            .send(&[0; 10], &sent)
            .unwrap()
    });
    while let Some(received) = receiver.receive(Duration::from_secs(5)).unwrap() {
        if received.frame == frame {
            return;
        }
    }
    panic!("the tagged frame did not arrive");
}

pub const TRANSFER: usize = 8 << 20;
