//! When a certificate is to be renewed.

use super::hex;

/// Picks a moment between the last half and the last third of a certificate's life, differently on each host.
#[derive(Clone, Copy, Debug)]
pub(super) struct RenewalPlan {
    /// 0 to 255.
    jitter: u8,
}

impl RenewalPlan {
    pub(super) fn new() -> Self {
        let [jitter] = hex::random();
        Self { jitter }
    }

    /// Whether a certificate that is good from and until these seconds is to be renewed at `now_s`.
    pub(super) fn is_due(self, (from_s, until_s): (u64, u64), now_s: u64) -> bool {
        // The beginning is put back by the clock skew that is allowed, which for a short life is most of it.
        let life_s = until_s.saturating_sub(from_s).saturating_sub(SKEW_S);
        let third = life_s / 3;
        let left_s = third + third / 2 * u64::from(self.jitter) / 255;
        now_s >= until_s.saturating_sub(left_s)
    }
}

const SKEW_S: u64 = 5 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_the_second_half_of_its_life() {
        let validity = (1_000_000 - SKEW_S, 1_000_000 + 86_400);
        for jitter in [0, 128, 255] {
            let plan = RenewalPlan { jitter };
            assert!(!plan.is_due(validity, 1_000_000 + 43_000));
            assert!(plan.is_due(validity, 1_000_000 + 58_000));
        }
        assert!(RenewalPlan { jitter: 255 }.is_due(validity, 1_000_000 + 43_300));
        assert!(!RenewalPlan { jitter: 0 }.is_due(validity, 1_000_000 + 57_000));
    }
}
