//! A link of a sandbox under observation: whether it went away, and whether its carrier did.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::harness::{enter, run};

/// Watches from its making until [`LinkWatch::end`].
pub(super) struct LinkWatch {
    sandbox: PathBuf,
    link: String,
    before: State,
    monitor: Child,
    events: NamedTempFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    index: u64,
    carrier_changes: u64,
}

impl LinkWatch {
    pub(super) fn start(sandbox: &Path, link: &str) -> Self {
        let events = NamedTempFile::new().unwrap();
        let mut command = Command::new("ip");
        command.args(["-o", "monitor", "link"]);
        command
            .stdin(Stdio::null())
            .stdout(events.reopen().unwrap())
            .stderr(Stdio::null());
        Self {
            sandbox: sandbox.to_owned(),
            link: link.to_owned(),
            before: State::of(sandbox, link).expect("the link is there"),
            monitor: enter(sandbox, || command.spawn()).unwrap(),
            events,
        }
    }

    /// How often the link went away or lost its carrier, each of which counts once however it was noticed.
    pub(super) fn end(mut self) -> usize {
        let after = State::of(&self.sandbox, &self.link);
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
        let events = fs::read_to_string(self.events.path()).unwrap();
        let noticed = flaps(&events, &self.link);
        let counted = after.map_or(1, |after| self.before.flaps_to(after));
        noticed.max(counted)
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

impl State {
    fn of(sandbox: &Path, link: &str) -> Option<Self> {
        let mut command = Command::new("ip");
        command.args(["-s", "-s", "-j", "link", "show", "dev", link]);
        let shown = enter(sandbox, || run(&mut command));
        shown.succeeded()?;
        let shown: Value = serde_json::from_str(&shown.stdout).ok()?;
        let tx = &shown[0]["stats64"]["tx"];
        Some(Self {
            index: shown[0]["ifindex"].as_u64()?,
            carrier_changes: tx["carrier_changes"].as_u64()?,
        })
    }

    /// Another index is another link; otherwise the carrier goes and comes, two changes a flap.
    fn flaps_to(self, after: Self) -> usize {
        if self.index != after.index {
            return 1;
        }
        let changes = after.carrier_changes.saturating_sub(self.carrier_changes);
        usize::try_from(changes.div_ceil(2)).unwrap_or(usize::MAX)
    }
}

/// How often `ip -o monitor link` told that the link had gone, or had lost its carrier.
fn flaps(events: &str, link: &str) -> usize {
    let named = format!(": {link}");
    let of_link = events.lines().filter(|line| {
        let name = line.split_once(&named).map(|(_, rest)| rest);
        name.is_some_and(|rest| rest.starts_with([':', '@']))
    });
    let (mut count, mut is_up) = (0, true);
    for line in of_link {
        let lost =
            line.starts_with("Deleted") || line.contains("NO-CARRIER") || !line.contains(",UP");
        count += usize::from(lost && is_up);
        is_up = !lost;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: &str = "7: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP";
    const LOST: &str = "7: eth0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 state DOWN";

    fn of(lines: &[&str]) -> usize {
        flaps(&lines.join("\n"), "eth0")
    }

    #[test]
    fn a_loss_that_is_told_twice_is_one_flap() {
        assert_eq!(of(&[LOST, LOST, UP, LOST, UP]), 2);
        assert_eq!(
            of(&["Deleted 7: eth0: <BROADCAST,MULTICAST> mtu 1500", LOST]),
            1
        );
    }

    #[test]
    fn other_links_and_other_changes_are_no_flap() {
        assert_eq!(
            of(&[
                UP,
                &UP.replace("1500", "1400"),
                &LOST.replace("eth0", "eth01")
            ]),
            0
        );
    }

    #[test]
    fn another_index_is_another_link() {
        let state = |index, carrier_changes| State {
            index,
            carrier_changes,
        };
        assert_eq!(state(7, 2).flaps_to(state(8, 2)), 1);
        assert_eq!(state(7, 2).flaps_to(state(7, 6)), 2);
        assert_eq!(state(7, 2).flaps_to(state(7, 2)), 0);
    }
}
