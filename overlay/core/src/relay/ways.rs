//! Which way the next dial of a host takes.

use std::time::Duration;

use crate::HostId;

/// A way to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    Via(HostId),
}

/// A host that is up, is reached directly and passes on what is for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayCandidate {
    pub host: HostId,
    /// It signs for the cluster, so every host is meant to reach it.
    pub is_manager: bool,
    /// There and back.
    pub rtt: Duration,
}

/// What dials of one host have shown.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// Of the last dial.
    last: Option<Way>,
    /// How often each relay has not led there, since one last did.
    misses: Vec<(HostId, u32)>,
}

impl Ways {
    /// The way of a dial that begins now. Of the one before, nothing came unless [`Self::went_up`] says so.
    ///
    /// Direct dials and those over relays take turns. Of relays, that one comes first which has failed least often, then
    /// managers, then the nearest.
    pub fn dial(&mut self, candidates: &[RelayCandidate]) -> Way {
        let way = match self.last.take() {
            Some(Way::Direct) => self.choose(candidates).map_or(Way::Direct, Way::Via),
            Some(Way::Via(relay)) => {
                self.miss(relay);
                Way::Direct
            }
            None => Way::Direct,
        };
        self.misses
            .retain(|(relay, _)| candidates.iter().any(|known| known.host == *relay));
        self.last = Some(way.clone());
        way
    }

    /// The host was reached.
    pub fn went_up(&mut self, way: Way) {
        self.misses.clear();
        self.last = Some(way);
    }

    /// The dial was answered, if only to be refused: where it was direct, no relay is needed.
    pub fn was_answered(&mut self) {
        self.last.take_if(|way| *way == Way::Direct);
    }

    /// The host was reached, and is not any more. The next dial takes the way that the lost connection had: a host that has started
    /// anew answers there at once. Where a relay was lost, it goes over another.
    pub fn went_down(&mut self) {
        match self.last.take() {
            Some(Way::Via(relay)) => {
                self.miss(relay);
                self.last = Some(Way::Direct);
            }
            _ => self.last = None,
        }
    }

    /// Whether the host, where it is up, is so over a relay.
    pub const fn are_relayed(&self) -> bool {
        matches!(self.last, Some(Way::Via(_)))
    }

    fn choose(&self, candidates: &[RelayCandidate]) -> Option<HostId> {
        let rank = |one: &&RelayCandidate| {
            let misses = self.misses.iter().find(|(relay, _)| *relay == one.host);
            let misses = misses.map_or(0, |(_, misses)| *misses);
            let distance = one.rtt.as_millis() / NEAR.as_millis();
            (misses, !one.is_manager, distance)
        };
        let best = candidates.iter().min_by(|a, b| {
            let by_rank = rank(a).cmp(&rank(b));
            by_rank.then_with(|| a.host.cmp(&b.host))
        });
        best.map(|best| best.host.clone())
    }

    fn miss(&mut self, relay: HostId) {
        match self.misses.iter_mut().find(|(known, _)| *known == relay) {
            Some((_, misses)) => *misses = misses.saturating_add(1),
            None => self.misses.push((relay, 1)),
        }
    }
}

/// Two hosts that differ by less are equally near.
const NEAR: Duration = Duration::from_millis(8);

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(host: &str, is_manager: bool, rtt_ms: u64) -> RelayCandidate {
        RelayCandidate {
            host: HostId::new(host).unwrap(),
            is_manager,
            rtt: Duration::from_millis(rtt_ms),
        }
    }

    fn via(host: &str) -> Way {
        Way::Via(HostId::new(host).unwrap())
    }

    /// After a direct dial in vain.
    fn chosen(candidates: &[RelayCandidate]) -> Way {
        let mut ways = Ways::default();
        assert_eq!(ways.dial(candidates), Way::Direct);
        ways.dial(candidates)
    }

    #[test]
    fn managers_come_first_then_the_nearest_then_the_least() {
        let far_manager = candidate("m", true, 90);
        let (near, near_too, far) = (
            candidate("n1", false, 1),
            candidate("n2", false, 3),
            candidate("a", false, 40),
        );
        let all = [far.clone(), near_too.clone(), near.clone(), far_manager];
        assert_eq!(chosen(&all), via("m"));
        assert_eq!(chosen(&[far.clone(), near_too, near]), via("n1"));
        assert_eq!(chosen(&[far]), via("a"));
        assert_eq!(chosen(&[]), Way::Direct);
    }

    #[test]
    fn direct_dials_and_relayed_ones_take_turns_and_every_relay_is_tried() {
        let all = [candidate("m", true, 1), candidate("w", false, 1)];
        let mut ways = Ways::default();
        let taken: Vec<_> = (0..6).map(|_| ways.dial(&all)).collect();
        let expected = [
            Way::Direct,
            via("m"),
            Way::Direct,
            via("w"),
            Way::Direct,
            via("m"),
        ];
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_lost_relay_is_followed_by_another_at_once() {
        let all = [candidate("m", true, 1), candidate("w", false, 1)];
        let mut ways = Ways::default();
        ways.went_up(via("m"));
        ways.went_down();
        assert_eq!(ways.dial(&all), via("w"));
        ways.went_up(via("w"));
        // What was up forgives all that failed before.
        ways.went_down();
        assert_eq!(ways.dial(&all), via("m"));
    }

    #[test]
    fn a_lost_direct_connection_is_dialed_directly_first() {
        let all = [candidate("m", true, 1)];
        let mut ways = Ways::default();
        ways.went_up(Way::Direct);
        ways.went_down();
        assert_eq!(ways.dial(&all), Way::Direct);
        assert_eq!(ways.dial(&all), via("m"));
    }

    #[test]
    fn a_host_that_refuses_a_direct_dial_is_dialed_directly_again() {
        let all = [candidate("m", true, 1)];
        let mut ways = Ways::default();
        for _ in 0..3 {
            assert_eq!(ways.dial(&all), Way::Direct);
            ways.was_answered();
        }
        assert_eq!(ways.dial(&all), Way::Direct);
        assert_eq!(ways.dial(&all), via("m"));
        // A relay's answer is none of the host's own path.
        ways.was_answered();
        assert_eq!(ways.dial(&all), Way::Direct);
    }

    #[test]
    fn relays_that_are_gone_are_forgotten() {
        let mut ways = Ways::default();
        for n in 0..100 {
            let one = [candidate(&format!("h{n}"), false, 1)];
            for _ in 0..4 {
                ways.dial(&one);
            }
        }
        assert!(ways.misses.len() <= 1);
    }
}
