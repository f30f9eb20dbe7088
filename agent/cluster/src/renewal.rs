//! When a certificate is renewed, and tried again.

use std::time::{Duration, Instant};

use crate::clock::CLOCK_SKEW;
use crate::hex;

/// When this host's certificate is to be renewed, and tried again.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    /// 0 to 255.
    jitter: u8,
    failures: u32,
    not_before: Option<Instant>,
    /// How often a manager was asked in vain, and when it is asked again.
    questions: (u32, Option<Instant>),
    /// What was warned of last, without its numbers.
    warned: Option<String>,
}

impl Renewal {
    pub(crate) fn new() -> Self {
        let [jitter] = hex::random();
        Self {
            jitter,
            failures: 0,
            not_before: None,
            questions: (0, None),
            warned: None,
        }
    }

    /// Whether a certificate that is good from and until these seconds is to be renewed at `now_s`: after a half of its life at
    /// the earliest and two thirds at the latest, at random. One that has not begun yet was renewed by a clock that was ahead.
    pub(crate) fn is_due(&self, validity: (u64, u64), now_s: u64) -> bool {
        let third = life_s(validity) / 3;
        let left_s = third + third / 2 * u64::from(self.jitter) / 255;
        now_s >= validity.1.saturating_sub(left_s) || now_s < validity.0
    }

    pub(crate) fn may_try(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// Whether that is another cause than before.
    pub(crate) fn fail(&mut self, cause: &str, validity: (u64, u64), now: Instant) -> bool {
        self.not_before = Some(now + pause(self.failures, life_s(validity)));
        self.failures += 1;
        let cause = cause.replace(|letter: char| letter.is_ascii_digit(), "");
        let is_news = self.warned.as_ref() != Some(&cause);
        self.warned = Some(cause);
        is_news
    }

    /// Whether to ask a manager now; if so, the next time is later.
    pub(crate) fn may_ask(&mut self, now: Instant) -> bool {
        let (asked, not_before) = self.questions;
        let may_ask = not_before.is_none_or(|at| at <= now);
        if may_ask {
            let pause = (ASK_FIRST * 2u32.pow(asked.min(8))).min(ASK_LAST);
            self.questions = (asked + 1, Some(now + pause));
        }
        may_ask
    }

    /// The next time a manager is asked at once.
    pub(crate) fn forget_questions(&mut self) {
        self.questions = (0, None);
    }

    pub(crate) fn succeed(&mut self) {
        let Self { jitter, .. } = *self;
        *self = Self {
            jitter,
            ..Self::new()
        };
    }
}

/// The CA dates the beginning back by the skew that it allows, which would be most of a short life.
fn life_s((from_s, until_s): (u64, u64)) -> u64 {
    let life_s = until_s.saturating_sub(from_s);
    life_s.saturating_sub(CLOCK_SKEW.as_secs())
}

/// How long to wait after so many failures before. Of a life of 30 days: a minute at first, an hour at last.
fn pause(failures: u32, life_s: u64) -> Duration {
    let first_s = (life_s / 40_000).clamp(1, 60);
    let last_s = (life_s / 12).clamp(first_s, 3600);
    let grown_s = first_s.saturating_mul(1 << failures.min(16));
    Duration::from_secs(grown_s.min(last_s))
}

/// Between questions to a manager: of 500 hosts that are out of step at once, it hears a good hundred a second.
const ASK_FIRST: Duration = Duration::from_millis(500);
const ASK_LAST: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW_S: u64 = CLOCK_SKEW.as_secs();
    const DAY: u64 = 86_400;

    fn with_jitter(jitter: u8) -> Renewal {
        Renewal {
            jitter,
            ..Renewal::new()
        }
    }

    #[test]
    fn a_certificate_is_renewed_in_the_second_half_of_its_life() {
        let validity = (1_000_000 - SKEW_S, 1_000_000 + DAY);
        for jitter in [0, 128, 255] {
            let renewal = with_jitter(jitter);
            assert!(!renewal.is_due(validity, 1_000_000 + 43_000));
            assert!(renewal.is_due(validity, 1_000_000 + 58_000));
            assert!(
                renewal.is_due(validity, 1_000_000 + 2 * DAY),
                "it has ended"
            );
            assert!(
                renewal.is_due(validity, 1_000_000 - DAY),
                "it has not begun"
            );
        }
        assert!(with_jitter(255).is_due(validity, 1_000_000 + 43_300));
        assert!(!with_jitter(0).is_due(validity, 1_000_000 + 57_000));
    }

    #[test]
    fn pauses_after_failures_grow_up_to_a_part_of_the_certificates_life() {
        let pauses = |life_s| {
            (0..20)
                .map(|n| pause(n, life_s).as_secs())
                .collect::<Vec<_>>()
        };
        let month = pauses(30 * DAY);
        assert_eq!(month[..7], [60, 120, 240, 480, 960, 1920, 3600]);
        assert_eq!(month[19], 3600);
        assert!(pauses(12).iter().all(|pause| *pause == 1));
    }

    #[test]
    fn what_fails_is_tried_again_later_and_warned_of_once_per_cause() {
        let (mut renewal, now) = (Renewal::new(), Instant::now());
        let validity = (1_000_000 - SKEW_S, 1_000_000 + 30 * DAY);
        assert!(renewal.may_try(now));
        assert!(renewal.fail("2 h ahead", validity, now));
        assert!(!renewal.may_try(now + Duration::from_secs(59)));
        let later = now + Duration::from_secs(60);
        assert!(renewal.may_try(later));
        assert!(!renewal.fail("3 h ahead", validity, later));
        assert!(!renewal.may_try(later + Duration::from_secs(119)));
        assert!(renewal.fail("nobody answers", validity, later));
        renewal.succeed();
        assert!(renewal.may_try(later));
        assert!(renewal.may_ask(later));
        assert!(!renewal.may_ask(later + ASK_FIRST / 2));
        assert!(renewal.may_ask(later + ASK_FIRST));
        assert!(renewal.fail("nobody answers", validity, later));
    }
}
