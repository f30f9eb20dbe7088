//! Kernel settings of the host's namespace, and what they were before; and those of sandboxes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

pub use agent_core::record::SysctlChange;
use agent_core::record::{IPV4_FORWARDING, IPV6_FORWARDING};

use crate::namespace::{EnterNetns, Netns};

/// Why a setting could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {name} to {value}: {source}; set it with sysctl before the agent starts")]
pub struct SetSysctl {
    pub name: String,
    pub value: String,
    #[source]
    pub source: io::Error,
}

/// Why a sandbox does not have a setting that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SetInside {
    #[error(transparent)]
    Enter(#[from] EnterNetns),
    #[error(
        "its kernel setting {name} cannot be {value}: {source}; correct --sysctl or leave it out"
    )]
    Set {
        name: String,
        value: String,
        #[source]
        source: io::Error,
    },
}

/// Sets what belongs to a sandbox, by paths below `/proc/sys`, which all begin with `net/`: what else is there is the host's.
pub fn set_inside(sandbox: &Netns, settings: &BTreeMap<String, String>) -> Result<(), SetInside> {
    let of_network =
        |name: &str| name.starts_with("net/") && !name.split('/').any(|part| part == "..");
    let set_all = || {
        for (name, value) in settings.iter().filter(|(name, _)| of_network(name)) {
            set(Path::new("/proc/sys"), name, value).map_err(|failure| SetInside::Set {
                name: name.replace('/', "."),
                value: failure.value,
                source: failure.source,
            })?;
        }
        Ok(())
    };
    sandbox.run(set_all)?
}

/// What is to be changed so that the host forwards for containers, in order. Keep it before [`change`] makes it, for
/// [`restore`].
///
/// Forwarding IPv6 makes the kernel ignore router advertisements, which many hosts get their own address and route
/// from. Links that listened to them (`accept_ra` 1) are set to listen although they forward (2) first. IPv6 is touched
/// only when asked for: when the first network with IPv6 is made.
pub fn forwarding_changes(ipv6: bool) -> Vec<SysctlChange> {
    let root = Path::new("/proc/sys");
    let mut wanted = vec![(IPV4_FORWARDING.to_owned(), "1")];
    if ipv6 {
        wanted.extend(accept_ra_settings(root));
        wanted.push((IPV6_FORWARDING.to_owned(), "1"));
    }
    needed(root, wanted)
}

/// What is to be changed so that a connection survives a segment out of its window.
///
/// The kernel's connection tracking tells nothing about such a segment, so no address in it is translated: one that comes
/// from outside is the host's own, which knows of no such connection and resets it, and one that a container sends leaves
/// with its private address. TCP itself wants the segment delivered and answered by an ACK (RFC 9293 §3.10.7.4, RFC 5961).
/// Only connection tracking that is liberal lets it through translated.
pub fn liberal_tracking_changes() -> Vec<SysctlChange> {
    needed(
        Path::new("/proc/sys"),
        vec![(LIBERAL_TRACKING.to_owned(), "1")],
    )
}

/// Makes all of the changes or none.
pub fn change(changes: &[SysctlChange]) -> Result<(), SetSysctl> {
    let root = Path::new("/proc/sys");
    for (made, change) in changes.iter().enumerate() {
        if let Err(failure) = set(root, &change.name, &change.after) {
            restore(&changes[..made]);
            return Err(failure);
        }
    }
    Ok(())
}

/// Undoes changes, last first, but only those that nobody changed since.
pub fn restore(changes: &[SysctlChange]) {
    let root = Path::new("/proc/sys");
    for change in changes.iter().rev() {
        if read(root, &change.name).is_some_and(|value| value == change.after) {
            let _ = set(root, &change.name, &change.before);
        }
    }
}

/// A setting that cannot be read is on the list too, so that changing it says why.
fn needed(root: &Path, wanted: Vec<(String, &str)>) -> Vec<SysctlChange> {
    let changes = wanted.into_iter().map(|(name, value)| SysctlChange {
        before: read(root, &name).unwrap_or_default(),
        after: value.to_owned(),
        name,
    });
    changes
        .filter(|change| change.before != change.after)
        .collect()
}

fn accept_ra_settings(root: &Path) -> Vec<(String, &'static str)> {
    let Ok(links) = fs::read_dir(root.join(IPV6_LINKS)) else {
        return Vec::new();
    };
    links
        .flatten()
        .filter_map(|link| {
            let link = link.file_name().into_string().ok()?;
            let name = format!("{IPV6_LINKS}/{link}/accept_ra");
            let listens = is_uplink(&link) && read(root, &name)? == "1";
            listens.then_some((name, "2"))
        })
        .collect()
}

/// `all` does nothing and `default` is for links to come, which whoever makes them configures.
fn is_uplink(link: &str) -> bool {
    !link.starts_with(OWN_LINKS) && !["all", "default", "lo"].contains(&link)
}

fn set(root: &Path, name: &str, value: &str) -> Result<(), SetSysctl> {
    fs::write(root.join(name), value).map_err(|source| SetSysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

fn read(root: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(name)).ok()?;
    Some(text.trim().to_owned())
}

const LIBERAL_TRACKING: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
const IPV6_LINKS: &str = "net/ipv6/conf";
const OWN_LINKS: &str = "tsy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_right_already_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("x"), "1\n").unwrap();
        let wanted = |value| needed(root.path(), vec![("x".to_owned(), value)]);
        assert!(wanted("1").is_empty());
        assert_eq!(
            (&*wanted("2")[0].before, &*wanted("2")[0].after),
            ("1", "2")
        );
        assert_eq!(
            needed(root.path(), vec![("missing".to_owned(), "1")]).len(),
            1
        );
    }

    #[test]
    fn only_links_that_listen_to_advertisements_are_kept_listening() {
        let root = tempfile::tempdir().unwrap();
        for (link, value) in [
            ("eth0", "1"),
            ("eth1", "0"),
            ("tsy01", "1"),
            ("lo", "1"),
            ("all", "1"),
        ] {
            let folder = root.path().join(IPV6_LINKS).join(link);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("accept_ra"), value).unwrap();
        }
        assert_eq!(
            accept_ra_settings(root.path()),
            [("net/ipv6/conf/eth0/accept_ra".to_owned(), "2")]
        );
    }
}
