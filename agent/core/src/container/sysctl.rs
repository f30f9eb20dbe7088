//! Kernel settings of a container's network namespace.

use std::collections::BTreeMap;

/// Why a setting is not for a container to choose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSysctl {
    #[error(
        "--sysctl {0} is not of the container's network and stays the host's; only net.* is set, as in --sysctl net.ipv4.ip_forward=1"
    )]
    NotOfNetwork(String),
    #[error("--sysctl {0}: write NAME=VALUE on one line, as in --sysctl net.ipv4.ip_forward=1")]
    Malformed(String),
}

/// The settings by their paths below `/proc/sys`.
pub fn sysctl_paths(
    settings: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, BadSysctl> {
    let each = settings.iter().map(|(name, value)| {
        let path = path(name)?;
        match value.is_empty() || value.contains(char::is_control) {
            true => Err(BadSysctl::Malformed(shown(name))),
            false => Ok((path, value.clone())),
        }
    });
    each.collect()
}

/// As sysctl(8) reads names: whichever of `.` and `/` comes first separates, and the other one stands for it within a part,
/// as in `net.ipv4.conf.eth0/7.forwarding`.
fn path(name: &str) -> Result<String, BadSysctl> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || !name.chars().all(is_of_a_name) {
        return Err(BadSysctl::Malformed(shown(name)));
    }
    let swapped = |c: char| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String = match name.find(['.', '/']).map(|at| &name[at..=at]) {
        Some("/") => name.to_owned(),
        _ => name.chars().map(swapped).collect(),
    };
    let mut parts = path.split('/');
    if parts.any(|part| matches!(part, "" | "." | "..")) {
        return Err(BadSysctl::Malformed(shown(name)));
    }
    match path.starts_with(OF_NETWORK) {
        true => Ok(path),
        false => Err(BadSysctl::NotOfNetwork(shown(name))),
    }
}

fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

const OF_NETWORK: &str = "net/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sysctl_reads_them() {
        assert_eq!(path("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(
            path("net.ipv4.conf.eth0/7.forwarding").unwrap(),
            "net/ipv4/conf/eth0.7/forwarding"
        );
    }

    #[test]
    fn only_the_networks_own_are_set() {
        for other in ["kernel.shmmax", "vm.swappiness", "network", "net"] {
            let refused = path(other).unwrap_err();
            assert!(matches!(refused, BadSysctl::NotOfNetwork(_)), "{refused}");
        }
        for wrong in [
            "",
            "net.",
            "net..x",
            "net/../kernel/x",
            "net.a b",
            "net/./x",
        ] {
            let refused = path(wrong).unwrap_err();
            assert!(matches!(refused, BadSysctl::Malformed(_)), "{refused}");
        }
        let set = |value: &str| {
            sysctl_paths(&[("net.core.somaxconn".to_owned(), value.to_owned())].into())
        };
        assert!(set("4096").is_ok());
        assert!(set("").is_err() && set("1\n2").is_err());
    }
}
