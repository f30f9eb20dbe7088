//! What is different in the configuration since the agent before this one.
//!
//! An agent leaves the text of its configuration with its guardian, in memory. The next one compares.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use toml::{Table, Value};

use crate::guardian::Held;

/// The configuration of the agent before this one; absent where there was none.
pub(crate) struct KeptText(Option<String>);

/// A key whose value is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// With its table, as `dns.resolv_conf`.
    pub(crate) key: String,
    /// As it was, and is, in the file.
    pub(crate) before: String,
    pub(crate) now: String,
}

impl KeptText {
    /// What the agent before left.
    pub(crate) fn take(held: &Held) -> Self {
        let read = |kept: OwnedFd| {
            let mut kept = File::from(kept);
            let mut text = String::new();
            kept.rewind()?;
            kept.read_to_string(&mut text)?;
            io::Result::Ok(text)
        };
        Self(held.take(NAME).and_then(|kept| read(kept).ok()))
    }

    /// Leaves `text` to the next one.
    pub(crate) fn leave(held: &Held, text: &str) -> io::Result<()> {
        let mut file = File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        held.hold(NAME, &file);
        Ok(())
    }

    /// What is different in `now`; nothing where there was no agent before.
    pub(crate) fn changes(&self, now: &str) -> Option<Vec<Change>> {
        self.0.as_deref().map(|before| changes(before, now))
    }
}

impl Change {
    /// When the new value counts.
    pub(crate) fn counts(&self) -> &'static str {
        match self.key.as_str() {
            "default-address-pools" => "for networks that are made from now on",
            "cluster.name" => "when this host makes or joins a cluster",
            _ => "now",
        }
    }
}

fn changes(before: &str, now: &str) -> Vec<Change> {
    let [before, now] = [before, now].map(flat);
    let mut keys: Vec<_> = before.keys().chain(now.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let shown = |values: &BTreeMap<String, String>, key: &String| {
        values.get(key).cloned().unwrap_or_else(|| UNSET.to_owned())
    };
    let all = keys.into_iter().map(|key| Change {
        before: shown(&before, key),
        now: shown(&now, key),
        key: key.clone(),
    });
    all.filter(|change| change.before != change.now).collect()
}

/// Every value by its key, with that of its table before it.
fn flat(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (key, value) in text.parse::<Table>().unwrap_or_default() {
        match value {
            Value::Table(table) => {
                let inner = table.into_iter();
                values.extend(
                    inner.map(|(name, value)| (format!("{key}.{name}"), value.to_string())),
                );
            }
            value => drop(values.insert(key, value.to_string())),
        }
    }
    values
}

/// By which the guardian has it.
const NAME: &str = "text/configuration";
const UNSET: &str = "unset";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(before: &str, now: &str) -> Vec<String> {
        let changes = changes(before, now).into_iter();
        changes
            .map(|it| format!("{}: {} -> {} ({})", it.key, it.before, it.now, it.counts()))
            .collect()
    }

    #[test]
    fn what_is_different_is_told_by_its_key() {
        let before = "workers = 2\n[dns]\nresolv_conf = \"/a\"\n[cluster]\nname = \"x\"\n";
        let now = "# more\nworkers = 4\n[cluster]\nname = \"y\"\n[api]\ngroup = \"netops\"\n";
        assert_eq!(
            lines(before, now),
            [
                "api.group: unset -> \"netops\" (now)",
                "cluster.name: \"x\" -> \"y\" (when this host makes or joins a cluster)",
                "dns.resolv_conf: \"/a\" -> unset (now)",
                "workers: 2 -> 4 (now)",
            ]
        );
    }

    #[test]
    fn the_order_of_lines_is_no_difference() {
        assert!(
            lines(
                "workers = 2\nengine = \"auto\"",
                "engine = 'auto'\n\nworkers=2"
            )
            .is_empty()
        );
        assert!(lines("", "[dns]\n").is_empty());
    }
}
