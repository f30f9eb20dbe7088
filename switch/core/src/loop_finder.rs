//! Which port of a network closes a loop.
//!
//! # Theory of operation
//!
//! A poll machine for one bridge. Nothing happens until somebody suspects a loop, because a station has moved between ports
//! or speaks from one that is not its own; both are honest as well (virtual routers, bonds, stations that migrate), so a
//! suspicion does no more than start a *round*: a probe out of every port that could be part of a loop. Rounds of one suspicion
//! after another are ever further apart. In a network that is aware of VLANs a round is in those where something was suspected, up to
//! [`SUSPECTED_MAX`]; who moves stations in more of them is seen again.
//!
//! A probe of a recent round that comes back is the proof. Of the two ports, the one it left by and the one it came by, a sandbox's
//! is blocked rather than a patch, a patch rather than an uplink, and among equals the one that was attached later; tunnels and
//! the host's own ports never are, nor is the NIC of a network that is a part of its LAN. While a port is blocked there is a round
//! every second, out of the blocked port too, in the VLAN of the loop; when no probe has come back by way of it for [`HOLD`], it is
//! open again.
//!
//! A probe that comes back by the port that it left by blocks a sandbox, which sends back what it is sent; a patch may
//! lead to such a sandbox, and says nothing of the patch.
//!
//! *Uplinks of two hosts* that lead to one LAN make a loop with the tunnel between the hosts, and both bridges find it. So a bridge
//! that would block an uplink waits for a time that it draws, and looks once more: whoever waited less has cut the loop by then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::port::SplitHorizonGroup;
use crate::splitmix::SplitMix64;
use crate::vlan::Vid;
use crate::{PortConfig, PortId, PortKind, Probe, Time};

/// See the module's theory of operation.
#[derive(Debug)]
pub struct LoopFinder {
    round: u64,
    /// When the next round is due.
    due: Option<Time>,
    /// When the last one began.
    began: Option<Time>,
    /// How far apart the rounds of suspicions are now.
    pause: Duration,
    blocked: BTreeMap<PortId, Proof>,
    /// Where the next round looks, beside the VLANs of blocked ports.
    suspected: BTreeSet<Option<Vid>>,
    /// An uplink that closes a loop, and the last round before another bridge may have cut that.
    contest: Option<(PortId, u64)>,
    draws: SplitMix64,
}

/// Of a loop that a blocked port closed.
#[derive(Clone, Copy, Debug)]
struct Proof {
    /// When a probe last came back by way of the port.
    at: Time,
    vlan: Option<Vid>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopAct {
    /// Send a probe of this round in this VLAN out of every port that [`LoopFinder::is_probed`].
    Probe { round: u64, vlan: Option<Vid> },
    /// Open the port again, which closed a loop in this VLAN.
    Unblock(PortId, Option<Vid>),
}

impl LoopFinder {
    /// The seed differs between bridges.
    pub const fn new(seed: u64) -> Self {
        Self {
            round: 0,
            due: None,
            began: None,
            pause: Duration::ZERO,
            blocked: BTreeMap::new(),
            suspected: BTreeSet::new(),
            contest: None,
            draws: SplitMix64::new(seed),
        }
    }

    /// Whether probes leave by such a port, which may be blocked then.
    pub fn is_probed(config: &PortConfig) -> bool {
        match config.kind {
            PortKind::Tap | PortKind::Patch => true,
            PortKind::Uplink => config.group != SplitHorizonGroup::LAN,
            _ => false,
        }
    }

    /// Something looks like a loop, in that VLAN where the network is aware of them.
    pub fn suspect(&mut self, now: Time, vlan: Option<Vid>) {
        if self.suspected.len() < SUSPECTED_MAX {
            self.suspected.insert(vlan);
        }
        if self.due.is_some() {
            return;
        }
        let calm = self.began.is_none_or(|began| now.since(began) >= CALM);
        self.pause = match calm {
            true => PAUSE_MIN,
            false => (self.pause * 2).min(PAUSE_MAX),
        };
        self.due = Some(match self.began {
            Some(began) if !calm => now.max(began + self.pause),
            _ => now,
        });
    }

    /// A probe came back by the port `came`. Gives the port to be blocked. `kind_of` knows what is behind a port that
    /// [`Self::is_probed`], and nothing of one that is gone.
    pub fn came_back(
        &mut self,
        now: Time,
        probe: Probe,
        came: PortId,
        kind_of: impl Fn(PortId) -> Option<PortKind>,
    ) -> Option<PortId> {
        if probe.round > self.round || self.round - probe.round >= ROUNDS_RECENT {
            return None;
        }
        let mut is_known = false;
        for port in [probe.port, came] {
            if let Some(proof) = self.blocked.get_mut(&port) {
                proof.at = now;
                is_known = true;
            }
        }
        if is_known {
            return None;
        }
        let place = |port: PortId| match kind_of(port)? {
            PortKind::Tap => Some((2, port)),
            PortKind::Patch if probe.port != came => Some((1, port)),
            PortKind::Uplink if probe.port != came => Some((0, port)),
            _ => None,
        };
        let (rank, port) = place(probe.port).max(place(came))?;
        let vlan = probe.vlan;
        if rank == 0 && !self.wins(now, port, probe.round) {
            self.suspected.insert(vlan);
            return None;
        }
        self.contest = None;
        self.blocked.insert(port, Proof { at: now, vlan });
        self.due = Some(self.due.map_or(now + EVERY, |due| due.min(now + EVERY)));
        Some(port)
    }

    /// Whether a loop is there still that another bridge might have cut.
    fn wins(&mut self, now: Time, uplink: PortId, round: u64) -> bool {
        if let Some((contested, before)) = self.contest
            && contested == uplink
            && round <= before + 1
        {
            return round > before;
        }
        self.contest = Some((uplink, self.round));
        let wait = self.draws.word() % WAIT_MAX_MS;
        self.due = Some(now + Duration::from_millis(wait));
        false
    }

    /// When [`Self::handle_timeout`] is due; `None` while nothing is suspected and nothing blocked.
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// What is due.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<LoopAct> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let over = |proof: &Proof| now.since(proof.at) >= HOLD;
        let mut vlans = std::mem::take(&mut self.suspected);
        vlans.extend(self.blocked.values().map(|proof| proof.vlan));
        let open = self.blocked.iter().filter(|(_, proof)| over(proof));
        let mut acts: Vec<_> = open
            .map(|(port, proof)| LoopAct::Unblock(*port, proof.vlan))
            .collect();
        self.blocked.retain(|_, proof| !over(proof));
        self.round += 1;
        self.began = Some(now);
        let round = self.round;
        acts.extend(vlans.into_iter().map(|vlan| LoopAct::Probe { round, vlan }));
        self.due = (!self.blocked.is_empty()).then_some(now + EVERY);
        acts
    }
}

/// Between rounds while a port is blocked.
const EVERY: Duration = Duration::from_secs(1);
/// Without a probe by way of a blocked port, until it is open again.
pub const HOLD: Duration = Duration::from_secs(10);
/// Between rounds of one suspicion after another.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Without a round, until a suspicion is the first again.
const CALM: Duration = Duration::from_secs(20);
/// Before an uplink is blocked.
const WAIT_MAX_MS: u64 = 200;
/// VLANs of one round in which something was suspected.
const SUSPECTED_MAX: usize = 8;
/// Probes of older rounds were kept by somebody.
const ROUNDS_RECENT: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    const TAP: PortId = PortId(3);
    const LATER: PortId = PortId(9);
    const PATCH: PortId = PortId(12);
    const TUNNEL: PortId = PortId(20);
    const UPLINK: PortId = PortId(30);

    fn kind(port: PortId) -> Option<PortKind> {
        match port {
            TAP | LATER => Some(PortKind::Tap),
            PATCH => Some(PortKind::Patch),
            TUNNEL => Some(PortKind::Tunnel),
            UPLINK => Some(PortKind::Uplink),
            _ => None,
        }
    }

    /// In its first round, at the time 1000.
    fn suspicious() -> LoopFinder {
        let mut finder = LoopFinder::new(1);
        finder.suspect(at(1000), None);
        assert_eq!(
            finder.handle_timeout(at(1000)),
            [LoopAct::Probe {
                round: 1,
                vlan: None
            }]
        );
        finder
    }

    fn blocked(sent: PortId, came: PortId) -> Option<PortId> {
        let probe = Probe {
            port: sent,
            round: 1,
            vlan: None,
        };
        suspicious().came_back(at(1001), probe, came, kind)
    }

    #[test]
    fn nothing_happens_until_something_is_suspected() {
        let mut finder = LoopFinder::new(1);
        assert_eq!(finder.poll_timeout(), None);
        assert_eq!(finder.handle_timeout(at(1_000_000)), []);
    }

    #[test]
    fn the_later_port_is_blocked_and_a_sandbox_before_a_patch() {
        assert_eq!(blocked(TAP, LATER), Some(LATER));
        assert_eq!(blocked(LATER, TAP), Some(LATER));
        assert_eq!(blocked(PATCH, TAP), Some(TAP));
        assert_eq!(blocked(TUNNEL, TAP), Some(TAP));
        assert_eq!(blocked(TUNNEL, TUNNEL), None);
        assert_eq!(blocked(PortId(99), TAP), Some(TAP), "one of them is gone");
    }

    /// A probe of the finder's round comes back by the tunnel.
    fn around(finder: &mut LoopFinder, now: Time) -> Option<PortId> {
        let probe = Probe {
            port: UPLINK,
            round: finder.round,
            vlan: None,
        };
        finder.came_back(now, probe, TUNNEL, kind)
    }

    #[test]
    fn an_uplink_is_blocked_when_nobody_else_has_cut_the_loop() {
        let mut finder = suspicious();
        assert_eq!(around(&mut finder, at(1001)), None);
        assert_eq!(around(&mut finder, at(1002)), None, "a copy of the probe");
        let due = finder.poll_timeout().unwrap();
        assert!(due < at(1001 + WAIT_MAX_MS));
        assert_eq!(
            finder.handle_timeout(due),
            [LoopAct::Probe {
                round: 2,
                vlan: None
            }]
        );
        assert_eq!(around(&mut finder, due), Some(UPLINK));

        // Another one was cut meanwhile, and there is a loop again later.
        let mut finder = suspicious();
        assert_eq!(around(&mut finder, at(1001)), None);
        finder.handle_timeout(finder.poll_timeout().unwrap());
        finder.suspect(at(50_000), None);
        finder.handle_timeout(finder.poll_timeout().unwrap());
        assert_eq!(around(&mut finder, at(50_001)), None);
        finder.handle_timeout(finder.poll_timeout().unwrap());
        assert_eq!(around(&mut finder, at(50_300)), Some(UPLINK));
    }

    #[test]
    fn a_patch_is_blocked_before_an_uplink() {
        assert_eq!(blocked(UPLINK, PATCH), Some(PATCH));
        assert_eq!(blocked(PATCH, UPLINK), Some(PATCH));
        assert_eq!(blocked(UPLINK, UPLINK), None);
    }

    #[test]
    fn who_reflects_is_blocked_unless_it_is_a_patch() {
        assert_eq!(blocked(TAP, TAP), Some(TAP));
        assert_eq!(blocked(PATCH, PATCH), None);
    }

    #[test]
    fn old_probes_and_those_to_come_prove_nothing() {
        let mut finder = suspicious();
        let mut came = |round| {
            let probe = Probe {
                port: TAP,
                round,
                vlan: None,
            };
            finder.came_back(at(1001), probe, LATER, kind)
        };
        assert_eq!(came(2), None);
        for round in 0..10 {
            let now = at(2000 + round * 60_000);
            finder.suspect(now, None);
            finder.handle_timeout(now);
        }
        let probe = Probe {
            port: TAP,
            round: 1,
            vlan: None,
        };
        assert_eq!(finder.came_back(at(9_000_000), probe, LATER, kind), None);
    }

    #[test]
    fn a_blocked_port_is_open_again_when_no_probe_has_come_back_for_long() {
        let mut finder = suspicious();
        let probe = |round| Probe {
            port: TAP,
            round,
            vlan: None,
        };
        assert_eq!(
            finder.came_back(at(1001), probe(1), LATER, kind),
            Some(LATER)
        );
        let mut now = at(1001);
        for round in 2..30 {
            now = finder.poll_timeout().unwrap();
            assert_eq!(
                finder.handle_timeout(now),
                [LoopAct::Probe { round, vlan: None }]
            );
            assert_eq!(finder.came_back(now, probe(round), LATER, kind), None);
        }
        let mut acts = Vec::new();
        while let Some(due) = finder.poll_timeout() {
            acts = finder.handle_timeout(due);
            assert!(due.since(now) <= HOLD + EVERY);
        }
        assert_eq!(acts[0], LoopAct::Unblock(LATER, None));
    }

    #[test]
    fn suspicions_that_do_not_end_cost_ever_fewer_rounds() {
        let mut finder = LoopFinder::new(1);
        let mut rounds = 0;
        for ms in 0..60_000 {
            finder.suspect(at(ms), None);
            rounds += finder.handle_timeout(at(ms)).len();
        }
        assert!((10..25).contains(&rounds), "{rounds}");
        finder.handle_timeout(at(70_000));
        finder.suspect(at(200_000), None);
        assert_eq!(finder.poll_timeout(), Some(at(200_000)), "it is calm again");
    }

    #[test]
    fn a_loop_is_looked_for_in_the_vlan_where_something_was_suspected() {
        let [ten, twenty] = [10, 20].map(Vid::new);
        let mut finder = LoopFinder::new(1);
        finder.suspect(at(1000), ten);
        finder.suspect(at(1000), twenty);
        let round = |finder: &mut LoopFinder| {
            let due = finder.poll_timeout().unwrap();
            (due, finder.handle_timeout(due))
        };
        let probe = |round, vlan| LoopAct::Probe { round, vlan };
        let (now, acts) = round(&mut finder);
        assert_eq!(acts, [probe(1, ten), probe(1, twenty)]);
        let found = Probe {
            port: TAP,
            round: 1,
            vlan: twenty,
        };
        assert_eq!(finder.came_back(now, found, LATER, kind), Some(LATER));
        let (_, acts) = round(&mut finder);
        assert_eq!(acts, [probe(2, twenty)], "and no longer in the other");
        finder.suspect(now, ten);
        let (mut now, acts) = round(&mut finder);
        assert_eq!(acts, [probe(3, ten), probe(3, twenty)]);
        let mut acts = Vec::new();
        while finder.poll_timeout().is_some() {
            (now, acts) = round(&mut finder);
        }
        assert!(now < at(20_000));
        assert_eq!(acts[0], LoopAct::Unblock(LATER, twenty));
    }

    #[test]
    fn who_moves_stations_in_every_vlan_has_few_of_them_probed() {
        let mut finder = LoopFinder::new(1);
        for vid in Vid::all() {
            finder.suspect(at(1000), Some(vid));
        }
        assert_eq!(finder.handle_timeout(at(1000)).len(), SUSPECTED_MAX);
        finder.suspect(at(60_000), Vid::new(4094));
        assert_eq!(
            finder.handle_timeout(at(60_000)),
            [LoopAct::Probe {
                round: 2,
                vlan: Vid::new(4094)
            }]
        );
    }
}
