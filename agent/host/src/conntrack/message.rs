//! Messages to and from the kernel's connection tracking (linux/netfilter/nfnetlink_conntrack.h).
//!
//! ```text
//! nlmsghdr 16 | nfgenmsg: family 1, version 1, resource 2 | attributes
//! ```

use std::net::{IpAddr, Ipv4Addr};

use super::association::Association;
use crate::netlink::{attribute, push_attribute};

/// An entry of connection tracking, of any protocol.
pub(super) struct Connection<'a> {
    family: u8,
    /// The original direction, as the kernel wrote it.
    original: &'a [u8],
    reply: &'a [u8],
}

impl<'a> Connection<'a> {
    /// `nlmsghdr` 16 | `nfgenmsg` 4 | attributes
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
        if kind != CT_NEW {
            return None;
        }
        let family = *message.get(16)?;
        let attributes = message.get(20..)?;
        Some(Self {
            family,
            original: attribute(attributes, CTA_TUPLE_ORIG)?,
            reply: attribute(attributes, CTA_TUPLE_REPLY)?,
        })
    }

    pub(super) fn began(&self) -> Option<IpAddr> {
        ip(self.original, CTA_IP_V4_SRC, CTA_IP_V6_SRC)
    }

    /// Who answers: a container where the packets are redirected.
    pub(super) fn answers(&self) -> Option<IpAddr> {
        ip(self.reply, CTA_IP_V4_SRC, CTA_IP_V6_SRC)
    }

    pub(super) fn association(&self) -> Option<Association> {
        let udp = attribute(attribute(self.original, CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)?;
        if *udp != [UDP] {
            return None;
        }
        Some(Association {
            to: ip(self.original, CTA_IP_V4_DST, CTA_IP_V6_DST)?,
            to_port: port(self.original, CTA_PROTO_DST_PORT)?,
            answers: self.answers()?,
            answers_port: port(self.reply, CTA_PROTO_SRC_PORT)?,
        })
    }

    /// The request to delete exactly this one.
    pub(super) fn deletion(&self) -> Vec<u8> {
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, CTA_TUPLE_ORIG | NESTED, self.original);
        request(CT_DELETE, NLM_F_REQUEST, self.family, &attributes)
    }
}

/// An end of a connection: who sends in one of its directions.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Who began it.
    Began,
    /// Who answers.
    Answers,
}

impl End {
    pub(super) const BOTH: [Self; 2] = [Self::Began, Self::Answers];
}

/// The request to delete all connections with this address at this end. Kernels before 6.11 take it for the request to delete
/// one connection that is described too briefly, and refuse it.
pub(super) fn deletion_by_end(address: Ipv4Addr, end: End) -> Vec<u8> {
    let (tuple, flags) = match end {
        End::Began => (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
        End::Answers => (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
    };
    let (mut source, mut sources, mut filter) = (Vec::new(), Vec::new(), Vec::new());
    push_attribute(&mut source, CTA_IP_V4_SRC, &address.octets());
    push_attribute(&mut sources, CTA_TUPLE_IP | NESTED, &source);
    push_attribute(&mut filter, flags, &ONLY_SOURCE.to_ne_bytes());
    let mut attributes = Vec::new();
    push_attribute(&mut attributes, tuple | NESTED, &sources);
    push_attribute(&mut attributes, CTA_FILTER | NESTED, &filter);
    request(CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, AF_INET, &attributes)
}

/// The request for all connections.
pub(super) fn listing() -> Vec<u8> {
    request(CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 0, &[])
}

pub(super) fn ends_dump(message: &[u8]) -> bool {
    message.get(4..6).is_some_and(|kind| {
        [NLMSG_DONE, NLMSG_ERROR].contains(&u16::from_ne_bytes([kind[0], kind[1]]))
    })
}

/// The kernel's answer to a request that changes something: an errno, zero if it was done. Nothing where it is no answer.
pub(super) fn outcome(message: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(message.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(code)
}

fn request(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn ip(tuple: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    let addresses = attribute(tuple, CTA_TUPLE_IP)?;
    if let Some(octets) = attribute(addresses, v4) {
        return Some(<[u8; 4]>::try_from(octets).ok()?.into());
    }
    let octets = attribute(addresses, v6)?;
    Some(<[u8; 16]>::try_from(octets).ok()?.into())
}

fn port(tuple: &[u8], which: u16) -> Option<u16> {
    let value = attribute(attribute(tuple, CTA_TUPLE_PROTO)?, which)?;
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

const HEADER_BYTES: usize = 20;
// linux/netlink.h
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NESTED: u16 = 1 << 15;
// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1 << 8;
const CT_NEW: u16 = NFNL_SUBSYS_CTNETLINK;
const CT_GET: u16 = NFNL_SUBSYS_CTNETLINK | 1;
const CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// Of the flags of a filter: the source address of the tuple counts, and nothing else of it.
const ONLY_SOURCE: u32 = 1;
const UDP: u8 = 17;
const AF_INET: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_entries_are_none() {
        let whole = request(CT_NEW, 0, AF_INET, &[]);
        for length in 0..whole.len() {
            assert!(Connection::parse(&whole[..length]).is_none());
        }
    }

    #[test]
    fn a_deletion_by_an_end_names_one_source_of_one_direction() {
        for (end, tuple) in [
            (End::Began, CTA_TUPLE_ORIG),
            (End::Answers, CTA_TUPLE_REPLY),
        ] {
            let address = Ipv4Addr::new(172, 17, 0, 2);
            let request = deletion_by_end(address, end);
            assert_eq!(request[16], AF_INET);
            let attributes = &request[HEADER_BYTES..];
            let named = attribute(attributes, tuple).unwrap();
            assert_eq!(
                ip(named, CTA_IP_V4_SRC, CTA_IP_V6_SRC),
                Some(address.into())
            );
            // Without one, a kernel would delete by the tuple or, without that too, everything.
            assert!(attribute(attributes, CTA_FILTER).is_some());
        }
    }

    #[test]
    fn only_an_answer_has_an_outcome() {
        let refused = request(NLMSG_ERROR, 0, 0xea, &[]);
        assert_eq!(outcome(&refused), Some(0xea));
        assert_eq!(outcome(&request(CT_NEW, 0, 0, &[])), None);
        assert_eq!(outcome(&refused[..19]), None);
    }
}
