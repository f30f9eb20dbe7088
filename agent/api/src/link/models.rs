//! Values of more than one word: chances, models of loss, slots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use switch_core::impairment;
use utoipa::ToSchema;

use super::words::{BadWord, ByteSize, Interval, Percent, Word, as_text, shown};

/// By which law a delay varies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DelayDistribution {
    #[default]
    Uniform,
    Normal,
    Pareto,
    ParetoNormal,
}

impl DelayDistribution {
    pub(super) const fn to_core(self) -> impairment::Distribution {
        match self {
            Self::Uniform => impairment::Distribution::Uniform,
            Self::Normal => impairment::Distribution::Normal,
            Self::Pareto => impairment::Distribution::Pareto,
            Self::ParetoNormal => impairment::Distribution::ParetoNormal,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Pareto => "pareto",
            Self::ParetoNormal => "paretonormal",
        }
    }
}

impl FromStr for DelayDistribution {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let all = [
            Self::Uniform,
            Self::Normal,
            Self::Pareto,
            Self::ParetoNormal,
        ];
        let mut all = all.into_iter();
        all.find(|law| law.word() == text)
            .ok_or_else(|| BadWord::Form {
                text: shown(text),
                what: "distribution",
                form: "uniform, normal, pareto or paretonormal",
            })
    }
}

impl fmt::Display for DelayDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// `P [CORRELATION]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub struct Chance {
    pub share: Percent,
    pub correlation: Percent,
}

impl Chance {
    pub(super) fn to_core(self) -> impairment::Chance {
        impairment::Chance {
            share: self.share.share(),
            correlation: self.correlation.share(),
        }
    }
}

impl FromStr for Chance {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let [share, correlation] = percents(text).ok_or_else(|| BadWord::Form {
            text: shown(text),
            what: "share",
            form: "0% to 100%, and a correlation behind it if wanted, as in 1% or 1% 25%",
        })?;
        Ok(Self {
            share: share.unwrap_or_default(),
            correlation: correlation.unwrap_or_default(),
        })
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.share.fmt(f)?;
        match self.correlation.is_zero() {
            true => Ok(()),
            false => write!(f, " {}", self.correlation),
        }
    }
}

/// `[random] P [CORRELATION]`, `gemodel P [R [1-H [1-K]]]` or `state P13 [P31 [P32 [P23 [P14]]]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub enum LossModel {
    Random(Chance),
    Gilbert {
        p: Percent,
        r: Percent,
        /// tc's `1-h`: what the bad state loses.
        bad: Percent,
        /// tc's `1-k`: what the good state loses.
        good: Percent,
    },
    State {
        p13: Percent,
        p31: Percent,
        p32: Percent,
        p23: Percent,
        p14: Percent,
    },
}

impl LossModel {
    pub(super) fn to_core(self) -> impairment::Loss {
        match self {
            Self::Random(chance) => impairment::Loss::Random(chance.to_core()),
            Self::Gilbert { p, r, bad, good } => impairment::Loss::Gilbert {
                p: p.share(),
                r: r.share(),
                bad: bad.share(),
                good: good.share(),
            },
            Self::State {
                p13,
                p31,
                p32,
                p23,
                p14,
            } => impairment::Loss::State {
                p13: p13.share(),
                p31: p31.share(),
                p32: p32.share(),
                p23: p23.share(),
                p14: p14.share(),
            },
        }
    }

    /// With tc's defaults for what is absent.
    fn gilbert(text: &str) -> Option<Self> {
        let [p, r, bad, good] = percents(text)?;
        let p = p?;
        Some(Self::Gilbert {
            p,
            r: r.unwrap_or(p.rest()),
            bad: bad.unwrap_or(Percent::ALL),
            good: good.unwrap_or_default(),
        })
    }

    fn state(text: &str) -> Option<Self> {
        let [p13, p31, p32, p23, p14] = percents(text)?;
        let p13 = p13?;
        Some(Self::State {
            p13,
            p31: p31.unwrap_or(p13.rest()),
            p32: p32.unwrap_or_default(),
            p23: p23.unwrap_or(Percent::ALL),
            p14: p14.unwrap_or_default(),
        })
    }
}

impl FromStr for LossModel {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let trimmed = text.trim();
        let (model, rest) = trimmed
            .split_once(char::is_whitespace)
            .unwrap_or((trimmed, ""));
        let read = match model {
            "random" => rest.parse().ok().map(Self::Random),
            "gemodel" => Self::gilbert(rest),
            "state" => Self::state(rest),
            _ => trimmed.parse().ok().map(Self::Random),
        };
        read.ok_or_else(|| BadWord::Form {
            text: shown(text),
            what: "loss",
            form: "10%, 10% 25% with a correlation, \"gemodel P [R [1-H [1-K]]]\" or \"state P13 [P31 [P32 [P23 [P14]]]]\"",
        })
    }
}

impl fmt::Display for LossModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(chance) => chance.fmt(f),
            Self::Gilbert { p, r, bad, good } => write!(f, "gemodel {p} {r} {bad} {good}"),
            Self::State {
                p13,
                p31,
                p32,
                p23,
                p14,
            } => write!(f, "state {p13} {p31} {p32} {p23} {p14}"),
        }
    }
}

/// `MIN [MAX] [packets N] [bytes SIZE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub struct SlotModel {
    pub min: Interval,
    pub max: Interval,
    /// Zero: any number.
    pub packets: u32,
    pub bytes: ByteSize,
}

impl SlotModel {
    /// `None` where slots follow one another without a gap.
    pub(super) fn to_core(self) -> Option<impairment::Slot> {
        (!self.max.is_zero()).then(|| impairment::Slot {
            min: self.min.duration(),
            max: self.max.duration(),
            packets: self.packets.into(),
            bytes: self.bytes.bytes(),
        })
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace().peekable();
        let min: Interval = words.next()?.parse().ok()?;
        let max = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let max = max.map_or(Ok(min), str::parse).ok()?;
        let mut slot = Self {
            min,
            max,
            packets: 0,
            bytes: ByteSize::default(),
        };
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word {
                "packets" => slot.packets = value.parse().ok()?,
                "bytes" => slot.bytes = value.parse().ok()?,
                _ => return None,
            }
        }
        (min <= max).then_some(slot)
    }
}

impl FromStr for SlotModel {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        Self::read(text).ok_or_else(|| BadWord::Form {
            text: shown(text),
            what: "slot",
            form: "\"MIN [MAX] [packets N] [bytes SIZE]\", as in \"20ms 30ms packets 10\"",
        })
    }
}

impl fmt::Display for SlotModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.min.fmt(f)?;
        if self.max != self.min {
            write!(f, " {}", self.max)?;
        }
        if self.packets > 0 {
            write!(f, " packets {}", self.packets)?;
        }
        if self.bytes.bytes() > 0 {
            write!(f, " bytes {}", self.bytes)?;
        }
        Ok(())
    }
}

as_text!(Chance, LossModel, SlotModel);

/// One to `N` shares; `None` where there is another number of words, or another word.
fn percents<const N: usize>(text: &str) -> Option<[Option<Percent>; N]> {
    let mut found = [None; N];
    let mut words = text.split_whitespace();
    for (place, word) in found.iter_mut().zip(&mut words) {
        *place = Some(word.parse().ok()?);
    }
    let has_all = found.first().is_some_and(Option::is_some) && words.next().is_none();
    has_all.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T: FromStr<Err = BadWord> + fmt::Display>(text: &str) -> String {
        text.parse::<T>()
            .map_or_else(|e| e.to_string(), |value| value.to_string())
    }

    #[test]
    fn models_of_loss_have_tcs_words_and_defaults() {
        for (text, told) in [
            ("10%", "10%"),
            ("10", "10%"),
            ("random 1% 25%", "1% 25%"),
            ("gemodel 1%", "gemodel 1% 99% 100% 0%"),
            ("gemodel 1% 10% 70% 0.1%", "gemodel 1% 10% 70% 0.1%"),
            ("state 5%", "state 5% 95% 0% 100% 0%"),
            ("state 1% 2% 3% 4% 5%", "state 1% 2% 3% 4% 5%"),
        ] {
            assert_eq!(written::<LossModel>(text), told);
            assert_eq!(written::<LossModel>(told), told);
        }
        for bad in [
            "",
            "gemodel",
            "state x",
            "1% 2% 3%",
            "gemodel 1% 2% 3% 4% 5%",
            "bursty 1%",
        ] {
            let told = written::<LossModel>(bad);
            assert!(told.contains("is no loss; write 10%"), "{told}");
        }
    }

    #[test]
    fn slots_have_tcs_words() {
        for (text, told) in [
            ("20ms", "20ms"),
            ("20ms 30ms", "20ms 30ms"),
            ("20ms packets 10 bytes 15kb", "20ms packets 10 bytes 15kb"),
            (
                "800us 10ms bytes 64k packets 42",
                "800us 10ms packets 42 bytes 64kb",
            ),
        ] {
            assert_eq!(written::<SlotModel>(text), told);
        }
        for bad in [
            "",
            "30ms 20ms",
            "20ms packets",
            "20ms frames 3",
            "packets 3",
        ] {
            assert!(written::<SlotModel>(bad).contains("is no slot"), "{bad}");
        }
    }

    #[test]
    fn laws_and_chances_are_named() {
        for law in ["uniform", "normal", "pareto", "paretonormal"] {
            assert_eq!(written::<DelayDistribution>(law), law);
        }
        assert!(written::<DelayDistribution>("gauss").contains("write uniform, normal"));
        assert_eq!(written::<Chance>("1% 25%"), "1% 25%");
        assert!(written::<Chance>("1% x").contains("is no share"));
    }
}
