use hickory_proto::op::{Edns, MessageType, OpCode, Query};
use proptest::prelude::*;

use super::*;
use crate::{EndpointNames, ZoneConfig};

fn zone() -> Zone {
    let mut zone = Zone::new(ZoneConfig {
        network: "mynet".to_owned(),
        subnets: vec![("10.1.0.0".parse().unwrap(), 16)],
        records: Vec::new(),
    });
    for last in 1..=100 {
        let names = EndpointNames {
            name: format!("web{last}"),
            aliases: vec!["all".to_owned()],
            v4: Some([10, 1, 0, last].into()),
            ..EndpointNames::default()
        };
        zone.insert(&last.to_string(), names).unwrap();
    }
    zone
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(99, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(message: &Message) -> Answer {
    ask_over(message, Carrier::Udp)
}

fn ask_over(message: &Message, carrier: Carrier) -> Answer {
    answer(
        &zone(),
        &message.to_vec().unwrap(),
        carrier,
        Policy::Forward,
    )
}

fn reply(answer: Answer) -> Message {
    match answer {
        Answer::Reply(bytes) | Answer::Refuse(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?} carries no reply"),
    }
}

fn code(answer: Answer) -> ResponseCode {
    reply(answer).metadata.response_code
}

#[test]
fn local_answer_is_authoritative_and_keeps_the_question_as_asked() {
    let reply = reply(ask(&query("WeB7.mYnEt.", RecordType::A)));
    assert_eq!(reply.metadata.id, 99);
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
    assert!(reply.metadata.recursion_desired && !reply.metadata.truncation);
    assert_eq!(reply.queries[0].name.to_ascii(), "WeB7.mYnEt.");
    assert_eq!(reply.answers.len(), 1);
    assert_eq!(reply.answers[0].name.to_ascii(), "WeB7.mYnEt.");
    assert_eq!(reply.answers[0].ttl, 5);
    assert_eq!(
        reply.answers[0].data,
        RData::A(rdata::A([10, 1, 0, 7].into()))
    );
    assert!(reply.edns.is_none());
}

#[test]
fn known_name_without_that_type_is_an_empty_noerror() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::Unknown(4711)] {
        let reply = reply(ask(&query("web1.", kind)));
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty());
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA);
        assert_eq!(reply.authorities[0].name.to_ascii(), "web1.");
    }
}

#[test]
fn absent_name_carries_an_soa_of_its_parent() {
    let reply = reply(ask(&query("nobody.localhost.invalid.", RecordType::A)));
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    let soa = &reply.authorities[0];
    assert_eq!(
        (soa.name.to_ascii(), soa.ttl),
        ("localhost.invalid.".to_owned(), 5)
    );
}

#[test]
fn service_answer_brings_its_targets_addresses() {
    let mut zone = zone();
    let names = EndpointNames {
        name: "srv".to_owned(),
        v4: Some([10, 1, 0, 200].into()),
        services: vec![crate::Service {
            carrier: crate::Carrier::Tcp,
            number: 443,
            published: 8443,
            count: 1,
        }],
        ..EndpointNames::default()
    };
    zone.insert("srv", names).unwrap();
    let query = query("_https._tcp.srv.", RecordType::SRV).to_vec().unwrap();
    let reply = reply(answer(&zone, &query, Carrier::Udp, Policy::Internal));
    let RData::SRV(srv) = &reply.answers[0].data else {
        panic!("{reply:?}");
    };
    assert_eq!(
        (srv.port, srv.target.to_ascii()),
        (443, "srv.mynet.".to_owned())
    );
    assert_eq!(reply.additionals[0].name, srv.target);
}

#[test]
fn reverse_names_of_own_subnets_are_never_forwarded() {
    let known = reply(ask(&query("7.0.1.10.in-addr.arpa.", RecordType::PTR)));
    let web = Name::from_ascii("web7.mynet.").unwrap();
    assert_eq!(known.answers[0].data, RData::PTR(rdata::PTR(web)));
    let unknown = ask(&query("200.0.1.10.in-addr.arpa.", RecordType::PTR));
    assert_eq!(code(unknown), ResponseCode::NXDomain);
    let foreign = ask(&query("8.8.8.8.in-addr.arpa.", RecordType::PTR));
    assert!(matches!(foreign, Answer::Forward(_)));
}

#[test]
fn foreign_names_leave_only_networks_that_are_not_internal() {
    let foreign = query("example.com.", RecordType::A);
    assert!(matches!(ask(&foreign), Answer::Forward(_)));
    let bytes = foreign.to_vec().unwrap();
    let refused = answer(&zone(), &bytes, Carrier::Udp, Policy::Internal);
    assert!(matches!(refused, Answer::Refuse(_)));
    assert_eq!(code(refused), ResponseCode::NXDomain);
}

#[test]
fn a_client_on_two_networks_knows_the_names_of_both() {
    let mut other = Zone::new(ZoneConfig {
        network: "other".to_owned(),
        subnets: vec![("10.2.0.0".parse().unwrap(), 16)],
        records: Vec::new(),
    });
    let db = EndpointNames {
        name: "db".to_owned(),
        v4: Some([10, 2, 0, 2].into()),
        ..EndpointNames::default()
    };
    other.insert("db", db).unwrap();
    let both = |name: &str, kind| {
        let query = query(name, kind).to_vec().unwrap();
        answer_among(&zone(), &[&other], &query, Carrier::Udp, Policy::Forward)
    };
    for name in ["db.", "db.other.", "web1."] {
        assert_eq!(reply(both(name, RecordType::A)).answers.len(), 1, "{name}");
    }
    let pointer = both("2.0.2.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(reply(pointer).answers.len(), 1);
    assert_eq!(code(both("nobody.", RecordType::A)), ResponseCode::NXDomain);
    assert_eq!(
        code(ask(&query("db.", RecordType::A))),
        ResponseCode::NXDomain
    );
}

#[test]
fn answer_longer_than_the_client_takes_is_truncated() {
    let short = query("all.", RecordType::A);
    let cut = reply(ask(&short));
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(reply(ask_over(&short, Carrier::Tcp)).answers.len(), 100);

    let mut long = short;
    let mut edns = Edns::new();
    edns.set_max_payload(65_000);
    long.set_edns(edns);
    let Answer::Reply(bytes) = ask(&long) else {
        panic!("no reply");
    };
    assert!(bytes.len() <= 1232);
    let cut = Message::from_vec(&bytes).unwrap();
    assert!(cut.metadata.truncation && cut.edns.is_some());
}

#[test]
fn edns_is_returned_when_offered() {
    let mut message = query("web1.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(100).set_dnssec_ok(true);
    message.set_edns(edns);
    let own = reply(ask(&message)).edns.unwrap();
    assert_eq!((own.version(), own.max_payload()), (0, 1232));
    assert!(own.flags().dnssec_ok);
}

#[test]
fn unknown_edns_version_is_badvers() {
    let mut message = query("web1.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    message.set_edns(edns);
    let reply = reply(ask(&message));
    // 16 is also BADSIG, which is how hickory reads it back.
    assert_eq!(u16::from(reply.metadata.response_code), 16);
    assert_eq!(reply.edns.unwrap().version(), 0);
    assert!(reply.answers.is_empty());
}

#[test]
fn messages_that_are_no_single_question_are_formerr() {
    let mut none = query("web1.", RecordType::A);
    none.queries.clear();
    assert_eq!(code(ask(&none)), ResponseCode::FormErr);
    let mut two = query("web1.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(ask(&two)), ResponseCode::FormErr);
    let mut cut = query("web1.", RecordType::A).to_vec().unwrap();
    cut.truncate(15);
    let refused = answer(&zone(), &cut, Carrier::Udp, Policy::Forward);
    assert_eq!(code(refused), ResponseCode::FormErr);
    let mut looping = query("web1.", RecordType::A).to_vec().unwrap();
    looping[12..14].copy_from_slice(&[0xc0, 12]);
    let refused = answer(&zone(), &looping, Carrier::Udp, Policy::Forward);
    assert_eq!(code(refused), ResponseCode::FormErr);
}

#[test]
fn responses_and_scraps_meet_silence() {
    let mut response = query("web1.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(ask(&response), Answer::Ignore);
    for scrap in [&b""[..], &[0; 11]] {
        let ignored = answer(&zone(), scrap, Carrier::Udp, Policy::Forward);
        assert_eq!(ignored, Answer::Ignore);
    }
}

#[test]
fn other_opcodes_are_not_implemented() {
    for opcode in [OpCode::Status, OpCode::Notify, OpCode::Update] {
        let mut message = query("web1.", RecordType::A);
        message.metadata.op_code = opcode;
        assert_eq!(code(ask(&message)), ResponseCode::NotImp);
    }
}

#[test]
fn zone_transfers_and_other_classes_are_refused() {
    assert_eq!(
        code(ask(&query("mynet.", RecordType::AXFR))),
        ResponseCode::Refused
    );
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(code(ask(&chaos)), ResponseCode::Refused);
}

#[test]
fn servfail_repeats_id_and_question() {
    let bytes = query("example.com.", RecordType::A).to_vec().unwrap();
    let reply = Message::from_vec(&servfail(&bytes).unwrap()).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((reply.metadata.id, reply.queries.len()), (99, 1));
    assert_eq!(servfail(b"scrap"), None);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let zone = Zone::new(ZoneConfig::default());
        let _ = answer(&zone, &bytes, Carrier::Udp, Policy::Internal);
        let _ = servfail(&bytes);
    }

    #[test]
    fn no_damaged_query_panics(
        damage in proptest::collection::vec((0_usize..60, any::<u8>()), 0..8),
        additional in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let zone = Zone::new(ZoneConfig::default());
        let mut message = query("web1.mynet.", RecordType::A);
        message.set_edns(Edns::new());
        let mut bytes = message.to_vec().unwrap();
        bytes.extend(additional);
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let verdict = answer(&zone, &bytes, Carrier::Udp, Policy::Internal);
        if let Answer::Reply(reply) | Answer::Refuse(reply) = verdict {
            prop_assert!(reply.len() <= 1232);
            prop_assert_eq!(&reply[..2], &bytes[..2]);
        }
    }
}
