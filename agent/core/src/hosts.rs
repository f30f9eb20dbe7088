//! The file that tells a container who it is.

use std::fmt::Write as _;
use std::net::IpAddr;

/// `hosts`: the loopback names, the container's own for each of its addresses, and what was added.
pub fn hosts(addresses: &[IpAddr], hostname: &str, added: &[(IpAddr, String)]) -> String {
    let mut text = String::from(LOOPBACK_NAMES);
    for address in addresses {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    for (address, name) in added {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// A line that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    name: String,
    /// The host's own address, as the container reaches it, where absent.
    address: Option<IpAddr>,
}

/// Why it cannot be in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no line of hosts; write --add-host NAME:ADDRESS, or NAME:host-gateway")]
pub struct BadExtraHost(String);

impl ExtraHost {
    /// `NAME:ADDRESS` or `NAME=ADDRESS`, an IPv6 address with or without brackets, as Docker.
    pub fn parse(text: &str) -> Result<Self, BadExtraHost> {
        let wrong = || BadExtraHost(text.chars().take(80).collect());
        let parts = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, address) = parts
            .filter(|(name, _)| is_host_name(name))
            .ok_or_else(wrong)?;
        let bare = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = match address {
            HOST_GATEWAY => None,
            _ => Some(bare.unwrap_or(address).parse().map_err(|_| wrong())?),
        };
        let name = name.to_owned();
        Ok(Self { name, address })
    }

    pub const fn is_of_the_host(&self) -> bool {
        self.address.is_none()
    }

    /// What the file says, where the host is reached by these addresses.
    pub fn lines(&self, host: &[IpAddr]) -> Vec<(IpAddr, String)> {
        let addresses = self.address.as_ref().map_or(host, std::slice::from_ref);
        let lines = addresses
            .iter()
            .map(|address| (*address, self.name.clone()));
        lines.collect()
    }
}

/// Anything that is one word of the file (hosts(5)).
fn is_host_name(name: &str) -> bool {
    let is_of_a_word = |c: char| !c.is_whitespace() && !c.is_control() && c != '#';
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.chars().all(is_of_a_word)
}

const LOOPBACK_NAMES: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// Docker's word for the address by which a container reaches its host.
const HOST_GATEWAY: &str = "host-gateway";
/// Of a name in the DNS (RFC 1035 §2.3.4).
const NAME_LENGTH_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ends_with_the_own_addresses_and_what_was_added() {
        let own = ["172.17.0.2".parse().unwrap()];
        assert!(hosts(&own, "web", &[]).ends_with("\n172.17.0.2\tweb\n"));
        let added = ExtraHost::parse("db:10.0.0.9").unwrap().lines(&[]);
        assert!(hosts(&own, "web", &added).ends_with("\tweb\n10.0.0.9\tdb\n"));
    }

    #[test]
    fn a_line_names_an_address_or_the_host() {
        let host: [IpAddr; 2] = ["172.17.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let shown = |text: &str| {
            let lines = ExtraHost::parse(text).unwrap().lines(&host);
            let shown = lines
                .iter()
                .map(|(address, name)| format!("{address} {name}"));
            shown.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(shown("db=10.0.0.9"), "10.0.0.9 db");
        assert_eq!(shown("db:fd00::9"), "fd00::9 db");
        assert_eq!(shown("db:[fd00::9]"), "fd00::9 db");
        assert_eq!(shown("up:host-gateway"), "172.17.0.1 up, fd00::1 up");
        for wrong in [
            "db",
            "db:",
            ":10.0.0.9",
            "a b:10.0.0.9",
            "a\n1:10.0.0.9",
            "#:1.1.1.1",
            "db:x",
        ] {
            assert!(ExtraHost::parse(wrong).is_err(), "{wrong}");
        }
    }
}
