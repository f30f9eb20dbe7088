//! Who may have how many queries under way.
//!
//! # Theory of operation
//!
//! There is a bounded number of places, and a payer may hold no more than are free. One payer alone may take half of them, two
//! may take a third each. So those who ask for what nobody answers leave places for the next.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Places {
    count: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<u64, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    places: &'a Places,
    payer: u64,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            count,
            taken: Mutex::default(),
        }
    }

    /// `None` when `payer` must give back a place first.
    pub(crate) fn take(&self, payer: u64) -> Option<Place<'_>> {
        let mut taken = lock(&self.taken);
        let held = taken.by.get(&payer).copied().unwrap_or(0);
        if held >= self.count.saturating_sub(taken.all) {
            return None;
        }
        taken.all += 1;
        taken.by.insert(payer, held + 1);
        Some(Place {
            places: self,
            payer,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        taken.all -= 1;
        if let Some(held) = taken.by.get_mut(&self.payer) {
            *held -= 1;
            if *held == 0 {
                taken.by.remove(&self.payer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_payers_leave_places_for_the_next() {
        let places = Places::new(64);
        let fill = |payer| std::iter::from_fn(|| places.take(payer)).collect::<Vec<_>>();
        let first = fill(1);
        let second = fill(2);
        assert_eq!((first.len(), second.len()), (32, 16));
        assert!(places.take(3).is_some());
        drop((first, second));
        assert!(lock(&places.taken).by.is_empty());
        assert_eq!(fill(4).len(), 32);
    }
}
