//! The files that tell a container who it is and whom to ask.

use std::fmt::Write as _;
use std::net::IpAddr;

/// `resolv.conf` with the given servers, or with none where there is nobody to ask.
pub(super) fn resolv_conf(servers: &[IpAddr], search: &[String]) -> String {
    let mut text = String::new();
    for server in servers {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    text
}

/// `hosts`: the loopback names, and the container's own for each of its addresses.
pub(super) fn hosts(addresses: &[IpAddr], hostname: &str) -> String {
    let mut text = String::from(LOOPBACK_NAMES);
    for address in addresses {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

const LOOPBACK_NAMES: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_lists_servers_then_search() {
        let text = resolv_conf(
            &["8.8.8.8".parse().unwrap(), "fd00::1".parse().unwrap()],
            &["a.example".into(), "b".into()],
        );
        assert_eq!(
            text,
            "nameserver 8.8.8.8\nnameserver fd00::1\nsearch a.example b\n"
        );
    }

    #[test]
    fn hosts_ends_with_the_own_addresses() {
        assert!(hosts(&["172.17.0.2".parse().unwrap()], "web").ends_with("\n172.17.0.2\tweb\n"));
    }
}
