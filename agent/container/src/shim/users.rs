//! The user namespace of a container with users of its own.

use std::fs::{self, File};
use std::process::Child;

use nix::sched::{CloneFlags, setns};

use super::failure::{MakeContainer, because};
use super::init::spawn_init;
use crate::control::{Control, Reply, Task};

/// Users outside that those inside are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserRange {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl UserRange {
    /// What `/etc/subuid` gives the user `tapestry`, else [`DEFAULT_RANGE`].
    pub(super) fn of_host() -> Self {
        let text = fs::read_to_string("/etc/subuid").unwrap_or_default();
        Self::parse(&text).unwrap_or(DEFAULT_RANGE)
    }

    /// The first range of the user in subuid(5).
    fn parse(text: &str) -> Option<Self> {
        text.lines().find_map(|line| {
            let mut fields = line.strip_prefix("tapestry:")?.trim_end().split(':');
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            (first > 0 && count > 0).then_some(Self { first, count })
        })
    }

    /// Moves this process into a new user namespace, with all capabilities there and none outside. A child holds the
    /// namespace while this process, still privileged, writes its maps.
    pub(super) fn enter(self) -> Result<(), MakeContainer> {
        let (mut holder, control) = spawn_init(false)?;
        let outcome = self.enter_held(&control, &holder);
        drop(control);
        let _ = holder.wait();
        outcome
    }

    fn enter_held(self, control: &Control, holder: &Child) -> Result<(), MakeContainer> {
        control
            .send_task(&Task::HoldUsers, &[])
            .map_err(because("reach the holder of the user namespace"))?;
        match control.receive_reply() {
            Ok(Some((Reply::Prepared, _))) => {}
            Ok(Some((Reply::Failed { text, .. }, _))) => return Err(MakeContainer::Init(text)),
            _ => return Err(MakeContainer::HolderDied),
        }
        let process = format!("/proc/{}", holder.id());
        let map = format!("0 {} {}\n", self.first, self.count);
        for name in ["uid_map", "gid_map"] {
            fs::write(format!("{process}/{name}"), &map)
                .map_err(because(&format!("write the {name} of the user namespace")))?;
        }
        let namespace =
            File::open(format!("{process}/ns/user")).map_err(because("open the user namespace"))?;
        setns(namespace, CloneFlags::CLONE_NEWUSER).map_err(because("enter the user namespace"))
    }
}

const DEFAULT_RANGE: UserRange = UserRange {
    first: 231_072,
    count: 65_536,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_the_one_of_our_user() {
        let text = "root:1:2\ntapestry2:5:5\ntapestry:300000:1000\n";
        let range = UserRange {
            first: 300_000,
            count: 1000,
        };
        assert_eq!(UserRange::parse(text), Some(range));
        assert_eq!(UserRange::parse("tapestry:0:65536\n"), None);
        assert_eq!(UserRange::parse("tapestry:x\n"), None);
    }
}
