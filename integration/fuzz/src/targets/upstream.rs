//! What servers upstream answer, with private addresses taken out.
//!
//! An input is who asks, then the server's message.

use std::net::IpAddr;

use dns_core::{Carrier, Request, strip_private};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use ipnet::IpNet;

use crate::Target;
use crate::input::kind;

pub(crate) const TARGET: Target = Target {
    name: "upstream",
    run,
    length_max: 2048,
    words: &[
        b"\x07example\x04test\x00",
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01",
        b"\xc0\x0c\x00\x1c\x00\x01\x00\x00\x00\x3c\x00\x10",
        b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c",
        b"\x00\x41",
        b"\x00\x40",
        b"\x7f\x00\x00\x01",
        b"\xc0\xa8\x00\x01",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01",
        b"\x00\x64\xff\x9b\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x01",
        b"\xfd\x00",
        b"\xfe\x80",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, bytes)) = kind(input) else {
        return;
    };
    let carrier = match kind & 1 {
        0 => Carrier::Udp,
        _ => Carrier::Tcp,
    };
    let Ok(mut message) = Message::from_vec(bytes) else {
        return;
    };
    let records = message.answers.len() + message.authorities.len() + message.additionals.len();
    let was_stripped = strip_private(&mut message);
    let left = message.answers.len() + message.authorities.len() + message.additionals.len();
    assert_eq!(was_stripped, left < records);
    assert!(!strip_private(&mut message.clone()), "once is enough");
    let request = request();
    let reply = request.encode(message, carrier);
    assert!(reply.len() <= if carrier == Carrier::Udp { 512 } else { 65_535 });
    let reply = Message::from_vec(&reply).expect("a reply is well formed");
    assert_eq!(reply.metadata.id, ID);
    assert_eq!(reply.queries, [request.question().clone()]);
    for record in reply
        .answers
        .iter()
        .chain(&reply.authorities)
        .chain(&reply.additionals)
    {
        let address: IpAddr = match record.data {
            RData::A(address) => address.0.into(),
            RData::AAAA(address) => address.0.into(),
            _ => continue,
        };
        let private: Option<&&str> = PRIVATE.iter().find(|net| {
            let net: IpNet = net.parse().unwrap();
            net.contains(&address)
        });
        assert_eq!(private, None, "{address} came through");
    }
}

fn request() -> Request {
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(
        Name::from_ascii("Example.test.").unwrap(),
        RecordType::A,
    ));
    Request::parse(&message.to_vec().unwrap()).expect("it is a question")
}

const ID: u16 = 4711;
/// Said once more, in other words than the filter's own.
const PRIVATE: [&str; 18] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::/128",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "::ffff:10.0.0.0/104",
    "::ffff:127.0.0.0/104",
    "::ffff:192.168.0.0/112",
    "::ffff:169.254.0.0/112",
    "64:ff9b::10.0.0.0/104",
    "64:ff9b::127.0.0.0/104",
    "64:ff9b::192.168.0.0/112",
];
