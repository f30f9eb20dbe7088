//! Which CAs a cluster trusts.
//!
//! # Theory of operation
//!
//! Most of the time a cluster has one CA. A rotation puts another one in its place, in two steps, each a write of the one
//! [`CaRecord`]. At first the new CA signs, and everybody trusts both. When every host that is alive has a certificate of the
//! new CA, the old one is retired: nobody trusts it any more, except that a host which was off may renew with its certificate
//! for [`RENEWABLE_S`].
//!
//! The CA that goes signs the key of the one that comes. By this *bridge*, whoever trusts the old CA comes to trust the new
//! one, and nobody can put another in its place: neither who writes the record, nor who answers for a manager.

use serde::{Deserialize, Serialize};

/// The CAs, all as PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaRecord {
    /// The certificate of the one that signs.
    pub certificate: String,
    /// Those before it, the latest first.
    #[serde(default)]
    pub former: Vec<FormerCa>,
}

/// A CA that has a successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerCa {
    pub certificate: String,
    /// The successor's key, certified by this one.
    pub bridge: String,
    /// Seconds since 1970; absent while it is trusted beside its successor.
    #[serde(default)]
    pub retired_s: Option<u64>,
}

impl CaRecord {
    /// Of a cluster whose CA was never rotated.
    pub fn new(certificate: String) -> Self {
        Self {
            certificate,
            former: Vec::new(),
        }
    }

    /// Whether two are trusted.
    pub fn is_rotating(&self) -> bool {
        self.trusted().count() > 1
    }

    /// Those that everybody trusts, first the one that signs.
    pub fn trusted(&self) -> impl Iterator<Item = &str> {
        let beside = self.former.iter().filter(|ca| ca.retired_s.is_none());
        std::iter::once(&*self.certificate).chain(beside.map(|ca| &*ca.certificate))
    }

    /// Those whose certificates may be renewed: the trusted ones, and those that were retired not long ago.
    pub fn renewable(&self, now_s: u64) -> impl Iterator<Item = &str> {
        let former = self.former.iter().take_while(move |ca| ca.counts(now_s));
        std::iter::once(&*self.certificate).chain(former.map(|ca| &*ca.certificate))
    }

    /// What leads from each of those to the CA that signs.
    pub fn bridges(&self, now_s: u64) -> impl Iterator<Item = &str> {
        let former = self.former.iter().take_while(move |ca| ca.counts(now_s));
        former.map(|ca| &*ca.bridge)
    }

    /// The first step of a rotation; `None` within one.
    pub fn begun(&self, certificate: String, bridge: String, now_s: u64) -> Option<Self> {
        if self.is_rotating() {
            return None;
        }
        let last = FormerCa {
            certificate: self.certificate.clone(),
            bridge,
            retired_s: None,
        };
        let before = self.former.iter().filter(|ca| ca.counts(now_s)).cloned();
        let mut former: Vec<_> = std::iter::once(last).chain(before).collect();
        former.truncate(FORMER_MAX);
        Some(Self {
            certificate,
            former,
        })
    }

    /// The second step; `None` where there is no first.
    pub fn finished(&self, now_s: u64) -> Option<Self> {
        if !self.is_rotating() {
            return None;
        }
        let retired = self.former.iter().cloned().map(|ca| FormerCa {
            retired_s: ca.retired_s.or(Some(now_s)),
            ..ca
        });
        Some(Self {
            certificate: self.certificate.clone(),
            former: retired.collect(),
        })
    }
}

impl FormerCa {
    fn counts(&self, now_s: u64) -> bool {
        self.retired_s
            .is_none_or(|retired_s| now_s < retired_s.saturating_add(RENEWABLE_S))
    }
}

/// For so long after its end a certificate may still be renewed.
pub const RENEWABLE_S: u64 = 90 * 24 * 3600;
/// As many bridges fit well into a handshake.
const FORMER_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        names.collect()
    }

    #[test]
    fn a_rotation_goes_from_one_over_two_to_one() {
        let first = CaRecord::new("one".into());
        assert_eq!(first.finished(5), None);
        let both = first.begun("two".into(), "one-two".into(), 10).unwrap();
        assert_eq!(of(both.trusted()), ["two", "one"]);
        assert_eq!(both.begun("three".into(), String::new(), 11), None);
        let last = both.finished(20).unwrap();
        assert_eq!(of(last.trusted()), ["two"]);
        assert_eq!(last.finished(21), None);
    }

    #[test]
    fn certificates_of_a_retired_ca_are_renewable_for_90_days() {
        let both = CaRecord::new("one".into()).begun("two".into(), "one-two".into(), 10);
        let last = both.unwrap().finished(20).unwrap();
        let end_s = 20 + RENEWABLE_S;
        assert_eq!(of(last.renewable(end_s - 1)), ["two", "one"]);
        assert_eq!(of(last.bridges(end_s - 1)), ["one-two"]);
        assert_eq!(of(last.renewable(end_s)), ["two"]);
        assert_eq!(of(last.bridges(end_s)), Vec::<&str>::new());
        let third = last.begun("three".into(), "two-three".into(), end_s);
        assert_eq!(third.unwrap().former.len(), 1);
    }

    #[test]
    fn bridges_lead_over_several_rotations_and_are_bounded() {
        let mut record = CaRecord::new("0".into());
        for n in 1..=6 {
            let bridge = format!("{}-{n}", n - 1);
            let begun = record.begun(n.to_string(), bridge, n).unwrap();
            record = begun.finished(n).unwrap();
        }
        assert_eq!(of(record.bridges(7)), ["5-6", "4-5", "3-4", "2-3"]);
        assert_eq!(of(record.renewable(7)), ["6", "5", "4", "3", "2"]);
    }
}
