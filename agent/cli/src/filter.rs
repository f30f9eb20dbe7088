//! `--filter`: what a list shows, in Docker's words.

use std::collections::BTreeMap;

/// Filters of one key are alternatives, and those of different keys add up; only labels all have to fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Takes what was given, if its keys are among `known`.
    pub(crate) fn new(given: Vec<(String, String)>, known: &[&str]) -> Result<Self, String> {
        let mut filters = Self::default();
        for (key, value) in given {
            if !known.contains(&key.as_str()) {
                return Err(format!(
                    "there is no filter {key:?}; filter by {}",
                    known.join(", ")
                ));
            }
            filters.0.entry(key).or_default().push(value);
        }
        Ok(filters)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// What was given for `key`.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let given = self.0.get(key).into_iter().flatten();
        given.map(String::as_str)
    }

    /// Whether one of the values given for `key` fits, or none was given.
    pub(crate) fn accept(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        let given = self.0.get(key);
        given.is_none_or(|values| values.iter().any(|value| fits(value)))
    }

    /// Whether all labels that were given are there, with their values where those were given too.
    pub(crate) fn accept_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let fits = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.0
            .get(LABEL)
            .is_none_or(|wanted| wanted.iter().all(fits))
    }
}

/// `KEY=VALUE`, as `label=tier=front`.
pub(crate) fn filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("write KEY=VALUE, as in label=tier=front".to_owned()),
    }
}

pub(crate) const LABEL: &str = "label";

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(given: &[&str]) -> Filters {
        let pairs = given.iter().map(|text| filter(text).unwrap()).collect();
        Filters::new(pairs, &["label", "name"]).unwrap()
    }

    #[test]
    fn labels_all_have_to_fit_and_other_values_are_alternatives() {
        let labels = BTreeMap::from([
            ("a".to_owned(), "1".to_owned()),
            ("b".into(), String::new()),
        ]);
        for fitting in [
            &[][..],
            &["label=a"],
            &["label=a=1"],
            &["label=a", "label=b"],
            &["name=x"],
        ] {
            assert!(filters(fitting).accept_labels(&labels), "{fitting:?}");
        }
        for other in [
            &["label=c"][..],
            &["label=a=2"],
            &["label=a", "label=c"],
            &["label=b=1"],
        ] {
            assert!(!filters(other).accept_labels(&labels), "{other:?}");
        }
        let named = filters(&["name=web", "name=db"]);
        assert!(named.accept("name", |value| value == "db"));
        assert!(!named.accept("name", |value| value == "x"));
        assert!(named.accept("label", |_| false), "was not given");
    }

    #[test]
    fn an_unknown_filter_is_named_with_those_there_are() {
        let error = Filters::new(vec![("volume".into(), "x".into())], &["label", "name"]);
        assert_eq!(
            error.unwrap_err(),
            "there is no filter \"volume\"; filter by label, name"
        );
        for wrong in ["label", "=x", "label=", ""] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
