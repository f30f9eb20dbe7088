//! Links: what is to go wrong between a container and its network.
//!
//! The words are those of tc's netem, and their values are written as tc writes them ([`words`]); containerlab's names for two of
//! them are taken too. So one text serves the command line, the files of labs, labels and the API.

mod models;
mod words;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switch_core::impairment;
use utoipa::ToSchema;

pub use self::models::{Chance, DelayDistribution, LossModel, SlotModel};
pub use self::words::{BadWord, ByteSize, Interval, Percent, Rate};

/// What goes wrong in one direction; what is absent does not. `50ms`, `10%`, `10mbit` and `15kb`, as tc has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub delay: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jitter: Option<Interval>,
    /// How much a frame's delay depends on that of the frame before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jitter_correlation: Option<Percent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<DelayDistribution>,
    /// `10%`, `10% 25%` with a correlation, `gemodel P [R [1-H [1-K]]]` or `state P13 [P31 [P32 [P23 [P14]]]]`.
    #[serde(skip_serializing_if = "Option::is_none", alias = "packet_loss")]
    #[schema(value_type = Option<String>)]
    pub loss: Option<LossModel>,
    /// `1%`, or `1% 25%` with a correlation; so are the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub duplicate: Option<Chance>,
    #[serde(skip_serializing_if = "Option::is_none", alias = "corruption")]
    #[schema(value_type = Option<String>)]
    pub corrupt: Option<Chance>,
    /// Frames that skip the delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reorder: Option<Chance>,
    /// With `reorder`, every so manieth frame may; alone, every so manieth does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rate: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub burst: Option<ByteSize>,
    /// Frames that may wait; 1000 and what the delay holds where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `MIN [MAX] [packets N] [bytes SIZE]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub slot: Option<SlotModel>,
}

/// What goes wrong at a link, seen from the container. The default is: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSettings {
    /// Frames towards the container.
    #[serde(skip_serializing_if = "Impairment::is_default")]
    pub to: Impairment,
    /// Frames that the container sends.
    #[serde(skip_serializing_if = "Impairment::is_default")]
    pub from: Impairment,
    /// What chance begins with: equal seeds give the n-th frame an equal fate. One is made up where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// `PATCH /v1/endpoints/{id}/link`: what is to be different; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinkUpdate {
    pub to: Option<Impairment>,
    pub from: Option<Impairment>,
    /// Whether, within a direction that is given, what is absent stays too. Otherwise it goes.
    pub modify: bool,
    pub seed: Option<u64>,
}

/// A link as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkDetail {
    /// The endpoint's id.
    pub endpoint: String,
    /// The container, or the name given at creation.
    pub name: String,
    pub network: String,
    /// The link's name in the sandbox.
    pub link: String,
    pub up: bool,
    pub settings: LinkSettings,
    /// What frames met since the link was impaired first, or the agent started.
    #[serde(default)]
    pub to: LinkCounts,
    #[serde(default)]
    pub from: LinkCounts,
}

/// Frames of one direction by what became of them. All of it is zero while nothing is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct LinkCounts {
    /// That came in, as the wire has them.
    pub frames: u64,
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub corrupted: u64,
    pub reordered: u64,
    pub delayed: u64,
    /// Lost because more than the limit would have waited.
    pub overflowed: u64,
    /// That the container's own queue had no room for when their time had come; a superframe is one here.
    pub refused: u64,
    pub waiting: u64,
}

/// Why an impairment cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImpairment {
    #[error(
        "jitter is of a delay, and there is none; set delay too, as in delay 50ms and jitter 5ms"
    )]
    JitterAlone,
    #[error("{0} is of a jitter, and there is none; set jitter too, as in jitter 5ms")]
    NoJitter(&'static str),
    #[error("frames overtake others that wait for a delay, and there is none; set delay with {0}")]
    NoDelay(&'static str),
    #[error(
        "burst is of a rate, and there is none; set rate too, as in rate 10mbit and burst 15kb"
    )]
    BurstAlone,
    #[error("a limit of {0} frames; write 1 to {LIMIT_MAX}")]
    Limit(u32),
}

impl Impairment {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is here, and what is not as in `before`.
    #[must_use]
    pub fn over(&self, before: &Self) -> Self {
        Self {
            delay: self.delay.or(before.delay),
            jitter: self.jitter.or(before.jitter),
            jitter_correlation: self.jitter_correlation.or(before.jitter_correlation),
            distribution: self.distribution.or(before.distribution),
            loss: self.loss.or(before.loss),
            duplicate: self.duplicate.or(before.duplicate),
            corrupt: self.corrupt.or(before.corrupt),
            reorder: self.reorder.or(before.reorder),
            gap: self.gap.or(before.gap),
            rate: self.rate.or(before.rate),
            burst: self.burst.or(before.burst),
            limit: self.limit.or(before.limit),
            slot: self.slot.or(before.slot),
        }
    }

    /// Whether its parts make sense together.
    pub fn check(&self) -> Result<(), BadImpairment> {
        let is_set = |interval: Option<Interval>| interval.is_some_and(|it| !it.is_zero());
        let (has_delay, has_jitter) = (is_set(self.delay), is_set(self.jitter));
        let has_rate = self.rate.is_some_and(|rate| rate.bits_s() > 0);
        if has_jitter && !has_delay {
            return Err(BadImpairment::JitterAlone);
        }
        if self.distribution.is_some() && !has_jitter {
            return Err(BadImpairment::NoJitter("distribution"));
        }
        if self.jitter_correlation.is_some_and(|it| !it.is_zero()) && !has_jitter {
            return Err(BadImpairment::NoJitter("jitter_correlation"));
        }
        if self.reorder.is_some_and(|it| !it.share.is_zero()) && !has_delay {
            return Err(BadImpairment::NoDelay("reorder"));
        }
        if self.gap.is_some_and(|gap| gap > 0) && !has_delay {
            return Err(BadImpairment::NoDelay("gap"));
        }
        if self.burst.is_some_and(|burst| burst.bytes() > 0) && !has_rate {
            return Err(BadImpairment::BurstAlone);
        }
        match self.limit {
            Some(limit) if !(1..=LIMIT_MAX).contains(&limit) => Err(BadImpairment::Limit(limit)),
            _ => Ok(()),
        }
    }

    /// As the switch takes it.
    pub fn to_core(&self) -> impairment::Impairment {
        let share = |percent: Option<Percent>| percent.map_or(0.0, Percent::share);
        let chance = |chance: Option<Chance>| chance.map_or_else(Default::default, Chance::to_core);
        let gap = self.gap.unwrap_or(0);
        let every = impairment::Chance::of(if gap > 0 { 1.0 } else { 0.0 });
        impairment::Impairment {
            delay: self.delay.map_or(Duration::ZERO, Interval::duration),
            jitter: self.jitter.map_or(Duration::ZERO, Interval::duration),
            jitter_correlation: share(self.jitter_correlation),
            distribution: self.distribution.unwrap_or_default().to_core(),
            loss: self.loss.map_or_else(Default::default, LossModel::to_core),
            duplicate: chance(self.duplicate),
            corrupt: chance(self.corrupt),
            reorder: self.reorder.map_or(every, Chance::to_core),
            gap,
            rate_bits_s: self.rate.map(Rate::bits_s).filter(|rate| *rate > 0),
            burst_bytes: self.burst.map_or(0, ByteSize::bytes),
            limit: self.limit.map(u64::from),
            slot: self.slot.and_then(SlotModel::to_core),
        }
    }
}

/// In the words in which it is asked for.
impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn word<T: fmt::Display>(name: &str, value: Option<T>) -> Option<String> {
            value.map(|value| format!("{name} {value}"))
        }
        let words = [
            word("delay", self.delay),
            word("jitter", self.jitter),
            word("jitter_correlation", self.jitter_correlation),
            word("distribution", self.distribution),
            word("loss", self.loss),
            word("duplicate", self.duplicate),
            word("corrupt", self.corrupt),
            word("reorder", self.reorder),
            word("gap", self.gap),
            word("rate", self.rate),
            word("burst", self.burst),
            word("limit", self.limit),
            word("slot", self.slot),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        f.write_str(&words.join(" "))
    }
}

impl LinkSettings {
    /// Whether frames pass as they come.
    pub fn are_none(&self) -> bool {
        let nothing = |impairment: &Impairment| impairment.to_core().is_none();
        nothing(&self.to) && nothing(&self.from)
    }

    /// Whether nothing was ever asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What `update` makes of them, where that makes sense.
    pub fn updated(&self, update: &LinkUpdate) -> Result<Self, BadImpairment> {
        let one = |before: &Impairment, after: Option<Impairment>| match after {
            Some(after) if update.modify => after.over(before),
            Some(after) => after,
            None => *before,
        };
        let after = Self {
            to: one(&self.to, update.to),
            from: one(&self.from, update.from),
            seed: update.seed.or(self.seed),
        };
        after.check()?;
        Ok(after)
    }

    pub fn check(&self) -> Result<(), BadImpairment> {
        self.to.check().and_then(|()| self.from.check())
    }
}

const LIMIT_MAX: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Impairment {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn words_are_written_as_they_were_read() {
        let text = r#"{"delay":"50ms","jitter":"5ms","jitter_correlation":"25%","distribution":"normal","loss":"10% 25%","duplicate":"1%","corrupt":"0.1%","reorder":"25% 50%","gap":5,"rate":"10mbit","burst":"15kb","limit":300,"slot":"20ms 30ms packets 10"}"#;
        let impairment = read(text);
        assert_eq!(serde_json::to_string(&impairment).unwrap(), text);
        assert_eq!(impairment.check(), Ok(()));
    }

    #[test]
    fn containerlabs_names_and_bare_numbers_are_taken() {
        let theirs = read(r#"{"delay":"1s","packet_loss":10,"corruption":0.5,"rate":1000}"#);
        let ours = read(r#"{"delay":"1000ms","loss":"10%","corrupt":"0.5%","rate":"1mbit"}"#);
        assert_eq!(theirs, ours);
        let wrong = serde_json::from_str::<Impairment>(r#"{"dely":"1s"}"#).unwrap_err();
        assert!(wrong.to_string().contains("dely"), "{wrong}");
    }

    #[test]
    fn what_is_set_resets_the_rest_unless_it_modifies() {
        let before = LinkSettings {
            from: read(r#"{"delay":"50ms","loss":"1%"}"#),
            seed: Some(7),
            ..LinkSettings::default()
        };
        let update = |modify| LinkUpdate {
            from: Some(read(r#"{"loss":"2%"}"#)),
            modify,
            ..LinkUpdate::default()
        };
        let reset = before.updated(&update(false)).unwrap();
        assert_eq!(reset.from, read(r#"{"loss":"2%"}"#));
        assert_eq!(reset.seed, Some(7));
        let kept = before.updated(&update(true)).unwrap();
        assert_eq!(kept.from, read(r#"{"delay":"50ms","loss":"2%"}"#));
    }

    #[test]
    fn parts_that_need_others_say_so() {
        for (text, told) in [
            (r#"{"jitter":"5ms"}"#, "set delay too"),
            (
                r#"{"delay":"5ms","distribution":"normal"}"#,
                "set jitter too",
            ),
            (
                r#"{"delay":"5ms","jitter_correlation":"5%"}"#,
                "set jitter too",
            ),
            (r#"{"reorder":"5%"}"#, "set delay with reorder"),
            (r#"{"gap":5}"#, "set delay with gap"),
            (r#"{"burst":"15kb"}"#, "set rate too"),
            (r#"{"limit":0}"#, "write 1 to 10000000"),
        ] {
            let refused = read(text).check().unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
        let off = r#"{"jitter":"0ms","reorder":"0%","gap":0,"burst":0}"#;
        assert_eq!(read(off).check(), Ok(()));
        assert!(read(off).to_core().is_none());
    }

    #[test]
    fn a_gap_alone_is_of_frames_that_all_overtake() {
        let core = read(r#"{"delay":"5ms","gap":5}"#).to_core();
        assert_eq!((core.gap, core.reorder), (5, impairment::Chance::of(1.0)));
        let core = read(r#"{"delay":"5ms","gap":5,"reorder":"25%"}"#).to_core();
        assert_eq!(core.reorder, impairment::Chance::of(0.25));
    }
}
