//! EDNS as ISC's genreport asks for it, and messages that are none.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::{Lab, has};
use crate::harness::{Host, enter};

/// The questions of ISC's DNS-Compliance-Testing (genreport.c), asked of a local and of a forwarded name.
#[test]
fn edns_is_answered_as_the_compliance_matrix_asks() {
    let host = Host::start();
    let lab = Lab::new(&host, &[]);
    for name in ["client", "plain.example.com"] {
        for (options, expected) in [
            // dns, aa, ad, cd, rd: plain queries.
            ("+noedns", "NOERROR|ANSWER: 1"),
            ("+noedns +adflag", "NOERROR|ANSWER: 1"),
            ("+noedns +cdflag", "NOERROR|ANSWER: 1"),
            // edns, edns@512, do
            ("+edns=0", "NOERROR|EDNS: version: 0|ANSWER: 1"),
            ("+edns=0 +bufsize=512", "NOERROR|EDNS: version: 0|ANSWER: 1"),
            (
                "+edns=0 +dnssec",
                "NOERROR|EDNS: version: 0, flags: do|ANSWER: 1",
            ),
            // edns1, edns1opt, edns1do, edns1flags
            ("+edns=1 +noednsneg", "BADVERS|EDNS: version: 0|ANSWER: 0"),
            (
                "+edns=1 +noednsneg +ednsopt=100",
                "BADVERS|EDNS: version: 0|ANSWER: 0",
            ),
            (
                "+edns=1 +noednsneg +dnssec",
                "BADVERS|EDNS: version: 0|ANSWER: 0",
            ),
            (
                "+edns=1 +noednsneg +ednsflags=0x40",
                "BADVERS|EDNS: version: 0|ANSWER: 0",
            ),
            // ednsopt, ednsflags, optlist
            ("+edns=0 +ednsopt=100", "NOERROR|EDNS: version: 0|ANSWER: 1"),
            (
                "+edns=0 +ednsflags=0x40",
                "NOERROR|EDNS: version: 0|ANSWER: 1",
            ),
            (
                "+edns=0 +nsid +expire +subnet=0.0.0.0/0 +ednsopt=10:0001020304050607",
                "NOERROR|EDNS: version: 0|ANSWER: 1",
            ),
            // docookie, ednstcp
            (
                "+edns=0 +cookie=0001020304050607 +dnssec",
                "NOERROR|EDNS: version: 0|ANSWER: 1",
            ),
            ("+edns=0 +tcp", "NOERROR|EDNS: version: 0|ANSWER: 1"),
            ("+noedns +tcp", "NOERROR|ANSWER: 1"),
        ] {
            let shown = lab.dig(&host, &format!("{name} A {options}"));
            has(&shown, expected);
            assert!(!shown.contains("MBZ"), "flags came back: {shown}");
            assert!(!shown.contains("OPT=100"), "the option came back: {shown}");
            if options.contains("+noedns ") || options.ends_with("+noedns") {
                assert!(!shown.contains("EDNS:"), "{shown}");
            }
        }
        has(&lab.dig(&host, &format!("{name} A +opcode=15")), "NOTIMP");
        has(&lab.dig(&host, &format!("{name} TYPE1000")), "NOERROR");
        has(&lab.dig(&host, &format!("{name} CH TXT")), "REFUSED");
    }
}

#[test]
fn what_is_no_query_is_refused_or_met_with_silence() {
    let host = Host::start();
    let lab = Lab::new(&host, &[]);
    let good = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06client\x00\x00\x01\x00\x01";
    let changed = |at: usize, with: &[u8]| {
        let mut message = good.to_vec();
        message[at..at + with.len()].copy_from_slice(with);
        message
    };
    let two = [&changed(4, &[0, 2])[..], &good[12..]].concat();
    let cases: [(&str, Vec<u8>, Option<u8>); 9] = [
        ("a query", good.to_vec(), Some(0)),
        ("no question", changed(4, &[0, 0])[..12].to_vec(), Some(1)),
        ("two questions", two, Some(1)),
        ("a question cut short", good[..16].to_vec(), Some(1)),
        ("a compression loop", changed(12, &[0xc0, 12]), Some(1)),
        ("a label of 127 bytes", changed(12, &[0x7f]), Some(1)),
        ("opcode 2", changed(2, &[0x11]), Some(4)),
        ("a reply", changed(2, &[0x81]), None),
        ("half a header", good[..7].to_vec(), None),
    ];
    enter(&host.sandbox("client"), || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((lab.gateway, 53)).unwrap();
        for (what, message, code) in &cases {
            socket.send(message).unwrap();
            let patience = if code.is_some() { 5000 } else { 300 };
            socket
                .set_read_timeout(Some(Duration::from_millis(patience)))
                .unwrap();
            let mut reply = [0; 512];
            let said = socket.recv(&mut reply).ok().map(|_| reply[3] & 0x0f);
            assert_eq!(said, *code, "{what}");
            if code.is_some() {
                assert_eq!(reply[..2], [0x12, 0x34], "{what}");
                assert_eq!(reply[2] & 0x80, 0x80, "{what}");
            }
        }
        tcp_framing(lab.gateway, good);
    });
    let report = host.network("lab").forwarder.unwrap();
    // Half a header and a reply, over UDP.
    assert!(report.ignored >= 2, "{report:?}");
    assert!(report.connections_reset >= 1, "{report:?}");
    has(&lab.dig(&host, "client A"), "ANSWER: 1");
}

/// Several messages on one connection, in pieces; a frame of no bytes ends it.
fn tcp_framing(gateway: IpAddr, query: &[u8]) {
    let mut stream = TcpStream::connect((gateway, 53)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let length = u16::try_from(query.len()).unwrap().to_be_bytes();
    let frame = [&length[..], query].concat();
    for byte in &frame {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(&frame.repeat(3)).unwrap();
    for _ in 0..4 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!((reply[3] & 0x0f, reply[7]), (0, 1));
    }
    stream.write_all(&[0, 0]).unwrap();
    let end = stream.read(&mut [0; 16]);
    assert!(end.is_err() || end.is_ok_and(|bytes| bytes == 0));
}
