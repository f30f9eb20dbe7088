//! Rules as tables: for each dimension, what row a value has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use foldhash::quality::FixedState;

use super::facts::{Addresses, Facts, Kind, Transport, number_v4, number_v6};
use super::row::Row;
use super::rule::{Action, Rule};
use crate::packet::Version;
use crate::{Mac, ethertype};

/// The dimensions that every frame has: what it is, ports and what stands in their place, addresses, MACs.
pub(super) const DIMENSIONS: usize = 8;

#[derive(Debug)]
pub(super) struct Tables {
    pub(super) rules: Vec<Rule>,
    pub(super) default: Action,
    /// No rule is about addresses or MACs, so that these dimensions need not be looked at.
    pub(super) is_plain: bool,
    all: Row,
    kinds: Kinds,
    /// For segments of TCP that begin a connection, and for those of which nobody knows.
    new: Row,
    unreadable_state: Row,
    source_ports: Numbers,
    destination_ports: Numbers,
    icmp_types: Vec<Row>,
    source: Nets,
    destination: Nets,
    source_macs: Macs,
    destination_macs: Macs,
}

impl Tables {
    pub(super) fn new(rules: &[Rule], default: Action) -> Self {
        let row = |is_admitted: &dyn Fn(&Rule) -> bool| {
            Row::of(rules.len(), |index| is_admitted(&rules[index]))
        };
        let has_addresses = rules.iter().any(|rule| {
            let macs = rule.source_mac.is_some() || rule.destination_mac.is_some();
            macs || rule.source.is_some() || rule.destination.is_some()
        });
        Self {
            default,
            is_plain: !has_addresses,
            all: row(&|_| true),
            kinds: Kinds::new(rules),
            new: row(&|rule| !rule.established),
            unreadable_state: row(&|rule| !rule.established || denies(rule)),
            source_ports: Numbers::new(rules, |rule| rule.source_ports.clone()),
            destination_ports: Numbers::new(rules, |rule| rule.destination_ports.clone()),
            icmp_types: (0..=u8::MAX)
                .map(|kind| row(&|rule| rule.icmp_type.is_none_or(|wanted| wanted == kind)))
                .collect(),
            source: Nets::new(rules, |rule| {
                rule.source.map(|range| (range.first, range.last))
            }),
            destination: Nets::new(rules, |rule| {
                rule.destination.map(|range| (range.first, range.last))
            }),
            source_macs: Macs::new(rules, |rule| rule.source_mac),
            destination_macs: Macs::new(rules, |rule| rule.destination_mac),
            rules: rules.to_vec(),
        }
    }

    /// The rows of a frame.
    #[inline]
    pub(super) fn rows(&self, facts: &Facts) -> [&Row; DIMENSIONS] {
        let kind = self.kinds.row(facts);
        let (state, ports, detail) = match facts.transport {
            Transport::Ports {
                source,
                destination,
                is_new,
            } => (
                if is_new { &self.new } else { &self.all },
                self.source_ports.row(source),
                self.destination_ports.row(destination),
            ),
            Transport::Icmp { kind } => (&self.all, &self.all, &self.icmp_types[usize::from(kind)]),
            Transport::Without => (&self.all, &self.all, &self.all),
            Transport::Unreadable => (
                &self.unreadable_state,
                &self.source_ports.unreadable,
                &self.destination_ports.unreadable,
            ),
        };
        if self.is_plain {
            let all = &self.all;
            return [kind, state, ports, detail, all, all, all, all];
        }
        let (source, destination) = match facts.addresses {
            Addresses::None => (&self.source.none, &self.destination.none),
            Addresses::Unreadable => (&self.source.unreadable, &self.destination.unreadable),
            Addresses::V4(source, destination) => (
                self.source.v4.row(source),
                self.destination.v4.row(destination),
            ),
            Addresses::V6(source, destination) => (
                self.source.v6.row(source),
                self.destination.v6.row(destination),
            ),
        };
        [
            kind,
            state,
            ports,
            detail,
            source,
            destination,
            self.source_macs.row(facts.source_mac),
            self.destination_macs.row(facts.destination_mac),
        ]
    }
}

/// Whether what cannot be read is to be taken for what the rule means.
fn denies(rule: &Rule) -> bool {
    rule.action == Action::Deny
}

/// What frames carry.
#[derive(Debug)]
struct Kinds {
    arp: Row,
    discovery: Row,
    hidden: Row,
    /// By version and protocol, and where the protocol cannot be told.
    v4: Family,
    v6: Family,
    /// Ethertypes that rules name.
    named: HashMap<u16, Row, FixedState>,
    /// Every other one.
    other: Row,
}

#[derive(Debug)]
struct Family {
    by_protocol: Vec<u16>,
    rows: Vec<Row>,
    opaque: Row,
}

impl Kinds {
    fn new(rules: &[Rule]) -> Self {
        let row = |is_admitted: &dyn Fn(&Rule) -> bool| {
            Row::of(rules.len(), |index| is_admitted(&rules[index]))
        };
        let of_type = |kind: u16| row(&move |rule| rule.admits_ethertype(kind) && !rule.needs_ip());
        let is_ip = |kind: u16| matches!(kind, ethertype::IPV4 | ethertype::IPV6);
        let named = rules.iter().filter_map(|rule| rule.ethertype);
        Self {
            arp: row(&|rule| rule.ethertype == Some(ethertype::ARP) && !rule.needs_ip()),
            discovery: row(&|rule| means_discovery(rule)),
            hidden: row(&|rule| denies(rule) || rule.ethertype.is_none() && !rule.needs_ip()),
            v4: Family::new(rules, ethertype::IPV4),
            v6: Family::new(rules, ethertype::IPV6),
            named: named
                .filter(|kind| !is_ip(*kind))
                .map(|kind| (kind, of_type(kind)))
                .collect(),
            other: row(&|rule| rule.ethertype.is_none() && !rule.needs_ip()),
        }
    }

    #[inline]
    fn row(&self, facts: &Facts) -> &Row {
        let family = |version| match version {
            Version::V4 => &self.v4,
            Version::V6 => &self.v6,
        };
        match facts.kind {
            Kind::Ip { version, protocol } => family(version).row(protocol),
            Kind::Opaque(version) => &family(version).opaque,
            Kind::Arp => &self.arp,
            Kind::Discovery => &self.discovery,
            Kind::Hidden => &self.hidden,
            Kind::Other(kind) => self.named.get(&kind).unwrap_or(&self.other),
        }
    }
}

/// Rules that say that they are about all of IPv6, or about these very messages.
fn means_discovery(rule: &Rule) -> bool {
    let is_all = rule.ethertype == Some(ethertype::IPV6) && rule.protocol.is_none();
    let is_message = rule.admits_ethertype(ethertype::IPV6)
        && rule.protocol == Some(crate::packet::protocol::ICMPV6)
        && rule.icmp_type.is_some();
    is_all || is_message
}

impl Family {
    fn new(rules: &[Rule], kind: u16) -> Self {
        let mut rows = Rows::default();
        let by_protocol = (0..=u8::MAX).map(|number| {
            rows.place(Row::of(rules.len(), |index| {
                let rule = &rules[index];
                rule.admits_ethertype(kind) && rule.admits_protocol(kind, number)
            }))
        });
        let by_protocol = by_protocol.collect();
        Self {
            by_protocol,
            rows: rows.list,
            opaque: Row::of(rules.len(), |index| {
                let rule = &rules[index];
                rule.admits_ethertype(kind) && (rule.protocol.is_none() || denies(rule))
            }),
        }
    }

    #[inline]
    fn row(&self, protocol: u8) -> &Row {
        &self.rows[usize::from(self.by_protocol[usize::from(protocol)])]
    }
}

/// Ports, or what else has sixteen bits.
#[derive(Debug)]
struct Numbers {
    places: Box<[u16]>,
    rows: Vec<Row>,
    unreadable: Row,
}

impl Numbers {
    fn new(rules: &[Rule], wanted: impl Fn(&Rule) -> Option<RangeInclusive<u16>>) -> Self {
        let ranges: Vec<_> = rules.iter().map(&wanted).collect();
        let bounds = ranges.iter().map(|range| {
            let range = range.as_ref()?;
            Some((u128::from(*range.start()), u128::from(*range.end())))
        });
        let bounds: Vec<_> = bounds.collect();
        let spans = Spans::new(&bounds, u128::from(u16::MAX));
        let mut places = vec![0; 1 << 16].into_boxed_slice();
        for (at, start) in spans.starts.iter().enumerate() {
            let start = usize::try_from(*start).unwrap_or(usize::MAX);
            places[start..].fill(spans.places[at]);
        }
        Self {
            places,
            unreadable: Row::of(rules.len(), |index| {
                let rule = &rules[index];
                let is_silent = ranges[index].is_none() && rule.icmp_type.is_none();
                is_silent || denies(rule)
            }),
            rows: spans.rows,
        }
    }

    #[inline]
    fn row(&self, number: u16) -> &Row {
        &self.rows[usize::from(self.places[usize::from(number)])]
    }
}

/// Addresses of both families, and what has none.
#[derive(Debug)]
struct Nets {
    v4: Sorted<u32>,
    v6: Sorted<u128>,
    none: Row,
    unreadable: Row,
}

impl Nets {
    fn new(rules: &[Rule], wanted: impl Fn(&Rule) -> Option<(IpAddr, IpAddr)>) -> Self {
        // One that is of the other family admits nothing of this one.
        let of = |is_v4: bool| -> Vec<Wanted> {
            let wanted = rules.iter().map(|rule| match wanted(rule) {
                None => Wanted::All,
                Some((IpAddr::V4(first), IpAddr::V4(last))) if is_v4 => {
                    Wanted::Span(number_v4(first).into(), number_v4(last).into())
                }
                Some((IpAddr::V6(first), IpAddr::V6(last))) if !is_v4 => {
                    Wanted::Span(number_v6(first), number_v6(last))
                }
                Some(_) => Wanted::Nothing,
            });
            wanted.collect()
        };
        let is_silent = |index: usize| wanted(&rules[index]).is_none();
        Self {
            v4: Sorted::new(&of(true), u32::MAX.into(), |start| {
                u32::try_from(start).unwrap_or(u32::MAX)
            }),
            v6: Sorted::new(&of(false), u128::MAX, |start| start),
            none: Row::of(rules.len(), is_silent),
            unreadable: Row::of(rules.len(), |index| {
                is_silent(index) || denies(&rules[index])
            }),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    All,
    Span(u128, u128),
    Nothing,
}

/// Values in order, each with the row that holds up to the next.
#[derive(Debug)]
struct Sorted<N> {
    starts: Vec<N>,
    places: Vec<u16>,
    rows: Vec<Row>,
}

impl<N: Ord + Copy> Sorted<N> {
    fn new(wanted: &[Wanted], last: u128, narrow: impl Fn(u128) -> N) -> Self {
        let bounds = wanted.iter().map(|wanted| match wanted {
            Wanted::All => None,
            Wanted::Span(first, last) => Some((*first, *last)),
            Wanted::Nothing => Some((1, 0)),
        });
        let spans = Spans::new(&bounds.collect::<Vec<_>>(), last);
        Self {
            starts: spans.starts.into_iter().map(narrow).collect(),
            places: spans.places,
            rows: spans.rows,
        }
    }

    #[inline]
    fn row(&self, value: N) -> &Row {
        // The first start is zero.
        let at = self.starts.partition_point(|start| *start <= value) - 1;
        &self.rows[usize::from(self.places[at])]
    }
}

/// Where rows change over a range of numbers.
struct Spans {
    /// The first is zero.
    starts: Vec<u128>,
    places: Vec<u16>,
    rows: Vec<Row>,
}

impl Spans {
    /// By what each rule admits: everything where that is absent, nothing where the end is before the beginning.
    fn new(bounds: &[Option<(u128, u128)>], last: u128) -> Self {
        let mut changes: Vec<(u128, usize, bool)> = Vec::new();
        for (index, bound) in bounds.iter().enumerate() {
            let Some((from, to)) = bound.filter(|(from, to)| from <= to) else {
                continue;
            };
            changes.push((from, index, true));
            if to < last {
                changes.push((to + 1, index, false));
            }
        }
        changes.sort_unstable();
        let mut row = Row::of(bounds.len(), |index| bounds[index].is_none());
        let mut rows = Rows::default();
        let (mut starts, mut places) = (vec![0], Vec::new());
        for (start, index, on) in changes {
            if starts.last() != Some(&start) {
                places.push(rows.place(row.clone()));
                starts.push(start);
            }
            row.set(index, on);
        }
        places.push(rows.place(row));
        Self {
            starts,
            places,
            rows: rows.list,
        }
    }
}

/// Rows, each once.
#[derive(Default)]
struct Rows {
    list: Vec<Row>,
    known: HashMap<Row, u16, FixedState>,
}

impl Rows {
    fn place(&mut self, row: Row) -> u16 {
        // A thousand rules make no more than two thousand rows.
        let next = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
        match self.known.get(&row) {
            Some(place) => *place,
            None => {
                self.known.insert(row.clone(), next);
                self.list.push(row);
                next
            }
        }
    }
}

#[derive(Debug)]
struct Macs {
    named: HashMap<Mac, Row, FixedState>,
    other: Row,
}

impl Macs {
    fn new(rules: &[Rule], wanted: impl Fn(&Rule) -> Option<Mac>) -> Self {
        let row = |mac: Option<Mac>| {
            Row::of(rules.len(), |index| {
                let rule = wanted(&rules[index]);
                rule.is_none() || rule == mac
            })
        };
        let named = rules.iter().filter_map(&wanted);
        Self {
            named: named.map(|mac| (mac, row(Some(mac)))).collect(),
            other: row(None),
        }
    }

    #[inline]
    fn row(&self, mac: Mac) -> &Row {
        match self.named.is_empty() {
            true => &self.other,
            false => self.named.get(&mac).unwrap_or(&self.other),
        }
    }
}
