//! DNSSEC on the wire: what a client asks for reaches the server, and what the server proves reaches the client.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Lab, has};
use crate::harness::Host;

/// The bits of a query that ask for DNSSEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    dnssec_ok: bool,
    checking_disabled: bool,
}

#[test]
fn dnssec_bits_reach_the_server_and_signatures_come_back() {
    let host = Host::start();
    let seen = signed_server(&host);
    let lab = Lab::new(&host, &["--dns", &SERVER.to_string()]);
    let next = || seen.recv_timeout(Duration::from_secs(5)).unwrap();
    let mut wanted = Wanted {
        dnssec_ok: true,
        checking_disabled: false,
    };
    let signed = lab.dig(&host, "one.signed.test A +dnssec");
    has(&signed, "flags: qr rd ra ad;|flags: do;|RRSIG\tA 13 3 300");
    assert_eq!(next(), wanted);
    // From memory, nothing is lost of it.
    assert_eq!(
        rrsig(&signed),
        rrsig(&lab.dig(&host, "one.signed.test A +dnssec"))
    );
    wanted.checking_disabled = true;
    has(
        &lab.dig(&host, "two.signed.test A +dnssec +cdflag"),
        "flags: qr rd ra ad cd;|RRSIG",
    );
    assert_eq!(next(), wanted);
    // AD alone says that the client understands it (RFC 6840 §5.7); without either bit there is no proof to show.
    has(
        &lab.dig(&host, "three.signed.test A +adflag"),
        "flags: qr rd ra ad;|ANSWER: 1",
    );
    wanted = Wanted {
        dnssec_ok: false,
        checking_disabled: false,
    };
    assert_eq!(next(), wanted);
    has(
        &lab.dig(&host, "four.signed.test A +noadflag"),
        "flags: qr rd ra;|ANSWER: 1",
    );
    assert_eq!(next(), wanted);
    assert!(seen.try_recv().is_err(), "asked twice");
}

fn rrsig(shown: &str) -> Option<String> {
    let line = shown.lines().find(|line| line.contains("RRSIG"))?;
    let mut words = line.split_whitespace();
    // The lifetime differs.
    words.nth(1);
    Some(words.collect::<Vec<_>>().join(" "))
}

/// A server in the host's namespace that says yes to everything, as one that validates, and tells what it was asked.
fn signed_server(host: &Host) -> Receiver<Wanted> {
    host.netns.sh(&format!("ip addr add {SERVER}/32 dev lo"));
    let socket = host.netns.enter(|| UdpSocket::bind((SERVER, 53)).unwrap());
    let (sender, seen) = channel();
    // It ends with the test, whose process each test has to itself.
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            let wanted = Wanted {
                dnssec_ok: asks_for_dnssec(query),
                checking_disabled: query[3] & CD != 0,
            };
            let _ = socket.send_to(&reply(query, wanted.dnssec_ok), client);
            if sender.send(wanted).is_err() {
                return;
            }
        }
    });
    seen
}

/// Whether the query ends in an OPT record without options whose flags have DO (RFC 6891 §6.1.2).
fn asks_for_dnssec(query: &[u8]) -> bool {
    match query.last_chunk::<11>() {
        Some([0, 0, 41, _, _, _, _, high, _, 0, 0]) => high & 0x80 != 0,
        _ => false,
    }
}

/// One address, with its signature if asked for, and AD.
fn reply(query: &[u8], dnssec: bool) -> Vec<u8> {
    let question_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let answers = 1 + u8::from(dnssec);
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | AD | (query[3] & CD)]);
    reply.extend([0, 1, 0, answers, 0, 0, 0, 1]);
    reply.extend(&query[12..question_end]);
    // The name of the question, type A, class IN, 300 s.
    reply.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xcb\0\x71\x07");
    if dnssec {
        // RFC 4034 §3.1: A, algorithm 13, three labels, 300 s, until, since, key tag, signer, signature.
        let mut rrsig = b"\0\x01\x0d\x03\0\0\x01\x2c\x7f\0\0\0\x60\0\0\0\x12\x34".to_vec();
        rrsig.extend(b"\x06signed\x04test\0");
        rrsig.extend([0xa5; 64]);
        reply.extend(b"\xc0\x0c\0\x2e\0\x01\0\0\x01\x2c\0");
        reply.push(u8::try_from(rrsig.len()).unwrap());
        reply.extend(rrsig);
    }
    reply.extend([0, 0, 41, 4, 208, 0, 0, u8::from(dnssec) << 7, 0, 0, 0]);
    reply
}

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 102, 53);
const AD: u8 = 0x20;
const CD: u8 = 0x10;
