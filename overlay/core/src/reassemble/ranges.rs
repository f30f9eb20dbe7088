//! Which bytes of a frame.

use std::ops::Range;

/// Ranges that do not touch each other, in order.
#[derive(Debug)]
pub(super) struct Ranges(Vec<Range<usize>>);

impl Ranges {
    /// A frame that falls apart further than this is not what any network does to it.
    pub(super) const MAX: usize = 64;

    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(Self::MAX))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        self.0.iter()
    }

    /// Whether all bytes up to `total` are there, and no others.
    pub(super) fn is_whole(&self, total: usize) -> bool {
        self.0.first() == Some(&(0..total))
    }

    /// Whether any byte of `range` is there.
    pub(super) fn overlaps(&self, range: &Range<usize>) -> bool {
        let place = self.0.partition_point(|known| known.end <= range.start);
        self.0
            .get(place)
            .is_some_and(|known| known.start < range.end)
    }

    /// Enters a range that overlaps none, and merges it with those it touches; `false`: there would be more than
    /// [`Self::MAX`].
    pub(super) fn insert(&mut self, range: Range<usize>) -> bool {
        let place = self.0.partition_point(|known| known.end < range.start);
        let touching = self.0[place..]
            .iter()
            .take_while(|known| known.start <= range.end)
            .count();
        if touching == 0 {
            let has_room = self.0.len() < Self::MAX;
            if has_room {
                self.0.insert(place, range);
            }
            return has_room;
        }
        let first = self.0[place].start.min(range.start);
        let last = self.0[place + touching - 1].end.max(range.end);
        self.0[place] = first..last;
        self.0.drain(place + 1..place + touching);
        true
    }

    /// The first part of `range` that is in none of these; `None` if all of it is.
    pub(super) fn first_gap(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let (mut start, mut end) = (range.start, range.end);
        for known in self.0.iter().skip_while(|known| known.end <= range.start) {
            if known.start > start {
                end = end.min(known.start);
                break;
            }
            start = known.end;
        }
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set_of_bytes(
            inserted in proptest::collection::vec((0..200_usize, 1..20_usize), 1..60),
            asked in (0..200_usize, 1..100_usize),
        ) {
            let mut ranges = Ranges::new();
            let mut model = [false; 300];
            for (start, len) in inserted {
                let bytes = &mut model[start..start + len];
                let overlaps = bytes.contains(&true);
                prop_assert_eq!(ranges.overlaps(&(start..start + len)), overlaps);
                if !overlaps {
                    bytes.fill(true);
                    prop_assert!(ranges.insert(start..start + len));
                }
            }
            let known: Vec<_> = ranges.iter().cloned().collect();
            prop_assert!(known.is_sorted_by(|a, b| a.end < b.start), "{:?}", known);
            let asked = asked.0..asked.0 + asked.1;
            let gap = asked.clone().find(|at| !model[*at]).map(|start| {
                let end = (start..asked.end).find(|at| model[*at]).unwrap_or(asked.end);
                start..end
            });
            prop_assert_eq!(ranges.first_gap(&asked), gap);
        }
    }

    #[test]
    fn a_set_that_falls_apart_too_far_is_refused_more() {
        let mut ranges = Ranges::new();
        for n in 0..Ranges::MAX {
            assert!(ranges.insert(2 * n..2 * n + 1));
        }
        assert!(!ranges.insert(1000..1001));
        assert!(ranges.insert(1..2), "joins two");
        assert!(ranges.insert(1000..1001));
    }
}
