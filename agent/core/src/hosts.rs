//! The file that tells a container who it is.

use std::fmt::Write as _;
use std::net::IpAddr;

/// `hosts`: the loopback names, and the container's own for each of its addresses.
pub fn hosts(addresses: &[IpAddr], hostname: &str) -> String {
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
    fn hosts_ends_with_the_own_addresses() {
        assert!(hosts(&["172.17.0.2".parse().unwrap()], "web").ends_with("\n172.17.0.2\tweb\n"));
    }
}
