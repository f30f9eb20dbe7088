//! How often each rule decided.
//!
//! Counted in stripes by the ingress port, which one worker reads, so that workers seldom write to the same line.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Hits {
    stripes: [Box<[AtomicU64]>; STRIPES],
}

impl Hits {
    /// Of so many rules, and of none.
    pub(super) fn new(rules: usize) -> Self {
        let stripe = || (0..=rules).map(|_| AtomicU64::new(0)).collect();
        Self {
            stripes: std::array::from_fn(|_| stripe()),
        }
    }

    #[inline]
    pub(super) fn count(&self, stripe: u32, rule: usize) {
        let stripe = &self.stripes[stripe as usize % STRIPES];
        if let Some(counter) = stripe.get(rule) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of each rule, and of none.
    pub(super) fn read(&self) -> (Vec<u64>, u64) {
        let rules = self.stripes[0].len();
        let sum = |rule: usize| {
            let stripes = self.stripes.iter().filter_map(|stripe| stripe.get(rule));
            stripes.map(|counter| counter.load(Ordering::Relaxed)).sum()
        };
        let mut all: Vec<u64> = (0..rules).map(sum).collect();
        let none = all.pop().unwrap_or_default();
        (all, none)
    }
}

const STRIPES: usize = 8;
