//! What a stream of numbered datagrams tells of its way, from the times at which each was sent and received.

use std::time::Instant;
use std::{collections::HashSet, time::Duration};

/// One datagram that came through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Its place among those sent.
    pub(super) number: usize,
    pub(super) at: Instant,
}

/// A stream, from its first datagram to its last.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// When each was sent, in order.
    pub(super) sent: Vec<Instant>,
    /// In the order in which they came.
    pub(super) arrivals: Vec<Arrival>,
}

/// What became of the datagrams that were sent in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) sent: usize,
    pub(super) lost: usize,
    pub(super) duplicates: usize,
    /// Those that came after one that was sent later.
    pub(super) reordered: usize,
    /// The longest time from the sending of a datagram until one came, whichever it was. So a sender that pauses makes no gap.
    pub(super) longest_gap: Duration,
}

impl Trace {
    /// Of what was sent from `from` on and before `to`.
    pub(super) fn account(&self, from: Instant, to: Instant) -> Account {
        let bound = |time| self.sent.partition_point(|sent| *sent < time);
        let span = bound(from)..bound(to);
        let mut account = Account {
            sent: span.len(),
            ..Account::default()
        };
        let (mut seen, mut highest) = (HashSet::new(), 0);
        for arrival in &self.arrivals {
            let number = arrival.number;
            if span.contains(&number) {
                match seen.insert(number) {
                    false => account.duplicates += 1,
                    true => account.reordered += usize::from(number < highest),
                }
            }
            highest = highest.max(number);
        }
        account.lost = span.len() - seen.len();
        let waits = self.sent[span].iter().map(|sent| self.wait(*sent));
        account.longest_gap = waits.max().unwrap_or_default();
        account
    }

    /// How long nothing came after `since`; where nothing came any more, until the last was sent.
    fn wait(&self, since: Instant) -> Duration {
        let next = self.arrivals.partition_point(|arrival| arrival.at < since);
        let until = self.arrivals.get(next).map(|arrival| arrival.at);
        let until = until.or(self.sent.last().copied()).unwrap_or(since);
        until.saturating_duration_since(since)
    }
}

/// The value below which `percent` of all are, of at least one.
pub(super) fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_micros(100);

    /// One datagram a millisecond; those for which `comes` says when arrive then.
    fn trace(count: u64, comes: impl Fn(u64) -> Option<u64>) -> (Trace, Instant) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut trace = Trace {
            sent: (0..count).map(at).collect(),
            arrivals: Vec::new(),
        };
        for number in 0..count {
            trace.arrivals.extend(comes(number).map(|ms| Arrival {
                number: usize::try_from(number).unwrap(),
                at: at(ms) + LATENCY,
            }));
        }
        trace.arrivals.sort_by_key(|arrival| arrival.at);
        (trace, start)
    }

    #[test]
    fn a_whole_stream_has_no_gap_but_its_latency() {
        let (trace, start) = trace(50, Some);
        let account = trace.account(start, start + Duration::from_secs(1));
        let whole = Account {
            sent: 50,
            longest_gap: LATENCY,
            ..Account::default()
        };
        assert_eq!(account, whole);
    }

    #[test]
    fn a_gap_lasts_from_the_first_lost_to_the_next_arrival() {
        let (trace, start) = trace(100, |number| {
            (!(20..50).contains(&number)).then_some(number)
        });
        let account = trace.account(start, start + Duration::from_secs(1));
        assert_eq!(account.lost, 30);
        assert_eq!(account.longest_gap, Duration::from_millis(30) + LATENCY);
    }

    #[test]
    fn what_is_kept_and_comes_late_is_a_gap_without_loss() {
        let (trace, start) = trace(100, |number| {
            Some(number.max(if number >= 20 { 50 } else { 0 }))
        });
        let account = trace.account(start, start + Duration::from_secs(1));
        assert_eq!((account.lost, account.reordered), (0, 0));
        assert_eq!(account.longest_gap, Duration::from_millis(30) + LATENCY);
    }

    #[test]
    fn a_fault_counts_in_its_own_span_alone() {
        let (trace, start) = trace(100, |number| {
            (!(20..50).contains(&number)).then_some(number)
        });
        let before = trace.account(start, start + Duration::from_millis(20));
        let after = trace.account(
            start + Duration::from_millis(50),
            start + Duration::from_secs(1),
        );
        assert_eq!(
            (before.sent, before.lost, after.sent, after.lost),
            (20, 0, 50, 0)
        );
        assert_eq!(before.longest_gap.max(after.longest_gap), LATENCY);
    }

    #[test]
    fn a_stream_that_never_comes_back_has_a_gap_to_its_end() {
        let (trace, start) = trace(100, |number| (number < 20).then_some(number));
        let account = trace.account(start, start + Duration::from_secs(1));
        assert_eq!(
            (account.lost, account.longest_gap),
            (80, Duration::from_millis(79))
        );
    }

    #[test]
    fn a_pause_of_the_sender_is_no_gap() {
        let (mut trace, start) = trace(100, Some);
        let pause = Duration::from_millis(400);
        trace.sent[50..].iter_mut().for_each(|sent| *sent += pause);
        let late = trace
            .arrivals
            .iter_mut()
            .filter(|arrival| arrival.number >= 50);
        late.for_each(|arrival| arrival.at += pause);
        let account = trace.account(start, start + Duration::from_secs(1));
        assert_eq!((account.lost, account.longest_gap), (0, LATENCY));
    }

    #[test]
    fn twice_and_out_of_order_are_told_apart() {
        let (mut trace, start) = trace(10, Some);
        trace.arrivals.swap(3, 4);
        trace.arrivals.push(trace.arrivals[9]);
        let account = trace.account(start, start + Duration::from_secs(1));
        assert_eq!(
            (account.reordered, account.duplicates, account.lost),
            (1, 1, 0)
        );
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        let of = |percent| percentile(&values, percent).as_millis();
        assert_eq!([of(50), of(95), of(100)], [10, 19, 20]);
        assert_eq!(percentile(&values[..1], 95), values[0]);
    }
}
