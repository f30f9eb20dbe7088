//! Endpoints that share a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::rr::RecordType;

use crate::lookup::Lookup;

/// The endpoints that share one name, and whose turn it is to be first. Turns are counted apart for IPv6, because clients ask
/// for both families at once and would otherwise skip every other turn.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) holders: Vec<Holder>,
    turn: AtomicUsize,
    turn_v6: AtomicUsize,
}

/// Who has the name, and where.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) key: Arc<str>,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

impl Group {
    /// RFC 6761 §6.3.
    pub(crate) fn localhost() -> Self {
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        Self {
            holders: addresses.map(Holder::record).into(),
            ..Self::default()
        }
    }

    pub(crate) fn addresses(&self, record_type: RecordType) -> Lookup {
        let any = record_type == RecordType::ANY;
        let mut addresses = Vec::with_capacity(self.holders.len().min(MAX_ADDRESSES));
        for holder in self.rotated(record_type).take(MAX_ADDRESSES) {
            if any || record_type == RecordType::A {
                addresses.extend(holder.v4.map(IpAddr::V4));
            }
            if any || record_type == RecordType::AAAA {
                addresses.extend(holder.v6.map(IpAddr::V6));
            }
        }
        if addresses.is_empty() {
            Lookup::NoData
        } else {
            Lookup::Addresses(addresses)
        }
    }

    /// The addresses of both families, those first that the next answers name first. Takes nobody's turn.
    pub(crate) fn peek(&self) -> Vec<IpAddr> {
        let from = |turn: &AtomicUsize| {
            let start = turn.load(Ordering::Relaxed) % self.holders.len().max(1);
            let holders = self.holders.iter().cycle();
            holders.skip(start).take(self.holders.len())
        };
        let v4 = from(&self.turn).filter_map(|holder| holder.v4.map(IpAddr::V4));
        v4.chain(from(&self.turn_v6).filter_map(|holder| holder.v6.map(IpAddr::V6)))
            .collect()
    }

    pub(crate) fn rotated(&self, record_type: RecordType) -> impl Iterator<Item = &Holder> {
        let turn = match record_type {
            RecordType::AAAA => &self.turn_v6,
            _ => &self.turn,
        };
        let start = match self.holders.len() {
            0 | 1 => 0,
            several => turn.fetch_add(1, Ordering::Relaxed) % several,
        };
        let holders = self.holders.iter();
        holders.cycle().skip(start).take(self.holders.len())
    }
}

impl Holder {
    /// One that belongs to the zone itself.
    pub(crate) fn record(address: IpAddr) -> Self {
        let (v4, v6) = match address {
            IpAddr::V4(address) => (Some(address), None),
            IpAddr::V6(address) => (None, Some(address)),
        };
        let key = Arc::from("");
        Self { key, v4, v6 }
    }
}

/// Endpoints in one answer: what fits a TCP message with room to spare.
const MAX_ADDRESSES: usize = 1000;
