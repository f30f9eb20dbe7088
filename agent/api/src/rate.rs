//! Rates: what a container may get and send.
//!
//! Ingress is towards the container and egress from it, as in CNI's plugin `bandwidth`. Values are written as tc writes them.

use std::fmt;

use serde::{Deserialize, Serialize};
use switch_core::shaper::Limit;
use utoipa::ToSchema;

use crate::{ByteSize, Rate};

/// What an endpoint may get and send. Where a rate is absent, its network's default holds; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateSettings {
    /// Towards the container, as in `100mbit`: bits a second, counted from the Ethernet header on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ingress_rate: Option<Rate>,
    /// What passes at once after a pause, as in `64kb`; what the rate has for eight milliseconds where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ingress_burst: Option<ByteSize>,
    /// From the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub egress_rate: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub egress_burst: Option<ByteSize>,
}

/// `PATCH /v1/endpoints/{id}/rate`: what is to be different; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateUpdate {
    /// Whether everything goes back to the network's default first.
    pub reset: bool,
    /// What is set then.
    pub settings: RateSettings,
}

/// An endpoint's rates as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateDetail {
    /// The endpoint's id.
    pub endpoint: String,
    /// The container, or the name given at creation.
    pub name: String,
    pub network: String,
    /// The link's name in the sandbox.
    pub link: String,
    /// What was set for it.
    pub settings: RateSettings,
    /// What holds, with the network's default.
    pub effective: RateSettings,
    /// What frames met since it had a rate first, or the agent started.
    #[serde(default)]
    pub ingress: RateCounts,
    #[serde(default)]
    pub egress: RateCounts,
}

/// Frames of one direction, as the wire has them, by what became of them. All of it is zero while there is no rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RateCounts {
    pub frames: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    /// That had to wait.
    pub delayed: u64,
    /// Over the rate for too long; `over_rate` among the port's drops.
    pub dropped: u64,
    /// That the container's own queue had no room for when their turn had come; a superframe is one here.
    pub refused: u64,
    pub waiting: u64,
}

/// Why rates cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRates {
    #[error("{0}_burst is of a rate, and there is none; set {0}_rate too, as in 100mbit")]
    BurstAlone(&'static str),
    #[error("a rate of {0}; write {min} or more, or 0 for none", min = Rate::of_bits_s(RATE_MIN_BITS_S))]
    TooLow(Rate),
}

impl RateSettings {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The same rate both ways.
    pub const fn both(rate: Rate, burst: Option<ByteSize>) -> Self {
        Self {
            ingress_rate: Some(rate),
            ingress_burst: burst,
            egress_rate: Some(rate),
            egress_burst: burst,
        }
    }

    /// What is here, and what is not as in `before`. A rate does not keep the burst of another one.
    #[must_use]
    pub fn over(&self, before: &Self) -> Self {
        let burst = |rate: Option<Rate>, own: Option<ByteSize>, old: Option<ByteSize>| match rate {
            Some(_) => own,
            None => own.or(old),
        };
        Self {
            ingress_rate: self.ingress_rate.or(before.ingress_rate),
            ingress_burst: burst(self.ingress_rate, self.ingress_burst, before.ingress_burst),
            egress_rate: self.egress_rate.or(before.egress_rate),
            egress_burst: burst(self.egress_rate, self.egress_burst, before.egress_burst),
        }
    }

    /// What `update` makes of them, where that makes sense beside the network's `default`.
    pub fn updated(&self, update: &RateUpdate, default: &Self) -> Result<Self, BadRates> {
        let before = if update.reset { Self::default() } else { *self };
        let after = update.settings.over(&before);
        after.over(default).check()?;
        Ok(after)
    }

    /// Whether its parts make sense together.
    pub fn check(&self) -> Result<(), BadRates> {
        let ways = [
            ("ingress", self.ingress_rate, self.ingress_burst),
            ("egress", self.egress_rate, self.egress_burst),
        ];
        for (way, rate, burst) in ways {
            let bits_s = rate.map_or(0, Rate::bits_s);
            if (1..RATE_MIN_BITS_S).contains(&bits_s) {
                return Err(BadRates::TooLow(rate.unwrap_or_default()));
            }
            if rate.is_none() && burst.is_some() {
                return Err(BadRates::BurstAlone(way));
            }
        }
        Ok(())
    }

    /// What it may get, where that is limited: the rate, and its burst where one was said.
    pub fn ingress(&self) -> Option<(Rate, Option<ByteSize>)> {
        limited(self.ingress_rate, self.ingress_burst)
    }

    /// What it may send, in the same way.
    pub fn egress(&self) -> Option<(Rate, Option<ByteSize>)> {
        limited(self.egress_rate, self.egress_burst)
    }

    /// Frames from the container, and those to it, as the switch takes it.
    pub fn to_core(&self) -> (Option<Limit>, Option<Limit>) {
        (self.egress().map(limit), self.ingress().map(limit))
    }
}

/// A rate of zero is none.
fn limited(rate: Option<Rate>, burst: Option<ByteSize>) -> Option<(Rate, Option<ByteSize>)> {
    let rate = rate.filter(|rate| rate.bits_s() > 0)?;
    Some((rate, burst))
}

fn limit((rate, burst): (Rate, Option<ByteSize>)) -> Limit {
    Limit {
        rate_bits_s: rate.bits_s(),
        burst_bytes: burst.map(ByteSize::bytes).filter(|bytes| *bytes > 0),
    }
}

/// In the words in which it is asked for; empty where nothing is limited.
impl fmt::Display for RateSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |(rate, burst): (Rate, Option<ByteSize>)| match burst {
            Some(burst) => format!("{rate} burst {burst}"),
            None => rate.to_string(),
        };
        match (self.ingress().map(words), self.egress().map(words)) {
            (Some(ingress), Some(egress)) if ingress == egress => f.write_str(&ingress),
            (ingress, egress) => {
                let ingress = ingress.map(|rate| format!("ingress {rate}"));
                let egress = egress.map(|rate| format!("egress {rate}"));
                let ways: Vec<_> = ingress.into_iter().chain(egress).collect();
                f.write_str(&ways.join(", "))
            }
        }
    }
}

/// A frame of full length takes a second and a half then.
const RATE_MIN_BITS_S: u64 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RateSettings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn words_are_written_as_they_were_read() {
        let text = r#"{"ingress_rate":"100mbit","ingress_burst":"64kb","egress_rate":"1gbit"}"#;
        let rates = read(text);
        assert_eq!(serde_json::to_string(&rates).unwrap(), text);
        assert_eq!(rates.check(), Ok(()));
        assert_eq!(
            rates.to_string(),
            "ingress 100mbit burst 64kb, egress 1gbit"
        );
        let both = RateSettings::both("1mbit".parse().unwrap(), None);
        assert_eq!(both.to_string(), "1mbit");
        assert_eq!(read(r#"{"ingress_rate":"0bit"}"#).to_string(), "");
        assert!(serde_json::from_str::<RateSettings>(r#"{"rate":"1mbit"}"#).is_err());
    }

    #[test]
    fn what_is_set_stands_over_the_networks_default_and_zero_is_none() {
        let default = RateSettings::both("10mbit".parse().unwrap(), Some("15kb".parse().unwrap()));
        let own = read(r#"{"ingress_rate":"0"}"#);
        let (from, to) = own.over(&default).to_core();
        assert_eq!(to, None);
        assert_eq!(from.map(|limit| limit.rate_bits_s), Some(10_000_000));
        // A burst is of its rate.
        let faster = read(r#"{"egress_rate":"1gbit"}"#).over(&default);
        assert_eq!(
            faster.to_string(),
            "ingress 10mbit burst 15kb, egress 1gbit"
        );
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name_unless_it_resets() {
        let before = read(r#"{"ingress_rate":"100mbit"}"#);
        let default = RateSettings::default();
        let update = |reset, text| RateUpdate {
            reset,
            settings: read(text),
        };
        let kept = before.updated(&update(false, r#"{"egress_rate":"1mbit"}"#), &default);
        assert_eq!(kept.unwrap().to_string(), "ingress 100mbit, egress 1mbit");
        let reset = before.updated(&update(true, "{}"), &default);
        assert!(reset.unwrap().is_default());
        for (text, told) in [
            (r#"{"egress_burst":"15kb"}"#, "set egress_rate too"),
            (r#"{"egress_rate":"100bit"}"#, "write 8kbit or more"),
        ] {
            let refused = before.updated(&update(false, text), &default).unwrap_err();
            assert!(refused.to_string().contains(told), "{refused}");
        }
        // Of the network's.
        let default = RateSettings::both("10mbit".parse().unwrap(), None);
        let burst = before.updated(&update(true, r#"{"egress_burst":"15kb"}"#), &default);
        assert!(burst.is_ok());
    }
}
