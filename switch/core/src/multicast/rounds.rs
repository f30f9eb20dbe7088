//! When which question is due.
//!
//! # Theory of operation
//!
//! Three occasions: a port is new, everybody is asked from time to time, and somebody has left. After a leave, the hosts behind its
//! port are asked twice about the group, or the sources, with a second to answer each time (RFC 3376 §8.8, §8.9), unless
//! an answer came meanwhile. In a network with tunnels all stations of this host that listen to the group are asked, for all sources:
//! what they answer tells the other hosts what is left ([`super`]).

use std::time::Duration;

use super::address::Family;
use super::inquiry::{Inquiry, LAST_RESPONSE, LAST_RESPONSES};
use super::query::{Asker, Question};
use super::seat::{FIRST_RESPONSE, Seat};
use super::state::State;
use super::table::GroupKey;
use crate::{PortId, Time};

impl State {
    /// Forgets what is over, and gives what is to be sent, each by its port.
    pub(super) fn take_queries(&mut self, now: Time, own: Asker) -> Vec<(PortId, Vec<u8>)> {
        let mut queries = Vec::new();
        self.ask_everybody(now, own, &mut queries);
        self.ask_newcomers(now, own, &mut queries);
        // Before what is over is forgotten: who left without an answer need not be asked.
        self.ask_again(now, own, &mut queries);
        self.age(now);
        self.due = self.next_due();
        self.counts.queries_sent += u64::try_from(queries.len()).unwrap_or(0);
        queries
    }

    fn ask_everybody(&mut self, now: Time, own: Asker, queries: &mut Vec<(PortId, Vec<u8>)>) {
        for family in Family::ALL {
            if self.elections[family.index()].ask(now) {
                let question = general(family, RESPONSE);
                let local = self.seats.iter().filter(|(_, seat)| seat.is_local());
                queries.extend(local.map(|(port, seat)| (*port, question.write(&seat.asker(own)))));
            }
        }
    }

    fn ask_newcomers(&mut self, now: Time, own: Asker, queries: &mut Vec<(PortId, Vec<u8>)>) {
        let other_asks = Family::ALL.map(|family| self.elections[family.index()].other().is_some());
        for (port, seat) in &mut self.seats {
            if seat.ask_at().is_none_or(|at| at > now) {
                continue;
            }
            seat.ask(now);
            for family in Family::ALL {
                let asker = match other_asks[family.index()] {
                    true => Asker::NOBODY,
                    false => seat.asker(own),
                };
                queries.push((*port, general(family, FIRST_RESPONSE).write(&asker)));
            }
        }
    }

    fn ask_again(&mut self, now: Time, own: Asker, queries: &mut Vec<(PortId, Vec<u8>)>) {
        let has_tunnels = self.seats.values().any(Seat::is_tunnel);
        let mut inquiries = std::mem::take(&mut self.inquiries);
        inquiries.retain_mut(|inquiry| {
            if inquiry.due > now {
                return true;
            }
            match has_tunnels {
                true => self.ask_all_who_listen(inquiry.key, own, queries),
                false => match self.ask_one(now, inquiry, own) {
                    Some(query) => queries.push((inquiry.port, query)),
                    None => return false,
                },
            }
            inquiry.left -= 1;
            inquiry.due = now + LAST_RESPONSE;
            inquiry.left > 0
        });
        self.inquiries = inquiries;
    }

    /// `None`: it has been answered, or nobody is left to answer.
    fn ask_one(&self, now: Time, inquiry: &Inquiry, own: Asker) -> Option<Vec<u8>> {
        let record = self.table.record(inquiry.key, inquiry.port)?;
        let until = now + LAST_RESPONSE * LAST_RESPONSES.into();
        let doubt = record.still_in(&inquiry.doubt, until);
        // A query about the group asks for its sources too.
        let sources = if doubt.group {
            Vec::new()
        } else {
            doubt.sources
        };
        let asker = self.seats.get(&inquiry.port)?.asker(own);
        (doubt.group || !sources.is_empty()).then(|| specific(inquiry.key, sources).write(&asker))
    }

    fn ask_all_who_listen(&self, key: GroupKey, own: Asker, queries: &mut Vec<(PortId, Vec<u8>)>) {
        let question = specific(key, Vec::new());
        for (port, _) in self.table.group(key) {
            if let Some(seat) = self.seats.get(&port).filter(|seat| seat.is_local()) {
                queries.push((port, question.write(&seat.asker(own))));
            }
        }
    }

    fn next_due(&self) -> Option<Time> {
        let seats = self.seats.values().filter_map(Seat::due);
        let inquiries = self.inquiries.iter().map(|inquiry| inquiry.due);
        let elections = self.elections.iter().filter_map(|election| election.due());
        let ever = seats
            .chain(inquiries)
            .chain(elections)
            .chain(self.table.due());
        ever.min().filter(|_| !self.seats.is_empty())
    }
}

const fn general(family: Family, response: Duration) -> Question {
    Question {
        family,
        group: None,
        sources: Vec::new(),
        response,
    }
}

const fn specific(key: GroupKey, sources: Vec<super::Address>) -> Question {
    Question {
        family: key.group.family(),
        group: Some(key.group),
        sources,
        response: LAST_RESPONSE,
    }
}

/// Query response interval (RFC 3376 §8.3, RFC 3810 §9.3).
const RESPONSE: Duration = Duration::from_secs(10);
