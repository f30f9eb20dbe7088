//! What is told of tunnels that come and go.
//!
//! # Theory of operation
//!
//! A change is told as it happens, up to [`TOLD_MAX`] of one host in a [`SPAN`]. Further ones are counted, and told in one line
//! when the span is over: a path that goes up and down all day is a line a minute, and no change stays untold for longer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use overlay_core::HostId;

/// The tunnels of which something was heard.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    tunnels: BTreeMap<HostId, Tunnel>,
}

#[derive(Debug)]
struct Tunnel {
    is_up: bool,
    since: Instant,
    span: Instant,
    /// In this span.
    told: u32,
    untold: u32,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Up,
    Down,
    /// So many changes in a span.
    Flapped {
        times: u32,
        is_up: bool,
    },
}

impl Flaps {
    /// A tunnel is up or down now.
    pub(super) fn note(&mut self, host: &HostId, is_up: bool, now: Instant) -> Option<News> {
        let tunnel = self.tunnels.entry(host.clone()).or_insert(Tunnel {
            is_up: !is_up,
            since: now,
            span: now,
            told: 0,
            untold: 0,
        });
        if tunnel.is_up == is_up {
            return None;
        }
        (tunnel.is_up, tunnel.since) = (is_up, now);
        let is_over = now.saturating_duration_since(tunnel.span) >= SPAN;
        if is_over && tunnel.untold == 0 {
            (tunnel.span, tunnel.told) = (now, 0);
        }
        if tunnel.untold > 0 || tunnel.told >= TOLD_MAX {
            tunnel.untold += 1;
            return None;
        }
        tunnel.told += 1;
        Some(if is_up { News::Up } else { News::Down })
    }

    /// What was counted in spans that are over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(HostId, News)> {
        let is_due = |tunnel: &Tunnel| {
            tunnel.untold > 0 && now.saturating_duration_since(tunnel.span) >= SPAN
        };
        let due = self.tunnels.iter_mut().filter(|(_, it)| is_due(it));
        let news = due.map(|(host, tunnel)| {
            let times = std::mem::take(&mut tunnel.untold);
            // The next span has its own lines.
            (tunnel.span, tunnel.told) = (now, TOLD_MAX);
            let is_up = tunnel.is_up;
            (host.clone(), News::Flapped { times, is_up })
        });
        news.collect()
    }

    /// Since when a tunnel is up or down, where that was heard.
    pub(super) fn since(&self, host: &HostId, is_up: bool) -> Option<Instant> {
        let tunnel = self.tunnels.get(host)?;
        (tunnel.is_up == is_up).then_some(tunnel.since)
    }

    /// Nobody keeps a tunnel to a host any more.
    pub(super) fn forget(&mut self, host: &HostId) {
        self.tunnels.remove(host);
    }
}

const SPAN: Duration = Duration::from_secs(60);
/// A host that starts again goes down and comes up.
const TOLD_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostId {
        HostId::new("0a0b").unwrap()
    }

    #[test]
    fn each_change_is_told_until_there_are_too_many() {
        let (mut flaps, start) = (Flaps::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let told: Vec<_> = (0..9)
            .map(|second| flaps.note(&host(), second % 2 == 0, at(second)))
            .collect();
        let told_first = [News::Up, News::Down, News::Up, News::Down].map(Some);
        assert_eq!(told[..4], told_first);
        assert_eq!(told[4..], [None; 5]);
        assert!(flaps.due(at(59)).is_empty());
        let flapped = News::Flapped {
            times: 5,
            is_up: true,
        };
        assert_eq!(flaps.due(at(60)), [(host(), flapped)]);
        assert!(flaps.due(at(200)).is_empty());
        assert_eq!(flaps.note(&host(), false, at(200)), Some(News::Down));
    }

    #[test]
    fn a_path_that_goes_up_and_down_all_day_is_a_line_a_minute() {
        let (mut flaps, start) = (Flaps::default(), Instant::now());
        let mut lines = 0;
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            lines += flaps.due(now).len();
            lines += usize::from(flaps.note(&host(), second % 2 == 0, now).is_some());
        }
        assert!((60..=64).contains(&lines), "{lines}");
    }

    #[test]
    fn what_stays_is_no_news_and_its_time_is_known() {
        let (mut flaps, start) = (Flaps::default(), Instant::now());
        let later = start + Duration::from_secs(5);
        assert_eq!(flaps.note(&host(), true, start), Some(News::Up));
        assert_eq!(flaps.note(&host(), true, later), None);
        assert_eq!(flaps.since(&host(), true), Some(start));
        assert_eq!(flaps.since(&host(), false), None);
        flaps.note(&host(), false, later);
        assert_eq!(flaps.since(&host(), false), Some(later));
        flaps.forget(&host());
        assert_eq!(flaps.since(&host(), false), None);
    }
}
