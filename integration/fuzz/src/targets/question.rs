//! What containers ask of DNS.
//!
//! An input is a policy and a carrier, then a message.

use std::sync::LazyLock;

use dns_core::{
    Answer, Carrier, EndpointNames, Policy, Service, Zone, ZoneConfig, answer, servfail,
};
use hickory_proto::op::Message;

use crate::Target;
use crate::input::kind;

pub(crate) const TARGET: Target = Target {
    name: "question",
    run,
    length_max: 1024,
    words: &[
        b"\x03web\x05mynet\x00",
        b"\x03web\x00",
        b"\x04_tcp",
        b"\x012\x010\x011\x0210\x07in-addr\x04arpa\x00",
        b"\x00\x01\x00\x01",
        b"\x00\x1c\x00\x01",
        b"\x00\x21\x00\x01",
        b"\x00\x0c\x00\x01",
        b"\x00\xff\x00\x01",
        b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00",
        b"\xc0\x0c",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, message)) = kind(input) else {
        return;
    };
    let carrier = match kind & 1 {
        0 => Carrier::Udp,
        _ => Carrier::Tcp,
    };
    let policy = match kind & 2 {
        0 => Policy::Forward,
        _ => Policy::Internal,
    };
    match answer(&ZONE, message, carrier, policy) {
        Answer::Ignore => {}
        Answer::Reply(reply) | Answer::Refuse(reply) => check(message, &reply, carrier),
        Answer::Forward(request) => {
            assert_eq!(
                policy,
                Policy::Forward,
                "nothing leaves an internal network"
            );
            check(message, &request.failure(carrier), carrier);
        }
    }
    if let Some(reply) = servfail(message) {
        check(message, &reply, Carrier::Udp);
    }
}

/// A reply is one, to that question, and of a length that the client takes.
fn check(message: &[u8], reply: &[u8], carrier: Carrier) {
    assert!(
        reply.len()
            <= if carrier == Carrier::Udp {
                UDP_MAX
            } else {
                TCP_MAX
            }
    );
    assert_eq!(reply[..2], message[..2], "the client's number");
    assert_eq!(message[2] & QR, 0, "a response is not responded to");
    assert_eq!(reply[2] & QR, QR);
    assert_eq!(reply[2] & RD, message[2] & RD);
    let said = Message::from_vec(reply).expect("a reply is well formed");
    if let (Ok(asked), Some(question)) = (Message::from_vec(message), said.queries.first()) {
        assert_eq!(said.queries.len(), 1);
        assert_eq!(asked.queries.first(), Some(question));
        assert!(said.edns.is_none() || asked.edns.is_some());
    }
}

/// Nothing changes it, and making it takes longer than all the rest.
pub(crate) static ZONE: LazyLock<Zone> = LazyLock::new(zone);

fn zone() -> Zone {
    let mut zone = Zone::new(ZoneConfig {
        network: "mynet".to_owned(),
        subnets: vec![("10.1.0.0".parse().unwrap(), 16)],
        records: vec![("fixed".to_owned(), [10, 9, 0, 1].into())],
    });
    for last in 2..60 {
        let names = EndpointNames {
            name: if last == 2 {
                "web".to_owned()
            } else {
                format!("web{last}")
            },
            aliases: vec!["all".to_owned()],
            v4: Some([10, 1, 0, last].into()),
            v6: Some([0xfd00, 0, 0, 0, 0, 0, 0, last.into()].into()),
            services: vec![Service {
                carrier: Carrier::Tcp,
                number: 80,
                published: 8080,
                count: 2,
            }],
            ..EndpointNames::default()
        };
        zone.insert(&last.to_string(), names).unwrap();
    }
    zone
}

const QR: u8 = 0x80;
const RD: u8 = 1;
/// What the forwarder offers at most (RFC 9715).
const UDP_MAX: usize = 1232;
const TCP_MAX: usize = 65_535;
