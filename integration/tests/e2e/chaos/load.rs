//! What is on a network while faults happen: a stream, flows, and links under observation.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::figures::Row;
use super::flows::{Flows, Outcome, Route};
use super::gaps::Account;
use super::stream::{ENOUGH, Stream};
use super::watch::LinkWatch;

/// A sandbox, and the address that it has.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) sandbox: PathBuf,
    pub(super) address: IpAddr,
}

impl Place {
    pub(super) fn new(sandbox: &Path, address: impl Into<IpAddr>) -> Self {
        Self {
            sandbox: sandbox.to_owned(),
            address: address.into(),
        }
    }
}

/// Between two places.
pub(super) struct Load {
    stream: Stream,
    flows: Flows,
    watches: Vec<LinkWatch>,
}

/// What all faults together cost, and each of them.
pub(super) struct Cost {
    /// One account for each fault.
    pub(super) accounts: Vec<Account>,
    pub(super) flows: Outcome,
    /// Of both links.
    pub(super) flaps: usize,
}

impl Load {
    pub(super) fn start([from, to]: [&Place; 2], flows: usize) -> Self {
        let watches = [from, to].map(|place| LinkWatch::start(&place.sandbox, "eth0"));
        let address = SocketAddr::new(to.address, TCP_PORT);
        let route = Route {
            from: &from.sandbox,
            to: &to.sandbox,
            listen: address,
            connect: address,
        };
        Self {
            flows: Flows::open(route, flows),
            stream: Stream::start(&from.sandbox, &to.sandbox, to.address),
            watches: watches.into(),
        }
    }

    /// Goes through `count` faults, each once the stream has recovered from the one before.
    pub(super) fn through(self, count: usize, fault: impl FnMut(usize)) -> Cost {
        self.through_with(ENOUGH, count, fault)
    }

    /// The same, with so many datagrams `between` a fault and the next.
    pub(super) fn through_with(
        self,
        between: usize,
        count: usize,
        mut fault: impl FnMut(usize),
    ) -> Cost {
        let mut times = Vec::new();
        for number in 0..count {
            times.push(Instant::now());
            fault(number);
            self.stream.flows(between);
        }
        times.push(Instant::now());
        let trace = self.stream.end();
        let flows = self.flows.end();
        let accounts = times.windows(2).map(|span| trace.account(span[0], span[1]));
        Cost {
            accounts: accounts.collect(),
            flows,
            flaps: self.watches.into_iter().map(LinkWatch::end).sum(),
        }
    }
}

impl Cost {
    /// Links stayed, and so did their carrier.
    pub(super) fn hold_links(&self, row: &mut Row) {
        row.hold(self.flaps == 0, "a link went, or lost its carrier");
    }

    /// Nothing that was sent was lost.
    pub(super) fn hold_all(&self, row: &mut Row) {
        let lost: usize = self.accounts.iter().map(|account| account.lost).sum();
        row.hold(lost == 0, format_args!("{lost} datagrams were lost"));
    }

    pub(super) fn gaps(&self) -> Vec<Duration> {
        let gaps = self.accounts.iter().map(|account| account.longest_gap);
        gaps.collect()
    }

    /// Writes everything into a row; `limit` is for the gaps.
    pub(super) fn tell(&self, row: &mut Row, limit: Duration) {
        row.times("gap", &self.gaps(), limit);
        let sum = |of: fn(&Account) -> usize| self.accounts.iter().map(of).sum::<usize>();
        let (lost, sent) = (sum(|account| account.lost), sum(|account| account.sent));
        row.figure(format_args!("{lost} of {sent} lost"));
        let flows = &self.flows;
        row.all("flows", flows.whole, flows.count, &flows.broken);
        row.figure(format_args!("stalled {:.1?} at most", flows.longest_stall));
        row.figure(format_args!("{} carrier flaps", self.flaps));
        let (twice, late) = (
            sum(|account| account.duplicates),
            sum(|account| account.reordered),
        );
        row.figure(format_args!("{late} out of order"));
        row.hold(twice == 0, format_args!("{twice} datagrams came twice"));
    }
}

const TCP_PORT: u16 = 7002;
