//! What hosts and routers say of multicast groups.
//!
//! # Theory of operation
//!
//! Messages of IGMP versions 1 to 3 (RFC 1112, 2236, 3376), of MLD versions 1 and 2 (RFC 2710, 3810), and those by which a
//! multicast router makes itself known: PIM hello (RFC 7761 §4.9.2) and its advertisement (RFC 4286). A report of an older
//! version is the record "exclude nobody", a leave the record "include nobody from now on" (RFC 3376 §7.3.2, RFC 3810 §8.3.2), so
//! that there is one kind of report.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! | 22 hex or 143 |   reserved    |           checksum            |   RFC 3376 §4.2, RFC 3810 §5.2
//! +---------------+---------------+-------------------------------+
//! |           reserved            |       number of records       |
//! +---------------+---------------+-------------------------------+
//! | record type   | auxiliary len |       number of sources       |
//! +---------------+---------------+-------------------------------+
//! |               group, sources, auxiliary data                  |
//! +---------------------------------------------------------------+
//! ```
//!
//! A message whose checksum is wrong, that is too short, or that comes from beyond the link is [`Read::Invalid`]: hosts ignore
//! it, and so does the bridge.

use std::time::Duration;

use super::address::{Address, Family};
use crate::Frame;
use crate::bytes::be16;
use crate::checksum;
use crate::packet::{Fragment, Packet, Version, protocol};

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// Nothing that is about groups.
    Other,
    /// Something that is, but wrong.
    Invalid,
    Message(Dialect, Message<'a>),
}

/// Protocol and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Dialect {
    Igmp1,
    Igmp2,
    Igmp3,
    Mld1,
    Mld2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Query(Query<'a>),
    Report(Records<'a>),
    Leave(Address),
    /// A multicast router is there.
    Router,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) from: Address,
    /// `None`: whatever groups there are.
    pub(crate) group: Option<Address>,
    pub(crate) sources: Addresses<'a>,
    /// Within which hosts answer.
    pub(crate) response: Duration,
    /// Who hears it leaves his timers as they are.
    pub(crate) suppressed: bool,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    IsInclude,
    IsExclude,
    ToInclude,
    ToExclude,
    Allow,
    Block,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report<'a> {
    pub(crate) group: Address,
    pub(crate) change: Change,
    pub(crate) sources: Addresses<'a>,
}

impl Dialect {
    pub const ALL: [Self; 5] = [
        Self::Igmp1,
        Self::Igmp2,
        Self::Igmp3,
        Self::Mld1,
        Self::Mld2,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Igmp1 => "igmp1",
            Self::Igmp2 => "igmp2",
            Self::Igmp3 => "igmp3",
            Self::Mld1 => "mld1",
            Self::Mld2 => "mld2",
        }
    }

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn family(self) -> Family {
        match self {
            Self::Igmp1 | Self::Igmp2 | Self::Igmp3 => Family::V4,
            Self::Mld1 | Self::Mld2 => Family::V6,
        }
    }
}

/// What the packet says of groups.
pub(crate) fn read<'a>(frame: &Frame<'a>, packet: &Packet) -> Read<'a> {
    if packet.fragment != Fragment::Whole {
        return Read::Other;
    }
    let message = packet.transport(frame);
    match (packet.version, packet.protocol) {
        (Version::V4, protocol::IGMP) => match checksum::verifies(0, message) {
            true => read_igmp(frame, packet, message),
            false => Read::Invalid,
        },
        (Version::V6, protocol::ICMPV6)
            if matches!(message.first(), Some(130..=132 | 143 | 151)) =>
        {
            let pseudo = checksum::pseudo_header(packet, frame.bytes(), message.len());
            let is_intact = checksum::verifies(pseudo, message);
            match is_intact && is_of_the_link(frame, packet) {
                true => read_mld(frame, packet, message),
                false => Read::Invalid,
            }
        }
        (version, protocol::PIM) => read_pim(version, message, packet.destination(frame)),
        _ => Read::Other,
    }
}

fn read_igmp<'a>(frame: &Frame<'a>, packet: &Packet, message: &'a [u8]) -> Read<'a> {
    let Some((head, rest)) = message.split_first_chunk::<8>() else {
        return Read::Invalid;
    };
    let from = packet.source(frame);
    match head[0] {
        0x11 => match (head[1], rest.is_empty(), rest.len() >= 4) {
            (0, true, _) => query(Dialect::Igmp1, from, &head[4..], &[], TENTHS * 100, false),
            (code, true, _) => query(
                Dialect::Igmp2,
                from,
                &head[4..],
                &[],
                TENTHS * u32::from(code),
                false,
            ),
            (code, false, true) => {
                let response = TENTHS * decode(code.into(), 4);
                let suppressed = rest[0] & SUPPRESS != 0;
                query(
                    Dialect::Igmp3,
                    from,
                    &head[4..],
                    &rest[2..],
                    response,
                    suppressed,
                )
            }
            // RFC 3376 §7.1.
            _ => Read::Invalid,
        },
        0x12 => join(Dialect::Igmp1, &head[4..]),
        0x16 => join(Dialect::Igmp2, &head[4..]),
        0x17 => leave(Dialect::Igmp2, &head[4..]),
        0x22 => Read::Message(Dialect::Igmp3, Message::Report(Records::of(head, rest, 4))),
        0x30 => Read::Message(Dialect::Igmp3, Message::Router),
        _ => Read::Other,
    }
}

fn read_mld<'a>(frame: &Frame<'a>, packet: &Packet, message: &'a [u8]) -> Read<'a> {
    let from = packet.source(frame);
    let Some((head, rest)) = message.split_first_chunk::<8>() else {
        return Read::Invalid;
    };
    let group = rest.get(..16).unwrap_or_default();
    match head[0] {
        143 => Read::Message(Dialect::Mld2, Message::Report(Records::of(head, rest, 16))),
        151 => Read::Message(Dialect::Mld2, Message::Router),
        _ if group.is_empty() => Read::Invalid,
        131 => join(Dialect::Mld1, group),
        132 => leave(Dialect::Mld1, group),
        // RFC 2710 §3, RFC 3810 §5.1.14.
        _ if !is_link_local(from) => Read::Invalid,
        _ => {
            let code = be16(head, 4).into();
            match rest[16..].split_first_chunk::<4>() {
                None => query(Dialect::Mld1, from, group, &[], MILLIS * code, false),
                Some((more, _)) => {
                    let suppressed = more[0] & SUPPRESS != 0;
                    let response = MILLIS * decode(code, 12);
                    query(
                        Dialect::Mld2,
                        from,
                        group,
                        &rest[18..],
                        response,
                        suppressed,
                    )
                }
            }
        }
    }
}

/// A hello for all PIM routers.
fn read_pim<'a>(version: Version, message: &[u8], destination: &[u8]) -> Read<'a> {
    let to_all = match version {
        Version::V4 => destination == [224, 0, 0, 13],
        Version::V6 => {
            destination.starts_with(&[0xff, 2]) && destination.ends_with(&[0, 0, 0, 0x0d])
        }
    };
    let dialect = match version {
        Version::V4 => Dialect::Igmp3,
        Version::V6 => Dialect::Mld2,
    };
    match message.first() {
        Some(&PIM_HELLO) if to_all => Read::Message(dialect, Message::Router),
        _ => Read::Other,
    }
}

/// Sent on the link: nobody has forwarded it (RFC 2710 §3, RFC 3810 §5).
fn is_of_the_link(frame: &Frame<'_>, packet: &Packet) -> bool {
    frame.bytes().get(packet.start + 7) == Some(&1)
}

fn is_link_local(address: &[u8]) -> bool {
    matches!(address, [0xfe, 0x80..=0xbf, ..])
}

/// `rest` begins with the number of sources, or is empty.
fn query<'a>(
    dialect: Dialect,
    from: &[u8],
    group: &[u8],
    rest: &'a [u8],
    response: Duration,
    suppressed: bool,
) -> Read<'a> {
    let width = group.len();
    let sources = match rest.split_first_chunk::<2>() {
        None => Some(&[][..]),
        Some((count, list)) => list.get(..usize::from(be16(count, 0)) * width),
    };
    let is_general = group.iter().all(|byte| *byte == 0);
    let group = Address::on_wire(group).filter(|group| group.reach().is_some());
    match (Address::on_wire(from), sources) {
        (Some(from), Some(sources)) if is_general || group.is_some() => {
            let query = Query {
                from,
                group,
                sources: Addresses {
                    bytes: sources,
                    width,
                },
                response,
                suppressed,
            };
            Read::Message(dialect, Message::Query(query))
        }
        _ => Read::Invalid,
    }
}

fn join<'a>(dialect: Dialect, group: &[u8]) -> Read<'a> {
    match group_on_wire(group) {
        Some(group) => Read::Message(dialect, Message::Report(Records::One(Some(group)))),
        None => Read::Invalid,
    }
}

fn leave<'a>(dialect: Dialect, group: &[u8]) -> Read<'a> {
    match group_on_wire(group) {
        Some(group) => Read::Message(dialect, Message::Leave(group)),
        None => Read::Invalid,
    }
}

fn group_on_wire(bytes: &[u8]) -> Option<Address> {
    Address::on_wire(bytes).filter(|group| group.reach().is_some())
}

/// The records of a report, up to one that is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Records<'a> {
    /// Of the older versions.
    One(Option<Address>),
    Many {
        left: u16,
        rest: &'a [u8],
        /// Length of an address, in bytes.
        width: usize,
    },
}

impl<'a> Records<'a> {
    fn of(head: &[u8; 8], rest: &'a [u8], width: usize) -> Self {
        Self::Many {
            left: be16(head, 6),
            rest,
            width,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Report<'a>;

    fn next(&mut self) -> Option<Report<'a>> {
        let (left, rest, width) = match self {
            Self::One(group) => {
                return group.take().map(|group| Report {
                    group,
                    change: Change::IsExclude,
                    sources: Addresses::NONE,
                });
            }
            Self::Many { left, rest, width } => (left, rest, *width),
        };
        loop {
            *left = left.checked_sub(1)?;
            let whole: &'a [u8] = rest;
            let (record, sources, auxiliary) = split_record(whole, width)?;
            *rest = whole.get(4 + width + sources.len() + auxiliary..)?;
            let group = group_on_wire(&record[4..4 + width]);
            if let (Some(change), Some(group)) = (Change::on_wire(record[0]), group) {
                let sources = Addresses {
                    bytes: sources,
                    width,
                };
                return Some(Report {
                    group,
                    change,
                    sources,
                });
            }
        }
    }
}

/// A record's head, its sources, and the length of its auxiliary data.
fn split_record(rest: &[u8], width: usize) -> Option<(&[u8], &[u8], usize)> {
    let (record, more) = rest.split_at_checked(4 + width)?;
    let sources = more.get(..usize::from(be16(record, 2)) * width)?;
    Some((record, sources, usize::from(record[1]) * 4))
}

impl Change {
    /// RFC 3376 §4.2.12.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::IsInclude => "IS_IN",
            Self::IsExclude => "IS_EX",
            Self::ToInclude => "TO_IN",
            Self::ToExclude => "TO_EX",
            Self::Allow => "ALLOW",
            Self::Block => "BLOCK",
        }
    }

    const fn on_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::IsInclude,
            2 => Self::IsExclude,
            3 => Self::ToInclude,
            4 => Self::ToExclude,
            5 => Self::Allow,
            6 => Self::Block,
            _ => return None,
        })
    }
}

/// Addresses in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl Addresses<'_> {
    pub(crate) const NONE: Self = Self {
        bytes: &[],
        width: 4,
    };

    pub(crate) fn iter(&self) -> impl Iterator<Item = Address> {
        self.bytes
            .chunks_exact(self.width)
            .filter_map(Address::on_wire)
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() / self.width
    }
}

/// A number that is a small floating-point one from its topmost bit on (RFC 3376 §4.1.1, RFC 3810 §5.1.3): three bits of
/// exponent above so many of mantissa.
fn decode(code: u32, mantissa_bits: u32) -> u32 {
    let one = 1 << mantissa_bits;
    match code < one << 3 {
        true => code,
        false => ((code & (one - 1)) | one) << (((code >> mantissa_bits) & 7) + 3),
    }
}

const TENTHS: Duration = Duration::from_millis(100);
const MILLIS: Duration = Duration::from_millis(1);
const SUPPRESS: u8 = 0x08;
/// Version 2, type 0.
const PIM_HELLO: u8 = 0x20;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::multicast::query::{Asker, Question};
    use crate::multicast::tests::wire;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn with<R>(bytes: &[u8], act: impl FnOnce(Read<'_>) -> R) -> R {
        let frame = Frame::parse(bytes).unwrap();
        let packet = Packet::parse(&frame).unwrap();
        act(read(&frame, &packet))
    }

    /// What a report says, with each record's sources.
    fn records(bytes: &[u8]) -> Vec<(Address, Change, Vec<Address>)> {
        with(bytes, |read| match read {
            Read::Message(_, Message::Report(records)) => records
                .map(|report| (report.group, report.change, report.sources.iter().collect()))
                .collect(),
            other => panic!("{other:?}"),
        })
    }

    fn any_address(family: Family) -> BoxedStrategy<Address> {
        match family {
            Family::V4 => any::<[u8; 4]>()
                .prop_map(|octets| IpAddr::from(octets).into())
                .boxed(),
            // None that looks like one of IPv4.
            Family::V6 => any::<[u8; 15]>()
                .prop_map(|rest| Address::on_wire(&[&[0x20][..], &rest].concat()).unwrap())
                .boxed(),
        }
    }

    fn any_group(family: Family) -> BoxedStrategy<Address> {
        match family {
            Family::V4 => (224..=239_u8, any::<[u8; 3]>())
                .prop_map(|(a, [b, c, d])| IpAddr::from([a, b, c, d]).into())
                .boxed(),
            Family::V6 => any::<[u8; 15]>()
                .prop_map(|rest| Address::on_wire(&[&[0xff][..], &rest].concat()).unwrap())
                .boxed(),
        }
    }

    fn any_family() -> impl Strategy<Value = Family> {
        prop::sample::select(Family::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn a_query_is_read_as_it_was_written(
            (family, group, sources) in any_family().prop_flat_map(|family| {
                let sources = prop::collection::vec(any_address(family), 0..20);
                (Just(family), prop::option::of(any_group(family)), sources)
            }),
            tenths in 1..=100_u64,
            octets in any::<[u8; 4]>(),
        ) {
            let sources = if group.is_some() { sources } else { Vec::new() };
            let response = Duration::from_millis(tenths * 100);
            let asker = Asker { v4: octets, ..Asker::NOBODY };
            let question = Question { family, group, sources: sources.clone(), response };
            with(&question.write(&asker), |read| {
                let Read::Message(dialect, Message::Query(query)) = read else {
                    return Err(TestCaseError::fail(format!("{read:?}")));
                };
                prop_assert_eq!(dialect.family(), family);
                prop_assert_eq!(query.from, asker.address(family));
                prop_assert_eq!(query.group, group);
                prop_assert_eq!(query.sources.iter().collect::<Vec<_>>(), sources);
                prop_assert_eq!(query.response, response);
                Ok(())
            })?;
        }

        #[test]
        fn a_report_is_read_as_it_was_written(
            (family, list) in any_family().prop_flat_map(|family| {
                let sources = prop::collection::vec(any_address(family), 0..9);
                let record = (1..=6_u8, any_group(family), sources);
                (Just(family), prop::collection::vec(record, 0..9))
            }),
        ) {
            let expected: Vec<_> = list
                .iter()
                .map(|(kind, group, sources)| (*group, Change::on_wire(*kind).unwrap(), sources.clone()))
                .collect();
            prop_assert_eq!(records(&wire::report(family, &list)), expected);
        }

        #[test]
        fn a_message_that_is_cut_or_flipped_is_never_believed(at in 0..8_usize, bit in 0..8_u8, is_v6 in any::<bool>()) {
            let family = if is_v6 { Family::V6 } else { Family::V4 };
            let group = address(if is_v6 { "ff05::1" } else { "239.1.2.3" });
            let mut bytes = wire::report(family, &[(4, group, Vec::new())]);
            let start = bytes.len() - if is_v6 { 28 } else { 16 };
            bytes[start + at] ^= 1 << bit;
            with(&bytes, |read| {
                prop_assert!(!matches!(read, Read::Message(..)), "{:?}", read);
                Ok(())
            })?;
        }
    }

    #[test]
    fn messages_of_every_version_are_understood() {
        let (v4, v6) = (address("239.1.2.3"), address("ff05::1:2:3"));
        let join = |group| vec![(group, Change::IsExclude, Vec::new())];
        for kind in [0x12, 0x16] {
            assert_eq!(records(&wire::igmp(kind, 0, v4)), join(v4));
        }
        assert_eq!(records(&wire::mld(131, v6)), join(v6));
        for (bytes, group) in [(wire::igmp(0x17, 0, v4), v4), (wire::mld(132, v6), v6)] {
            with(&bytes, |read| {
                assert!(matches!(read, Read::Message(_, Message::Leave(left)) if left == group));
            });
        }
        for (code, dialect, millis) in [(0, Dialect::Igmp1, 10_000), (15, Dialect::Igmp2, 1500)] {
            with(&wire::igmp(0x11, code, v4), |read| match read {
                Read::Message(read, Message::Query(query)) => {
                    assert_eq!((read, query.group), (dialect, Some(v4)));
                    assert_eq!(query.response.as_millis(), millis);
                }
                other => panic!("{other:?}"),
            });
        }
    }

    #[test]
    fn a_router_makes_itself_known() {
        for bytes in [wire::pim_hello(Family::V4), wire::pim_hello(Family::V6)] {
            with(&bytes, |read| {
                assert!(
                    matches!(read, Read::Message(_, Message::Router)),
                    "{read:?}"
                );
            });
        }
    }

    #[test]
    fn what_comes_from_beyond_the_link_is_not_believed() {
        let mut bytes = wire::mld(131, address("ff05::1"));
        bytes[14 + 7] = 64;
        with(&bytes, |read| assert_eq!(read, Read::Invalid));
        // A query of nobody's.
        let question = Question {
            family: Family::V6,
            group: None,
            sources: Vec::new(),
            response: Duration::from_secs(1),
        };
        let mut bytes = question.write(&Asker::NOBODY);
        bytes[14 + 8..14 + 24].fill(0);
        with(&bytes, |read| assert_eq!(read, Read::Invalid));
    }

    #[test]
    fn long_times_are_floating_point() {
        assert_eq!(
            [decode(127, 4), decode(0x80, 4), decode(0xff, 4)],
            [127, 128, 31_744]
        );
        assert_eq!(
            [decode(0x8000, 12), decode(0xffff, 12)],
            [32_768, 8_387_584]
        );
    }
}
