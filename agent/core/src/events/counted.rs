//! What only shows in counters: storms, and frames that are dropped in numbers.
//!
//! # Theory of operation
//!
//! Somebody looks at the counters of all ports every few seconds. Where more frames of one reason were dropped at a port than the
//! limits allow, a *spell* begins, and that is told. It goes on, untold, until there was no such look for [`CALM`]; then its end is
//! told, with how many frames it cost. Frames over the budget of broadcast make a storm, whatever their number. A port that is seen
//! for the first time only sets what the next look is compared with. What is remembered of a port goes with it.

use std::collections::BTreeMap;
use std::time::Duration;

use switch_core::DropReason;

use super::Notice;

/// What was counted at the ports, and what goes on there.
#[derive(Debug, Default)]
pub struct Counted {
    looked: Option<Duration>,
    ports: BTreeMap<u32, Known>,
}

/// From when on drops are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames a second of one reason at one port; zero: never.
    pub drops_per_s: u64,
}

/// A port at one look.
#[derive(Clone, Debug)]
pub struct PortCounted<'n> {
    pub port: u32,
    pub network: &'n str,
    /// Who is behind it.
    pub owner: &'n str,
    /// So far, by reason; those that never happened may be left out.
    pub drops: Vec<(DropReason, u64)>,
}

#[derive(Debug, Default)]
struct Known {
    dropped: BTreeMap<&'static str, u64>,
    spells: BTreeMap<&'static str, Spell>,
}

#[derive(Debug)]
struct Spell {
    began: Duration,
    /// The last look at which it was over the limit.
    last: Duration,
    frames: u64,
}

impl Counted {
    /// All ports as they are at `now`, by any clock that goes on. Gives what is to be told.
    pub fn look<'n>(
        &mut self,
        now: Duration,
        limits: Limits,
        ports: impl IntoIterator<Item = PortCounted<'n>>,
    ) -> Vec<Notice> {
        let since = self
            .looked
            .replace(now)
            .map(|last| now.saturating_sub(last));
        let mut notices = Vec::new();
        let mut before = std::mem::take(&mut self.ports);
        for port in ports {
            let known = match (before.remove(&port.port), since) {
                (Some(mut known), Some(since)) => {
                    known.compare(&port, (now, since), limits, &mut notices);
                    known
                }
                _ => Known::first(&port),
            };
            self.ports.insert(port.port, known);
        }
        notices
    }
}

impl Known {
    fn first(port: &PortCounted<'_>) -> Self {
        let dropped = port.drops.iter().map(|(why, count)| (why.name(), *count));
        Self {
            dropped: dropped.collect(),
            spells: BTreeMap::new(),
        }
    }

    fn compare(
        &mut self,
        port: &PortCounted<'_>,
        (now, since): (Duration, Duration),
        limits: Limits,
        notices: &mut Vec<Notice>,
    ) {
        let place = (port.network, port.owner);
        for (why, count) in &port.drops {
            let why = why.name();
            let before = self.dropped.insert(why, *count).unwrap_or(0);
            let more = count.saturating_sub(before);
            if more == 0 || !limits.are_passed(why, more, since) {
                continue;
            }
            let spell = self.spells.entry(why).or_insert_with(|| {
                notices.push(notice(why, [STORM, DROP], port.port, place).with("frames", more));
                Spell {
                    began: now.saturating_sub(since),
                    last: now,
                    frames: 0,
                }
            });
            (spell.last, spell.frames) = (now, spell.frames + more);
        }
        self.spells.retain(|why, spell| {
            let goes_on = now.saturating_sub(spell.last) < CALM;
            if !goes_on {
                let lasted = spell.last.saturating_sub(spell.began).as_secs();
                let ended = notice(why, [STORM_END, DROP_END], port.port, place);
                notices.push(ended.with("frames", spell.frames).with("seconds", lasted));
            }
            goes_on
        });
    }
}

impl Limits {
    fn are_passed(self, why: &str, more: u64, since: Duration) -> bool {
        if why == DropReason::BumRate.name() {
            return true;
        }
        let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        self.drops_per_s > 0 && more.saturating_mul(1000) / since_ms >= self.drops_per_s
    }
}

/// Of a storm the first action, of other drops the second one.
fn notice(why: &str, actions: [&'static str; 2], port: u32, place: (&str, &str)) -> Notice {
    let [storm, drop] = actions;
    let is_storm = why == DropReason::BumRate.name();
    let action = if is_storm { storm } else { drop };
    Notice::port(action, port, place).with("reason", why)
}

const STORM: &str = "storm";
const STORM_END: &str = "storm-end";
const DROP: &str = "drop";
const DROP_END: &str = "drop-end";
/// Below the limits, until a spell is over.
const CALM: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use agent_api::Event;

    use super::*;

    const LIMITS: Limits = Limits { drops_per_s: 100 };

    fn at(port: u32, drops: &[(DropReason, u64)]) -> PortCounted<'static> {
        PortCounted {
            port,
            network: "lab",
            owner: "web",
            drops: drops.to_vec(),
        }
    }

    fn look(counted: &mut Counted, s: u64, ports: &[PortCounted<'static>]) -> Vec<Event> {
        let notices = counted.look(Duration::from_secs(s), LIMITS, ports.to_vec());
        notices.into_iter().map(|notice| notice.told(0)).collect()
    }

    fn told(events: &[Event]) -> Vec<String> {
        let line = |event: &Event| {
            let of = |key: &str| event.actor.attributes.get(key).cloned().unwrap_or_default();
            format!(
                "{} {} {} {}",
                event.action,
                event.actor.id,
                of("reason"),
                of("frames")
            )
        };
        events.iter().map(line).collect()
    }

    #[test]
    fn drops_past_the_limit_are_told_once_and_their_end_with_their_number() {
        let mut counted = Counted::default();
        let mut drops = 5_000;
        let mut step = |counted: &mut Counted, s, more| {
            drops += more;
            told(&look(
                counted,
                s,
                &[at(3, &[(DropReason::QueueFull, drops)])],
            ))
        };
        assert!(step(&mut counted, 2, 0).is_empty(), "the first look");
        assert!(step(&mut counted, 4, 199).is_empty(), "fewer");
        assert_eq!(step(&mut counted, 6, 200), ["drop 3 queue_full 200"]);
        assert!(step(&mut counted, 8, 500).is_empty(), "it goes on");
        assert!(step(&mut counted, 10, 1).is_empty(), "not over yet");
        assert!(step(&mut counted, 12, 300).is_empty(), "the same one");
        assert!(step(&mut counted, 21, 0).is_empty());
        assert_eq!(step(&mut counted, 22, 0), ["drop-end 3 queue_full 1000"]);
        assert_eq!(step(&mut counted, 24, 900), ["drop 3 queue_full 900"]);
    }

    #[test]
    fn any_frame_over_the_budget_of_broadcast_is_a_storm() {
        let mut counted = Counted::default();
        let port = |count| [at(7, &[(DropReason::BumRate, count)])];
        assert!(look(&mut counted, 0, &[at(7, &[])]).is_empty());
        assert_eq!(
            told(&look(&mut counted, 2, &port(1))),
            ["storm 7 bum_rate 1"]
        );
        assert!(look(&mut counted, 4, &port(40)).is_empty());
        let end = look(&mut counted, 14, &port(40));
        assert_eq!(told(&end), ["storm-end 7 bum_rate 40"]);
        assert_eq!(end[0].actor.attributes["network"], "lab");
    }

    #[test]
    fn a_port_that_went_is_forgotten_and_one_that_comes_begins_anew() {
        let mut counted = Counted::default();
        let port = |count| [at(7, &[(DropReason::BumRate, count)])];
        look(&mut counted, 0, &port(0));
        look(&mut counted, 2, &port(9));
        assert!(look(&mut counted, 4, &[]).is_empty());
        assert!(counted.ports.is_empty());
        assert!(look(&mut counted, 6, &port(500)).is_empty());
        assert_eq!(
            told(&look(&mut counted, 8, &port(502))),
            ["storm 7 bum_rate 2"]
        );
    }

    #[test]
    fn counters_that_begin_anew_are_no_drops() {
        let mut counted = Counted::default();
        let port = |count| [at(7, &[(DropReason::LinkDown, count)])];
        look(&mut counted, 0, &port(9_000));
        assert!(look(&mut counted, 2, &port(50)).is_empty());
    }
}
