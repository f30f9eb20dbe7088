//! DNS messages between their arrival and their answer.
//!
//! # Theory of operation
//!
//! Every message gets an id and leaves as an event; the way back to its client waits here under that id. Ids and
//! deadlines both only grow, so the first entry is always the oldest and expiry never searches. Two bounds hold: on
//! all waiting messages, and on those of one port, which may not have more places than are free, so hosts that flood
//! the forwarder with names nobody answers leave room for the others, under however many addresses they ask. At a bound
//! the new message is the one that is dropped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use super::QUERY_LIFETIME;
use super::config::{Carrier, EdgeCounters, EdgeEvent, QueryId};
use super::way::ReturnPath;
use crate::{PortId, Time};

#[derive(Debug)]
struct Waiting {
    deadline: Time,
    port: PortId,
    path: ReturnPath,
}

/// The table of waiting queries and the events that announce them.
#[derive(Debug, Default)]
pub(super) struct Queries {
    waiting: BTreeMap<u64, Waiting>,
    per_port: HashMap<PortId, usize>,
    events: VecDeque<EdgeEvent>,
    next_id: u64,
    pub(super) counters: EdgeCounters,
}

impl Queries {
    /// Whether a query that came by `port` would be taken now.
    pub(super) fn has_room(&self, port: PortId) -> bool {
        let of_port = self.per_port.get(&port).copied().unwrap_or(0);
        let free = MAX_WAITING.saturating_sub(self.waiting.len());
        of_port < free.min(MAX_WAITING_PER_PORT)
    }

    /// Takes one query of whoever is behind a port and says to have an address; false (and counted) when there is no room.
    pub(super) fn admit(
        &mut self,
        now: Time,
        (port, source): (PortId, IpAddr),
        path: ReturnPath,
        message: &[u8],
    ) -> bool {
        if !self.has_room(port) {
            self.counters.queries_refused += 1;
            return false;
        }
        let id = self.next_id;
        self.next_id += 1;
        *self.per_port.entry(port).or_default() += 1;
        self.waiting.insert(
            id,
            Waiting {
                deadline: now + QUERY_LIFETIME,
                port,
                path,
            },
        );
        let carrier = match path {
            ReturnPath::Udp { .. } => Carrier::Udp,
            ReturnPath::Tcp(_) => Carrier::Tcp,
        };
        self.events.push_back(EdgeEvent::Dns {
            query: QueryId(id),
            ingress: port,
            source,
            carrier,
            message: message.to_vec(),
        });
        self.counters.queries += 1;
        true
    }

    /// Forgets the query and returns its way back; `None` when it is not waiting.
    pub(super) fn take(&mut self, query: QueryId) -> Option<ReturnPath> {
        let waiting = self.waiting.remove(&query.0)?;
        self.release(waiting.port);
        Some(waiting.path)
    }

    /// Forgets and returns the oldest query if its time is over.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<ReturnPath> {
        let oldest = self.waiting.first_entry()?;
        if oldest.get().deadline > now {
            return None;
        }
        let waiting = oldest.remove();
        self.release(waiting.port);
        self.counters.queries_expired += 1;
        Some(waiting.path)
    }

    /// When the oldest query expires.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.values().next().map(|oldest| oldest.deadline)
    }

    pub(super) fn poll_event(&mut self) -> Option<EdgeEvent> {
        self.events.pop_front()
    }

    fn release(&mut self, port: PortId) {
        if let Some(count) = self.per_port.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.per_port.remove(&port);
            }
        }
    }
}

/// Queries waiting in one network.
const MAX_WAITING: usize = 1024;
/// Queries waiting from one port.
const MAX_WAITING_PER_PORT: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::Mac;
    use crate::edge::way::Way;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn asker(last: u8) -> (PortId, IpAddr) {
        (PortId(last.into()), source(last))
    }

    fn path(port: u16) -> ReturnPath {
        ReturnPath::Udp {
            way: Way {
                port: PortId(1),
                mac: Mac::new([2, 0, 0, 0, 0, 1]),
            },
            client: SocketAddr::new(source(1), port),
            server: SocketAddr::new(source(254), 53),
        }
    }

    #[test]
    fn one_port_cannot_fill_the_table_under_any_addresses() {
        let mut queries = Queries::default();
        for number in 0..1000_u16 {
            let asker = (PortId(1), source(number.to_be_bytes()[1]));
            queries.admit(Time::default(), asker, path(number), b"x");
        }
        assert_eq!(queries.counters.queries, 256);
        assert_eq!(queries.counters.queries_refused, 744);
        let other = (PortId(2), source(1));
        assert!(queries.admit(Time::default(), other, path(1), b"x"));
    }

    #[test]
    fn greedy_ports_leave_room_for_the_next() {
        let mut queries = Queries::default();
        for last in 1..=8 {
            for port in 0..1000 {
                queries.admit(Time::default(), asker(last), path(port), b"x");
            }
        }
        assert!(queries.has_room(PortId(99)));
    }

    #[test]
    fn all_ports_together_are_bounded() {
        let mut queries = Queries::default();
        for last in 0..200 {
            for port in 0..10 {
                queries.admit(Time::default(), asker(last), path(port), b"x");
            }
        }
        assert_eq!(queries.counters.queries, 1024);
    }

    #[test]
    fn expired_query_frees_its_place() {
        let mut queries = Queries::default();
        queries.admit(Time::from_millis(5), asker(1), path(1), b"x");
        assert_eq!(queries.deadline(), Some(Time::from_millis(10_005)));
        assert_eq!(queries.take_expired(Time::from_millis(10_004)), None);
        assert_eq!(
            queries.take_expired(Time::from_millis(10_005)),
            Some(path(1))
        );
        assert!(queries.per_port.is_empty());
        assert_eq!(queries.take(QueryId(0)), None);
    }
}
