//! Medians, spreads, percentiles, and ratios of interleaved rounds.

use serde::{Deserialize, Serialize};

/// What several readings of one figure say together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// `None` without a reading.
    pub(crate) fn of(readings: &[f64]) -> Option<Self> {
        let sorted = sorted(readings);
        Some(Self {
            median: percentile(&sorted, 50.0)?,
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

/// The ratio of the medians. Interleaved rounds see the same machine, whatever else it does. `None` where there is nothing
/// to divide, or a zero to divide by.
pub(crate) fn ratio(readings: &[f64], baseline: &[f64]) -> Option<f64> {
    let (above, below) = (Summary::of(readings)?, Summary::of(baseline)?);
    (below.median != 0.0).then(|| above.median / below.median)
}

/// The `percent`th percentile of ascending numbers, interpolated between neighbors.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = percent / 100.0 * as_f64(last);
    // In range: `percent` is at most 100.
    let below = sorted
        .iter()
        .enumerate()
        .rfind(|(index, _)| as_f64(*index) <= place)?;
    let above = sorted.get(below.0 + 1).unwrap_or(below.1);
    let share = place - as_f64(below.0);
    Some(below.1 + (above - below.1) * share)
}

pub(crate) fn sorted(readings: &[f64]) -> Vec<f64> {
    let mut sorted = readings.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Counts and sizes stay far below 2^53.
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}

/// As [`as_f64`], for counters.
pub(crate) fn count_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            summary,
            Summary {
                median: 2.5,
                min: 1.0,
                max: 4.0
            }
        );
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn percentiles_interpolate() {
        let numbers: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&numbers, 99.0), Some(99.0));
        assert_eq!(percentile(&[10.0, 20.0], 75.0), Some(17.5));
        assert_eq!(percentile(&[7.0], 99.9), Some(7.0));
    }

    #[test]
    fn ratios_compare_medians_whatever_the_number_of_rounds() {
        assert_eq!(ratio(&[8.0], &[2.0, 4.0, 6.0]), Some(2.0));
        assert_eq!(ratio(&[8.0], &[]), None);
        assert_eq!(ratio(&[8.0], &[0.0]), None);
    }
}
