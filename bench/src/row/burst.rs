//! The longest burst at full speed that arrives whole (back-to-back frames, RFC 9004).

use super::{Effort, Metric, Row};
use crate::lab::{Lab, Topology};
use crate::statistics::count_f64;
use crate::traffic::Flows;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Burst;

impl Row for Burst {
    fn name(&self) -> String {
        "burst".to_owned()
    }

    fn what(&self) -> String {
        format!("longest burst of {SIZE} B datagrams absorbed without loss, up to {LONGEST}")
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "frames")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn run(&self, lab: &mut Lab, _effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (from, to) = ([&lab.stations[0]], [&lab.stations[1]]);
        let mut traffic = Flows::new(&from, &to).start(lab)?;
        let longest = longest(|length| Ok(traffic.burst(SIZE, length)? == length))?;
        Ok(vec![count_f64(longest)])
    }
}

/// Bisection to within 2 %; a burst is absorbed if one of two tries is.
fn longest(mut is_absorbed: impl FnMut(u64) -> Result<bool, Trouble>) -> Result<u64, Trouble> {
    let mut absorbed = |length| Ok::<bool, Trouble>(is_absorbed(length)? || is_absorbed(length)?);
    let (mut passed, mut failed) = (0, LONGEST);
    if absorbed(LONGEST)? {
        return Ok(LONGEST);
    }
    while failed - passed > (failed / 50).max(1) {
        let length = u64::midpoint(passed, failed);
        if absorbed(length)? {
            passed = length;
        } else {
            failed = length;
        }
    }
    Ok(passed)
}

const SIZE: usize = 64;
const LONGEST: u64 = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_found_within_two_percent() {
        let found = longest(|length| Ok(length <= 1000)).unwrap();
        assert!((980..=1000).contains(&found), "{found}");
        assert_eq!(longest(|_| Ok(true)).unwrap(), LONGEST);
        assert_eq!(longest(|_| Ok(false)).unwrap(), 0);
    }
}
