//! Kernel settings of the host's namespace, and what they were before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A setting that the agent changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlChange {
    /// Below `/proc/sys`, for example `net/ipv4/ip_forward`.
    pub name: String,
    pub before: String,
    pub after: String,
}

/// Why a setting could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {name} to {value}: {source}; set it with sysctl before the agent starts")]
pub struct SetSysctl {
    pub name: String,
    pub value: String,
    #[source]
    pub source: io::Error,
}

/// Lets the host forward for containers, and returns what was changed; the caller keeps it for [`restore`].
///
/// Forwarding IPv6 makes the kernel ignore router advertisements, which many hosts get their own address and route
/// from. Links that listened to them (`accept_ra` 1) are set to listen although they forward (2) first. IPv6 is touched
/// only when asked for: when the first network with IPv6 is made.
pub fn enable_forwarding(ipv6: bool) -> Result<Vec<SysctlChange>, SetSysctl> {
    let root = Path::new("/proc/sys");
    let mut changes = Vec::new();
    let wanted = if ipv6 {
        let mut wanted = accept_ra_settings(root);
        wanted.push((IPV6_FORWARDING.to_owned(), "1"));
        wanted
    } else {
        vec![(IPV4_FORWARDING.to_owned(), "1")]
    };
    for (name, value) in wanted {
        match set(root, &name, value) {
            Ok(change) => changes.extend(change),
            Err(failure) => {
                restore(&changes);
                return Err(failure);
            }
        }
    }
    Ok(changes)
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

fn accept_ra_settings(root: &Path) -> Vec<(String, &'static str)> {
    let Ok(links) = fs::read_dir(root.join(IPV6_LINKS)) else {
        return Vec::new();
    };
    links
        .flatten()
        .filter_map(|link| {
            let link = link.file_name().into_string().ok()?;
            let name = format!("{IPV6_LINKS}/{link}/accept_ra");
            let listens = read(root, &name)? == "1";
            (listens && is_uplink(&link)).then_some((name, "2"))
        })
        .collect()
}

/// `all` does nothing and `default` is for links to come, which whoever makes them configures.
fn is_uplink(link: &str) -> bool {
    !link.starts_with(OWN_LINKS) && !["all", "default", "lo"].contains(&link)
}

fn set(root: &Path, name: &str, value: &str) -> Result<Option<SysctlChange>, SetSysctl> {
    let failed = |source| SetSysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    };
    let path: PathBuf = root.join(name);
    let before = fs::read_to_string(&path).map_err(failed)?.trim().to_owned();
    if before == value {
        return Ok(None);
    }
    fs::write(&path, value).map_err(failed)?;
    Ok(Some(SysctlChange {
        name: name.to_owned(),
        before,
        after: value.to_owned(),
    }))
}

fn read(root: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(name)).ok()?;
    Some(text.trim().to_owned())
}

const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";
const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";
const IPV6_LINKS: &str = "net/ipv6/conf";
const OWN_LINKS: &str = "tsy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_right_already_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("x"), "1\n").unwrap();
        assert!(set(root.path(), "x", "1").unwrap().is_none());
        let change = set(root.path(), "x", "2").unwrap().unwrap();
        assert_eq!((change.before.as_str(), change.after.as_str()), ("1", "2"));
        assert!(set(root.path(), "missing", "1").is_err());
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
