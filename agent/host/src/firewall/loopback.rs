//! The way of the host's loopback addresses to containers, and back.
//!
//! The kernel keeps packets from and to 127.0.0.0/8 on `lo`, unless a link's `route_localnet` says otherwise. A client that
//! connects to `127.0.0.1:8080` needs it on the link of the network where the filter leads it. The other use of it, that
//! containers reach what listens on the host's loopback, is what our prerouting rules drop: so it is set after them, only
//! where a port needs it, and unset before them.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use agent_core::firewall::{NetworkRules, Published, Rules};

/// What is set, as far as the agent has set it.
#[derive(Debug, Default)]
pub(super) struct Loopback {
    /// The links that it may be set on; absent as long as an earlier life of the agent may have set it anywhere.
    led: Option<BTreeSet<String>>,
}

impl Loopback {
    /// Sets what `rules` need, and unsets what they do not. Call it when they are in place.
    pub(super) fn lead_out(&mut self, rules: &Rules) {
        let needed = needed(rules);
        let is_due = |link: &String| match &self.led {
            Some(led) => led.contains(link) != needed.contains(link),
            None => true,
        };
        let links = rules.networks.iter().map(|network| &network.host_link);
        for link in links.filter(|link| is_due(link)) {
            set(Path::new(LINKS), link, needed.contains(link));
        }
        self.led = Some(needed);
    }

    /// The same for a link that came after the rules.
    pub(super) fn lead_one(&mut self, network: &NetworkRules, published: &[Published]) {
        let is_needed = published.iter().any(|run| needs(run, network));
        set(Path::new(LINKS), &network.host_link, is_needed);
        if let (true, Some(led)) = (is_needed, &mut self.led) {
            led.insert(network.host_link.clone());
        }
    }

    /// Unsets it on all our links.
    pub(super) fn keep_in(&mut self) {
        let root = Path::new(LINKS);
        let links = fs::read_dir(root).into_iter().flatten().flatten();
        let names = links.filter_map(|link| link.file_name().into_string().ok());
        for link in names.filter(|name| name.starts_with(OWN_LINKS)) {
            set(root, &link, false);
        }
        self.led = Some(BTreeSet::new());
    }
}

/// The links of networks where something is published on the loopback.
fn needed(rules: &Rules) -> BTreeSet<String> {
    let runs = rules.published.iter().filter(|run| is_on_loopback(run));
    let runs: Vec<&Published> = runs.collect();
    let networks = rules.networks.iter();
    networks
        .filter(|network| runs.iter().any(|run| needs(run, network)))
        .map(|network| network.host_link.clone())
        .collect()
}

fn is_on_loopback(run: &Published) -> bool {
    let to_loopback = run
        .host_ip
        .is_none_or(|host_ip| host_ip.is_unspecified() || host_ip.is_loopback());
    to_loopback && run.container.is_ipv4() && run.is_within_reach()
}

fn needs(run: &Published, network: &NetworkRules) -> bool {
    let is_here = |container: IpAddr| {
        let mut subnets = network.subnets.iter();
        subnets.any(|subnet| subnet.contains(&container))
    };
    is_on_loopback(run) && is_here(run.container.ip())
}

fn set(root: &Path, link: &str, on: bool) {
    let path = root.join(link).join("route_localnet");
    let value = if on { "1" } else { "0" };
    let is_so = fs::read_to_string(&path).is_ok_and(|text| text.trim() == value);
    // A link that is gone needs nothing.
    if is_so || !path.exists() {
        return;
    }
    if let Err(error) = fs::write(&path, value) {
        tracing::warn!(link, %error, "published ports are not reached by the host's loopback addresses");
    }
}

const LINKS: &str = "/proc/sys/net/ipv4/conf";
const OWN_LINKS: &str = "tsy";

#[cfg(test)]
mod tests {
    use agent_api::TransportProtocol;

    use super::*;

    #[test]
    fn only_the_network_of_a_port_on_the_loopback_needs_it() {
        let network = |subnet: &str| NetworkRules {
            host_link: "tsy01".into(),
            subnets: vec![subnet.parse().unwrap()],
            gateways: Vec::new(),
            masquerade: true,
            anti_spoof: true,
        };
        let run = |host_ip: Option<&str>, container: &str| Published {
            protocol: TransportProtocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 80,
            container: container.parse().unwrap(),
            ports: 1,
        };
        let (here, elsewhere) = (network("172.17.0.0/16"), network("172.18.0.0/16"));
        for host_ip in [None, Some("0.0.0.0"), Some("127.0.0.1")] {
            assert!(needs(&run(host_ip, "172.17.0.2:80"), &here), "{host_ip:?}");
            assert!(!needs(&run(host_ip, "172.17.0.2:80"), &elsewhere));
        }
        assert!(!needs(&run(Some("192.0.2.1"), "172.17.0.2:80"), &here));
        assert!(!needs(&run(None, "[fd00::2]:80"), &network("fd00::/64")));
    }

    #[test]
    fn a_setting_is_written_where_there_is_a_link() {
        let root = tempfile::tempdir().unwrap();
        let setting = root.path().join("tsy01/route_localnet");
        fs::create_dir(root.path().join("tsy01")).unwrap();
        fs::write(&setting, "0\n").unwrap();
        set(root.path(), "tsy01", true);
        set(root.path(), "tsy02", true);
        assert_eq!(fs::read_to_string(&setting).unwrap(), "1");
        assert!(!root.path().join("tsy02").exists());
    }
}
