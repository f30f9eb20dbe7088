//! Flows by their keys, as many as there is room for.

use std::collections::BTreeMap;

use switch_core::{Time, Verdict};

use super::FlowKey;

/// A sample, or a frame that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub verdict: Verdict,
    /// How many frames it stands for, and how many bytes those have; of one that was dropped, itself.
    pub frames: u64,
    pub bytes: u64,
}

/// What is known of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What became of the latest frame that was not dropped.
    pub verdict: Option<Verdict>,
    /// Frames that were not dropped, and their bytes: estimates.
    pub frames: u64,
    pub bytes: u64,
    /// What they were estimated from.
    pub samples: u64,
    /// Counted one by one.
    pub drops: BTreeMap<&'static str, u64>,
    pub first: Time,
    pub last: Time,
    /// Its place among those that were seen.
    turn: u64,
}

/// The flows of one network.
#[derive(Clone, Debug, Default)]
pub struct FlowTable {
    flows: BTreeMap<FlowKey, Flow>,
    /// Keys in the order in which they were last seen.
    order: BTreeMap<u64, FlowKey>,
    turns: u64,
    room: usize,
    /// Samples in all.
    pub samples: u64,
    /// Flows that made room.
    pub evicted: u64,
}

impl FlowTable {
    /// Without room for any.
    pub const EMPTY: Self = Self {
        flows: BTreeMap::new(),
        order: BTreeMap::new(),
        turns: 0,
        room: 0,
        samples: 0,
        evicted: 0,
    };

    /// With room for so many flows.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub fn flows(&self) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        self.flows.iter()
    }

    /// Adds what was seen of a flow.
    pub fn add(&mut self, now: Time, key: &FlowKey, sighting: &Sighting) {
        self.turns += 1;
        let turn = self.turns;
        if !self.flows.contains_key(key) && self.flows.len() >= self.room {
            self.evict();
        }
        let flow = self.flows.entry(*key).or_insert_with(|| Flow::new(now));
        self.order.remove(&flow.turn);
        flow.turn = turn;
        flow.last = now;
        flow.add(sighting);
        self.samples += u64::from(!matches!(sighting.verdict, Verdict::Drop(_)));
        self.order.insert(turn, *key);
    }

    /// Forgets the flows that were not seen since `then`.
    pub fn forget_before(&mut self, then: Time) {
        while let Some((turn, key)) = self.order.first_key_value()
            && self.flows.get(key).is_none_or(|flow| flow.last < then)
        {
            let (turn, key) = (*turn, *key);
            self.order.remove(&turn);
            self.flows.remove(&key);
        }
    }

    fn evict(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.flows.remove(&key);
            self.evicted += 1;
        }
    }
}

impl Flow {
    const fn new(now: Time) -> Self {
        Self {
            verdict: None,
            frames: 0,
            bytes: 0,
            samples: 0,
            drops: BTreeMap::new(),
            first: now,
            last: now,
            turn: 0,
        }
    }

    fn add(&mut self, sighting: &Sighting) {
        if let Verdict::Drop(reason) = sighting.verdict {
            *self.drops.entry(reason.name()).or_default() += sighting.frames;
            return;
        }
        self.verdict = Some(sighting.verdict);
        self.frames += sighting.frames;
        self.bytes += sighting.bytes;
        self.samples += 1;
    }

    /// Frames of it that were dropped.
    pub fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switch_core::{DropReason, Mac, PortId};

    use super::*;

    fn key(n: u8) -> FlowKey {
        FlowKey {
            ingress: PortId(1),
            src: Mac::new([2, 0, 0, 0, 0, n]),
            dst: Mac::BROADCAST,
            vid: None,
            ethertype: 0x88b5,
            addresses: None,
            protocol: None,
            ports: None,
        }
    }

    fn seen(frames: u64) -> Sighting {
        Sighting {
            verdict: Verdict::Flood,
            frames,
            bytes: frames * 60,
        }
    }

    #[test]
    fn what_is_dropped_is_counted_beside_what_is_not() {
        let mut table = FlowTable::new(4);
        table.add(Time::from_millis(1), &key(1), &seen(1000));
        let dropped = Sighting {
            verdict: Verdict::Drop(DropReason::BumRate),
            ..seen(1)
        };
        for _ in 0..3 {
            table.add(Time::from_millis(9), &key(1), &dropped);
        }
        let (_, flow) = table.flows().next().unwrap();
        assert_eq!((flow.frames, flow.bytes, flow.samples), (1000, 60_000, 1));
        assert_eq!(flow.drops, BTreeMap::from([("bum_rate", 3)]));
        assert_eq!((flow.first.as_millis(), flow.last.as_millis()), (1, 9));
        assert_eq!((flow.verdict, flow.dropped()), (Some(Verdict::Flood), 3));
        assert_eq!(table.samples, 1);
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten() {
        let mut table = FlowTable::new(4);
        for (at, n) in [(1, 1), (2, 2), (3, 1)] {
            table.add(Time::from_millis(at), &key(n), &seen(1));
        }
        table.forget_before(Time::from_millis(3));
        let left: Vec<_> = table
            .flows()
            .map(|(key, flow)| (*key, flow.frames))
            .collect();
        assert_eq!((left, table.evicted), (vec![(key(1), 2)], 0));
    }

    proptest! {
        /// Beside a list in which the latest is last.
        #[test]
        fn the_flow_that_was_seen_least_recently_makes_room(
            seen_flows in prop::collection::vec((0_u8..12, 1_u64..5), 0..200),
            room in 1_usize..10,
        ) {
            let mut table = FlowTable::new(room);
            let mut model: Vec<(FlowKey, u64)> = Vec::new();
            let mut evicted = 0;
            for (at, (n, frames)) in (0..).zip(seen_flows) {
                table.add(Time::from_millis(at), &key(n), &seen(frames));
                let before = model.iter().position(|(known, _)| *known == key(n));
                let known = before.map_or(0, |place| model.remove(place).1);
                if before.is_none() && model.len() == room {
                    model.remove(0);
                    evicted += 1;
                }
                model.push((key(n), known + frames));
            }
            let mut expected = model;
            expected.sort_unstable();
            let found: Vec<_> = table.flows().map(|(key, flow)| (*key, flow.frames)).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(table.evicted, evicted);
            prop_assert_eq!(table.order.len(), table.len());
        }
    }
}
