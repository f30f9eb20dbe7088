//! What becomes of one DNS message.
//!
//! # Theory of operation
//!
//! A message is refused, answered from the zone, or forwarded, in that order. Local answers are authoritative and
//! live five seconds: a name must be gone soon after its container is. A name that is known has all its types here,
//! so an absent type is an empty answer and never a question to the world. A negative answer carries an SOA
//! record, without which resolvers would not remember it (RFC 2308 §5). It lives five seconds too. The record's owner is the
//! name itself or its parent, as if each were a zone of its own: the owner must stand above the name, and the network's name
//! often does not.
//!
//! In an internal network, foreign names do not exist (NXDOMAIN). That is true of such a network, which reaches
//! nothing of the world, and it ends a resolver's search at once, where REFUSED or SERVFAIL would make it retry and
//! report a temporary failure.

use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, rdata};

use crate::request::{NoQuery, RawHeader};
use crate::{Carrier, Lookup, Request, ServiceTarget, Zone};

/// Whether names that are not the network's own may leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Forward,
    /// Internal networks: nothing leaves.
    Internal,
}

/// The verdict on one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// Not ours: ask the upstream, and send back what it says.
    Forward(Box<Request>),
    /// Send this back, which refuses the question. Kept apart from `Reply` for the counters.
    Refuse(Vec<u8>),
    /// Send nothing.
    Ignore,
}

/// Decides about `message`, a complete DNS message without TCP's length prefix.
pub fn answer(zone: &Zone, message: &[u8], carrier: Carrier, policy: Policy) -> Answer {
    answer_among(zone, &[], message, carrier, policy)
}

/// The same for a client that is on other networks too, whose names it may know as well.
pub fn answer_among(
    zone: &Zone,
    others: &[&Zone],
    message: &[u8],
    carrier: Carrier,
    policy: Policy,
) -> Answer {
    let request = match Request::parse(message) {
        Ok(request) => request,
        Err(NoQuery::Silence) => return Answer::Ignore,
        Err(NoQuery::Refusal(reply)) => return Answer::Refuse(reply),
    };
    if let Some(code) = objection(&request) {
        let reply = request.response(code);
        return Answer::Refuse(request.encode(reply, carrier));
    }
    let question = request.question();
    let reply = match lookup(zone, others, &question.name, question.query_type) {
        Lookup::Addresses(addresses) => positive(&request, addresses.into_iter().map(address_data)),
        Lookup::Pointer(name) => positive(&request, [RData::PTR(rdata::PTR(name))]),
        Lookup::Services(targets) => services(&request, targets),
        Lookup::NoData => negative(&request, ResponseCode::NoError, &question.name),
        Lookup::Absent => negative(&request, ResponseCode::NXDomain, &question.name.base_name()),
        Lookup::Foreign if policy == Policy::Forward => return Answer::Forward(Box::new(request)),
        Lookup::Foreign => return Answer::Refuse(absent(&request, carrier)),
    };
    Answer::Reply(request.encode(reply, carrier))
}

/// The reply that says that nobody has the name.
pub fn absent(request: &Request, carrier: Carrier) -> Vec<u8> {
    let parent = request.question().name.base_name();
    let reply = negative(request, ResponseCode::NXDomain, &parent);
    request.encode(reply, carrier)
}

/// The network that was asked comes first, where it knows the name.
fn lookup(zone: &Zone, others: &[&Zone], name: &Name, record_type: RecordType) -> Lookup {
    match zone.lookup(name, record_type) {
        unknown @ (Lookup::Absent | Lookup::Foreign) => others
            .iter()
            .find_map(|other| other.known(name, record_type))
            .unwrap_or(unknown),
        known => known,
    }
}

/// The SERVFAIL for `message`; `None` when it is no query that could be replied to.
pub fn servfail(message: &[u8]) -> Option<Vec<u8>> {
    match Request::parse(message) {
        Ok(request) => {
            let reply = request.response(ResponseCode::ServFail);
            Some(request.encode(reply, Carrier::Udp))
        }
        Err(_) => RawHeader::parse(message)
            .filter(|header| !header.is_response())
            .map(|header| header.reply(ResponseCode::ServFail)),
    }
}

/// Why a well-formed query is not for a resolver: classes other than the Internet's, zone transfers, and types that
/// are no question at all.
fn objection(request: &Request) -> Option<ResponseCode> {
    let question = request.question();
    match question.query_type {
        RecordType::OPT | RecordType::TSIG | RecordType::ZERO => Some(ResponseCode::FormErr),
        RecordType::AXFR | RecordType::IXFR => Some(ResponseCode::Refused),
        _ if !matches!(question.query_class, DNSClass::IN | DNSClass::ANY) => {
            Some(ResponseCode::Refused)
        }
        _ => None,
    }
}

fn positive(request: &Request, data: impl IntoIterator<Item = RData>) -> Message {
    let mut reply = local(request, ResponseCode::NoError);
    let owner: &Name = &request.question().name;
    for data in data {
        reply.add_answer(Record::from_rdata(owner.clone(), LOCAL_TTL_S, data));
    }
    reply
}

/// The targets (RFC 2782), and in the additional section where they are.
fn services(request: &Request, targets: Vec<ServiceTarget>) -> Message {
    let mut reply = local(request, ResponseCode::NoError);
    let owner: &Name = &request.question().name;
    for service in targets {
        let addresses = service.addresses.into_iter().map(address_data);
        for data in addresses {
            let record = Record::from_rdata(service.target.clone(), LOCAL_TTL_S, data);
            reply.add_additional(record);
        }
        let data = RData::SRV(rdata::SRV::new(0, 1, service.number, service.target));
        reply.add_answer(Record::from_rdata(owner.clone(), LOCAL_TTL_S, data));
    }
    reply
}

/// A negative answer, which lasts as long as a positive one.
fn negative(request: &Request, code: ResponseCode, zone: &Name) -> Message {
    let mut reply = local(request, code);
    let nobody = Name::from_labels([&b"nobody"[..], b"invalid"]).unwrap_or_default();
    let ttl = i32::try_from(LOCAL_TTL_S).unwrap_or(0);
    let soa = rdata::SOA::new(zone.clone(), nobody, 1, ttl, ttl, ttl, LOCAL_TTL_S);
    reply.add_authority(Record::from_rdata(
        zone.clone(),
        LOCAL_TTL_S,
        RData::SOA(soa),
    ));
    reply
}

fn local(request: &Request, code: ResponseCode) -> Message {
    let mut reply = request.response(code);
    reply.metadata.authoritative = true;
    reply
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(rdata::A(address)),
        IpAddr::V6(address) => RData::AAAA(rdata::AAAA(address)),
    }
}

/// Lifetime of local answers, in seconds.
const LOCAL_TTL_S: u32 = 5;

#[cfg(test)]
mod tests;
