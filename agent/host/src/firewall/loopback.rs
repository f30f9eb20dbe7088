//! The way of the host's loopback addresses to containers, and back.
//!
//! The kernel keeps packets from and to 127.0.0.0/8 on `lo`, unless a link's `route_localnet` says otherwise. A client that
//! connects to `127.0.0.1:8080` needs it on the link of the network where the filter leads it. The other use of it, that
//! containers reach what listens on the host's loopback, is what our prerouting rules drop: so it is set after them, only
//! where a port needs it, and unset before them.
//!
//! There is no such setting for `::1`. What is sent from there leaves with the gateway's address; what is answered is for `::1` again
//! once connection tracking has seen it, and the kernel takes it in where a local route leads there by the link on which it came
//! ([`Netlink::lead_loopback6`]). From a wire, it takes in nothing that bears that address.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use agent_core::firewall::{NetworkRules, Published, Rules};

use crate::netlink::{Netlink, NetlinkError};

/// What is set, as far as the agent has set it.
#[derive(Debug, Default)]
pub(super) struct Loopback {
    /// The links that it may be set on; absent as long as an earlier life of the agent may have set it anywhere.
    led: Option<BTreeSet<Way>>,
}

/// A link, and the family that is led by it.
type Way = (String, Family);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Loopback {
    /// Sets what `rules` need, and unsets what they do not. Call it when they are in place.
    pub(super) fn lead_out(&mut self, rules: &Rules) {
        let needed = needed(rules);
        let is_due = |way: &Way| match &self.led {
            Some(led) => led.contains(way) != needed.contains(way),
            None => true,
        };
        let ways = rules.networks.iter().flat_map(ways_of);
        for way in ways.filter(is_due) {
            set(&way, needed.contains(&way));
        }
        self.led = Some(needed);
    }

    /// The same for a link that came after the rules.
    pub(super) fn lead_one(&mut self, network: &NetworkRules, published: &[Published]) {
        for way in ways_of(network) {
            let is_needed = published.iter().any(|run| needs(run, network, way.1));
            set(&way, is_needed);
            if let (true, Some(led)) = (is_needed, &mut self.led) {
                led.insert(way);
            }
        }
    }

    /// Unsets it on all our links.
    pub(super) fn keep_in(&mut self) {
        let root = Path::new(LINKS);
        let links = fs::read_dir(root).into_iter().flatten().flatten();
        let names = links.filter_map(|link| link.file_name().into_string().ok());
        for link in names.filter(|name| name.starts_with(OWN_LINKS)) {
            for family in FAMILIES {
                set(&(link.clone(), family), false);
            }
        }
        self.led = Some(BTreeSet::new());
    }
}

/// The ways to networks where something is published on the loopback.
fn needed(rules: &Rules) -> BTreeSet<Way> {
    let runs = rules.published.iter().filter(|run| is_on_loopback(run));
    let runs: Vec<&Published> = runs.collect();
    let mut needed = BTreeSet::new();
    for network in &rules.networks {
        let ways = ways_of(network).into_iter();
        needed
            .extend(ways.filter(|(_, family)| runs.iter().any(|run| needs(run, network, *family))));
    }
    needed
}

fn ways_of(network: &NetworkRules) -> [Way; 2] {
    FAMILIES.map(|family| (network.host_link.clone(), family))
}

fn is_on_loopback(run: &Published) -> bool {
    let to_loopback = run
        .host_ip
        .is_none_or(|host_ip| host_ip.is_unspecified() || host_ip.is_loopback());
    to_loopback && run.is_within_reach()
}

fn needs(run: &Published, network: &NetworkRules, family: Family) -> bool {
    let is_here = |container: IpAddr| {
        let mut subnets = network.subnets.iter();
        subnets.any(|subnet| subnet.contains(&container))
    };
    let is_family = run.container.is_ipv4() == (family == Family::V4);
    is_on_loopback(run) && is_family && is_here(run.container.ip())
}

fn set((link, family): &Way, on: bool) {
    let done = match family {
        Family::V4 => set_v4(Path::new(LINKS), link, on).map_err(|error| error.to_string()),
        Family::V6 => set_v6(link, on).map_err(|error| error.to_string()),
    };
    if let Err(error) = done {
        tracing::warn!(link, %error, "published ports are not reached by the host's loopback addresses");
    }
}

/// A link that is gone needs nothing.
fn set_v6(link: &str, on: bool) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open()?;
    match netlink.link_by_name(link) {
        Ok(link) => netlink.lead_loopback6(&link, on),
        Err(NetlinkError::NoSuchLink(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn set_v4(root: &Path, link: &str, on: bool) -> io::Result<()> {
    let path = root.join(link).join("route_localnet");
    let value = if on { "1" } else { "0" };
    let is_so = fs::read_to_string(&path).is_ok_and(|text| text.trim() == value);
    // A link that is gone needs nothing.
    if is_so || !path.exists() {
        return Ok(());
    }
    fs::write(&path, value)
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
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
            lan: false,
            routed_by: None,
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
            let run = run(host_ip, "172.17.0.2:80");
            assert!(needs(&run, &here, Family::V4), "{host_ip:?}");
            assert!(!needs(&run, &here, Family::V6), "{host_ip:?}");
            assert!(!needs(&run, &elsewhere, Family::V4));
        }
        let elsewhere = run(Some("192.0.2.1"), "172.17.0.2:80");
        assert!(!needs(&elsewhere, &here, Family::V4));
        let here = network("fd00::/64");
        for host_ip in [None, Some("::"), Some("::1")] {
            let run = run(host_ip, "[fd00::2]:80");
            assert!(needs(&run, &here, Family::V6), "{host_ip:?}");
            assert!(!needs(&run, &here, Family::V4), "{host_ip:?}");
        }
        let link_local = run(Some("fe80::1"), "[fd00::2]:80");
        assert!(!needs(&link_local, &here, Family::V6));
    }

    #[test]
    fn a_setting_is_written_where_there_is_a_link() {
        let root = tempfile::tempdir().unwrap();
        let setting = root.path().join("tsy01/route_localnet");
        fs::create_dir(root.path().join("tsy01")).unwrap();
        fs::write(&setting, "0\n").unwrap();
        set_v4(root.path(), "tsy01", true).unwrap();
        set_v4(root.path(), "tsy02", true).unwrap();
        assert_eq!(fs::read_to_string(&setting).unwrap(), "1");
        assert!(!root.path().join("tsy02").exists());
    }
}
