//! What on this host would block or bend our packets: for `tapestry doctor`.

use std::fs;
use std::path::Path;

use agent_core::firewall::DEFAULT_MARK_BIT;
use agent_core::ipam::{DefaultPool, dockers_pools_v4};
use ipnet::IpNet;
use serde_json::Value;

use super::docker::DOCKER_USER;
use super::firewalld::FIREWALLD_TABLE;
use super::nft::{FirewallError, Nft, objects, program};
use crate::netlink::{Netlink, NetlinkError};

/// Something a person should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub why: String,
    /// Absent where nothing is to be done.
    pub remedy: Option<String>,
}

/// Looks at the packet filter and the kernel's settings of the calling thread's namespace. Changes nothing.
pub fn diagnose() -> Vec<Finding> {
    let mut findings = Vec::new();
    match ruleset() {
        Ok(ruleset) => findings.extend(filter_findings(&ruleset)),
        Err(finding) => findings.push(finding),
    }
    findings.extend(setting_findings(&|name| {
        let path = Path::new("/proc/sys").join(name);
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned())
    }));
    findings.extend(legacy_finding(Path::new("/proc/net")));
    if let Ok(addresses) = addresses_with_links() {
        findings.extend(pool_findings(&addresses));
    }
    findings
}

/// Rules of the old iptables live beside nftables, unseen by it.
fn legacy_finding(proc_net: &Path) -> Option<Finding> {
    let tables = ["ip_tables_names", "ip6_tables_names"];
    let used = tables.iter().any(|file| {
        fs::read_to_string(proc_net.join(file))
            .is_ok_and(|names| names.lines().any(|name| name == "filter"))
    });
    used.then(|| {
        finding(
            "iptables-legacy has a filter table",
            "a policy or rule there that drops forwarded packets is out of the agent's reach",
            "switch to iptables-nft (update-alternatives --set iptables /usr/sbin/iptables-nft) \
             and restart what made the rules",
        )
    })
}

fn addresses_with_links() -> Result<Vec<(String, IpNet)>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let named = netlink.addresses()?.into_iter().filter_map(|entry| {
        let link = links.iter().find(|link| link.index == entry.link_index)?;
        Some((link.name.clone(), entry.address))
    });
    Ok(named.collect())
}

/// Others that use Docker's default subnets: no fault, but why a first network is not 172.17.0.0/16.
fn pool_findings(addresses: &[(String, IpNet)]) -> Vec<Finding> {
    let pools = dockers_pools_v4();
    let foreign = addresses.iter().filter(|(link, address)| {
        let base = |pool: &DefaultPool| pool.base.contains(&address.addr());
        !link.starts_with(OWN_LINKS) && pools.iter().any(base)
    });
    let described = foreign.map(|(link, address)| {
        finding(
            &format!(
                "link {link} uses {}, one of the default subnets",
                address.trunc()
            ),
            "networks made without --subnet skip it; give one to use it all the same",
            None,
        )
    });
    described.collect()
}

fn ruleset() -> Result<Value, Finding> {
    let listing = Nft::find().and_then(|nft| nft.list(&["list", "ruleset"]));
    listing.map_err(|error| match error {
        FirewallError::NftMissing => finding(
            "nft is not installed",
            "masquerading and published ports are rules of nftables",
            "install the package nftables",
        ),
        error => finding(
            "nft cannot list the ruleset",
            &error.to_string(),
            "run `nft list ruleset` as root and see what it says",
        ),
    })
}

fn filter_findings(ruleset: &Value) -> Vec<Finding> {
    let has_docker_user = objects(ruleset, "chain")
        .any(|chain| chain["name"] == DOCKER_USER && chain["table"] == "filter");
    let mut findings = Vec::new();
    for chain in objects(ruleset, "chain") {
        let (Some(table), Some(name)) = (chain["table"].as_str(), chain["name"].as_str()) else {
            continue;
        };
        let family = chain["family"].as_str().unwrap_or_default();
        if table == "tapestry" || !["ip", "ip6", "inet"].contains(&family) {
            continue;
        }
        let forwards = chain["hook"] == "forward";
        let handled_by_docker_user = table == "filter" && has_docker_user;
        let firewalld = table == FIREWALLD_TABLE;
        if forwards && chain["policy"] == "drop" && !handled_by_docker_user {
            findings.push(finding(
                &format!("chain {name} of table {family} {table} drops forwarded packets"),
                "its policy is drop, and no table can overrule another's drop",
                drop_remedy(family, table, name).as_str(),
            ));
        } else if forwards && firewalld && program("firewall-cmd").is_none() {
            findings.push(finding(
                "firewalld is active, but firewall-cmd is not found",
                "the agent cannot add its links to the zone trusted",
                "install firewall-cmd, or add the links tsy* to a zone that forwards",
            ));
        }
    }
    findings
}

fn drop_remedy(family: &str, table: &str, name: &str) -> String {
    let mark = DEFAULT_MARK_BIT;
    format!(
        "let marked packets pass: nft insert rule {family} {table} {name} \
         meta mark \\& {mark:#x} == {mark:#x} accept"
    )
}

fn setting_findings(setting: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if setting("net/ipv4/ip_forward").as_deref() == Some("0") {
        findings.push(finding(
            "IPv4 forwarding is off",
            "containers reach only the host until it is on",
            "start the agent as root, which turns it on, or run sysctl -w net.ipv4.ip_forward=1",
        ));
    }
    if setting("net/ipv4/conf/all/rp_filter").as_deref() == Some("1") {
        findings.push(finding(
            "reverse path filtering is strict",
            "on a host with several uplinks, answers that come back through another one are dropped",
            "sysctl -w net.ipv4.conf.all.rp_filter=2 where there are several uplinks",
        ));
    }
    if setting("net/bridge/bridge-nf-call-iptables").as_deref() == Some("1") {
        findings.push(finding(
            "bridged frames pass iptables (bridge-nf-call-iptables is 1)",
            "frames of kernel bridges see the forward chains; ours do not, as they use no kernel bridge",
            None,
        ));
    }
    let maximum = setting("net/netfilter/nf_conntrack_max").and_then(|text| text.parse().ok());
    let count = setting("net/netfilter/nf_conntrack_count").and_then(|text| text.parse().ok());
    if let (Some(maximum), Some(count)) = (maximum, count)
        && nearly_full(count, maximum)
    {
        findings.push(finding(
            &format!("connection tracking is nearly full: {count} of {maximum}"),
            "new connections are dropped when it is",
            "sysctl -w net.netfilter.nf_conntrack_max to a larger number",
        ));
    }
    findings
}

const fn nearly_full(count: u64, maximum: u64) -> bool {
    count > maximum - maximum / 10
}

fn finding<'r>(what: &str, why: &str, remedy: impl Into<Option<&'r str>>) -> Finding {
    Finding {
        what: what.to_owned(),
        why: why.to_owned(),
        remedy: remedy.into().map(str::to_owned),
    }
}

const OWN_LINKS: &str = "tsy";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn forward_chain(family: &str, table: &str, policy: &str) -> Value {
        json!({"chain": {"family": family, "table": table, "name": "FORWARD", "handle": 1,
            "type": "filter", "hook": "forward", "prio": 0, "policy": policy}})
    }

    fn whats(objects: &[Value]) -> Vec<String> {
        let found = filter_findings(&json!({ "nftables": objects }));
        found.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_foreign_forward_chain_with_policy_drop_is_found() {
        assert_eq!(
            whats(&[forward_chain("inet", "ufw", "drop")]),
            ["chain FORWARD of table inet ufw drops forwarded packets"]
        );
        assert!(whats(&[forward_chain("inet", "ufw", "accept")]).is_empty());
        assert!(whats(&[forward_chain("inet", "tapestry", "drop")]).is_empty());
        assert!(whats(&[forward_chain("bridge", "x", "drop")]).is_empty());
    }

    #[test]
    fn dockers_policy_is_no_finding_while_its_user_chain_is_there() {
        let user = json!({"chain": {"family": "ip", "table": "filter", "name": "DOCKER-USER"}});
        assert!(whats(&[forward_chain("ip", "filter", "drop"), user]).is_empty());
        assert_eq!(whats(&[forward_chain("ip", "filter", "drop")]).len(), 1);
    }

    #[test]
    fn settings_that_block_are_found() {
        let found = setting_findings(&|name| match name {
            "net/ipv4/ip_forward" => Some("0".into()),
            "net/ipv4/conf/all/rp_filter" => Some("1".into()),
            "net/netfilter/nf_conntrack_max" => Some("1000".into()),
            "net/netfilter/nf_conntrack_count" => Some("950".into()),
            _ => None,
        });
        assert_eq!(found.len(), 3);
        assert!(setting_findings(&|_| None).is_empty());
    }

    #[test]
    fn what_asks_for_nothing_has_no_remedy() {
        let found = setting_findings(&|name| {
            (name == "net/bridge/bridge-nf-call-iptables").then(|| "1".into())
        });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].remedy, None);
    }

    #[test]
    fn default_subnets_that_others_use_are_named() {
        let found = pool_findings(&[
            ("docker0".into(), "172.17.0.1/16".parse().unwrap()),
            ("tsy01".into(), "172.18.0.1/16".parse().unwrap()),
            ("eth0".into(), "10.0.0.1/8".parse().unwrap()),
        ]);
        let whats: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            whats,
            ["link docker0 uses 172.17.0.0/16, one of the default subnets"]
        );
    }

    #[test]
    fn a_filter_table_of_the_old_iptables_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(legacy_finding(dir.path()).is_none());
        fs::write(dir.path().join("ip_tables_names"), "nat\nfilter\n").unwrap();
        assert!(legacy_finding(dir.path()).is_some());
    }
}
