//! The graph: ten switches with nine hosts each, and a chain of links between the first hosts. 100 nodes, 150 links.

use std::fmt::Write;

pub(super) const SWITCHES: usize = 10;
pub(super) const HOSTS_OF_A_SWITCH: usize = 9;
/// Links from a host to the next one.
pub(super) const CHAIN: usize = 60;

/// In containerlab's format. Each host has an address at its switch, as mininet gives it one.
pub(super) fn clab_file() -> String {
    let mut text =
        String::from("name: bench\ntopology:\n  defaults: {kind: linux, network-mode: none}\n");
    let hosts = SWITCHES * HOSTS_OF_A_SWITCH;
    text += "  nodes:\n";
    for host in 0..hosts {
        let address = format!("ip address add 10.0.0.{}/8 dev eth1", host + 1);
        let _ = writeln!(text, "    h{host}: {{exec: [{address}]}}");
    }
    for switch in 0..SWITCHES {
        let _ = writeln!(text, "    s{switch}: {{kind: bridge}}");
    }
    text += "  links:\n";
    for host in 0..hosts {
        let (switch, port) = (host / HOSTS_OF_A_SWITCH, host % HOSTS_OF_A_SWITCH);
        let _ = writeln!(
            text,
            "    - {{endpoints: ['h{host}:eth1', 's{switch}:p{port}'], mtu: 1500}}"
        );
    }
    for host in 0..CHAIN {
        let next = host + 1;
        let _ = writeln!(
            text,
            "    - {{endpoints: ['h{host}:right', 'h{next}:left'], mtu: 1500}}"
        );
    }
    text
}

/// What the first host runs to see that it is there: the last host of its switch answers, and its link to the next host is up.
pub(super) fn pings() -> [String; 2] {
    [
        format!("ping -c1 -W2 10.0.0.{HOSTS_OF_A_SWITCH}"),
        "test $(cat /sys/class/net/*/carrier 2>/dev/null | grep -c 1) -ge 2".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_100_nodes_and_150_links() {
        let file = clab_file();
        let (nodes, links) = file.split_once("  links:\n").unwrap();
        let named = |line: &&str| line.starts_with("    ");
        assert_eq!(nodes.lines().filter(named).count(), 100);
        assert_eq!(links.lines().filter(named).count(), 150);
    }
}
