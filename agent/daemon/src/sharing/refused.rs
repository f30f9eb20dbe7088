//! Records of other hosts that are not taken in: told once each, and counted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;

use crate::locks::lock;

#[derive(Default)]
pub(crate) struct Refused(Mutex<Table>);

#[derive(Default)]
struct Table {
    count: u64,
    /// Why, by key.
    told: BTreeMap<String, String>,
}

impl Refused {
    /// A record is not taken in.
    pub(crate) fn refuse(&self, key: &str, why: &dyn Display) {
        let why = why.to_string();
        let is_news = {
            let mut table = lock(&self.0);
            table.count += 1;
            if table.told.len() >= TOLD_MAX && !table.told.contains_key(key) {
                table.told.clear();
            }
            let told = table.told.insert(key.to_owned(), why.clone());
            told.as_ref() != Some(&why)
        };
        if is_news {
            tracing::warn!(key, why, "a record of the cluster is refused");
        }
    }

    /// There is another record by that key, or none. Whether it was refused.
    pub(crate) fn forget(&self, key: &str) -> bool {
        lock(&self.0).told.remove(key).is_some()
    }

    /// Keys of records that were refused, of those that begin so.
    pub(crate) fn under(&self, prefix: &str) -> Vec<String> {
        let table = lock(&self.0);
        let from = table.told.range(prefix.to_owned()..);
        let under = from.take_while(|(key, _)| key.starts_with(prefix));
        under.map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn count(&self) -> u64 {
        lock(&self.0).count
    }
}

/// More are told again.
const TOLD_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_the_list_is_bounded() {
        let refused = Refused::default();
        for number in 0..TOLD_MAX + 10 {
            refused.refuse(&format!("endpoint/n/{number}"), &"no");
        }
        refused.refuse("endpoint/n/0", &"no");
        refused.refuse("network/n", &"no");
        assert_eq!(refused.count(), u64::try_from(TOLD_MAX).unwrap() + 12);
        let under = refused.under("endpoint/n/");
        assert!(
            !under.is_empty() && under.len() <= TOLD_MAX,
            "{}",
            under.len()
        );
        assert_eq!(refused.under("network/"), ["network/n"]);
        refused.forget("network/n");
        assert!(refused.under("network/").is_empty());
    }
}
