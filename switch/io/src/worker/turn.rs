//! Whose frames leave first, of those that a worker has at hand.
//!
//! # Theory of operation
//!
//! Frames that came together are written one after the other, and a superframe takes as long as many small frames. So a question or an
//! answer would wait for all that others sent at the same time. Hence turns: flows that have little in the batch go first, and so do
//! urgent ones unless they have much (see [`Flow`](switch_core::Flow)). All frames of a flow are in one of the two parts, in the order
//! in which they came, and so stay in it.

use super::batch::{Batch, Places};

/// The places of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) first: Places,
    pub(super) then: Places,
}

/// What the flows of a batch have in it.
struct Shares {
    flows: [Share; TRACKED],
    count: usize,
}

#[derive(Clone, Copy, Default)]
struct Share {
    mark: u32,
    bytes: u32,
    is_urgent: bool,
    places: Places,
}

impl Turn {
    pub(super) fn of(batch: &Batch) -> Self {
        let all = batch.places();
        // One after the other is as good as any order.
        if batch.len() < 2 {
            return Self {
                first: all,
                then: 0,
            };
        }
        let first = Shares::of(batch).little();
        Self {
            first,
            then: all & !first,
        }
    }
}

impl Shares {
    /// Of more flows than can be told apart, the first.
    fn of(batch: &Batch) -> Self {
        let mut shares = Self {
            flows: [Share::default(); TRACKED],
            count: 0,
        };
        for place in 0..batch.len() {
            let entry = batch.entry(place);
            let known = &mut shares.flows[..shares.count];
            let share = match known.iter().position(|share| share.mark == entry.flow.mark) {
                Some(at) => &mut shares.flows[at],
                None if shares.count == TRACKED => continue,
                None => {
                    shares.count += 1;
                    let share = &mut shares.flows[shares.count - 1];
                    share.mark = entry.flow.mark;
                    share.is_urgent = true;
                    share
                }
            };
            share.bytes = share.bytes.saturating_add(entry.len);
            share.is_urgent &= entry.flow.is_urgent;
            share.places |= 1 << place;
        }
        shares
    }

    /// The places of flows that have little.
    fn little(&self) -> Places {
        let known = self.flows[..self.count].iter();
        let little = known.filter(|share| share.is_little());
        little.fold(0, |places, share| places | share.places)
    }
}

impl Share {
    const fn is_little(&self) -> bool {
        self.bytes <= if self.is_urgent { URGENT } else { LITTLE }
    }
}

/// Flows that are told apart.
const TRACKED: usize = 8;
/// Two frames of full length, as of a newcomer to a fair queue (RFC 8290 §4.1).
const LITTLE: u32 = 2 * 1514;
/// What urgent flows may have.
const URGENT: u32 = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switch_core::{Flow, PortId, Verdict, VnetHeader};

    use super::*;
    use crate::worker::batch::{Classified, iter};

    fn entry(mark: u32, len: u32, is_urgent: bool) -> Classified {
        Classified {
            ingress: PortId(1),
            verdict: Verdict::Unicast(PortId(2)),
            vnet: VnetHeader::NONE,
            flow: Flow { mark, is_urgent },
            len,
        }
    }

    fn batch(frames: &[(u32, u32)]) -> Batch {
        let mut batch = Batch::new();
        for (mark, len) in frames {
            batch.push(entry(*mark, *len, false));
        }
        batch
    }

    #[test]
    fn what_is_short_goes_before_bulk_that_came_earlier() {
        let batch = batch(&[(1, 65_000), (1, 65_000), (2, 66), (1, 65_000), (3, 1514)]);
        let turn = Turn::of(&batch);
        assert_eq!((turn.first, turn.then), (0b10100, 0b01011));
    }

    #[test]
    fn what_is_urgent_may_have_more_but_not_much() {
        let of = |frames: u32| {
            let mut batch = batch(&[(1, 65_000)]);
            (0..frames).for_each(|_| batch.push(entry(9, 1500, true)));
            Turn::of(&batch)
        };
        assert_eq!((of(8).first, of(8).then), (0b1_1111_1110, 1));
        assert_eq!(of(16).first, 0);
    }

    #[test]
    fn one_that_is_not_urgent_makes_its_flow_ordinary() {
        let mut batch = batch(&[(9, 1500), (1, 65_000)]);
        (0..4).for_each(|_| batch.push(entry(9, 1500, true)));
        assert_eq!(Turn::of(&batch).first, 0);
    }

    proptest! {
        #[test]
        fn every_frame_leaves_once_and_a_flow_stays_in_order(
            frames in prop::collection::vec((0..24_u32, 60..65_000_u32), 1..=Batch::LEN),
        ) {
            let batch = batch(&frames);
            let turn = Turn::of(&batch);
            prop_assert_eq!(turn.first & turn.then, 0);
            prop_assert_eq!(turn.first | turn.then, batch.places());
            for mark in 0..24 {
                let own = |places| iter(places).filter(|place| frames[*place].0 == mark).collect::<Vec<_>>();
                let sent: Vec<_> = own(turn.first).into_iter().chain(own(turn.then)).collect();
                prop_assert_eq!(sent, own(batch.places()));
            }
        }
    }
}
