//! Networks: what podman wants of them, and what it keeps of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_api::{DnsServer, Driver, NetworkCreate, NetworkDetail, Scope};
use serde_json::{Map, Value, json};

use super::subnet::{ip_range, subnets};
use crate::driver::take_driver;
use crate::netavark::wire::{Failure, IPAM_DRIVER, Network, Subnet};

/// Which network of the agent's podman's is.
#[derive(Clone, Debug)]
pub(in crate::netavark) enum Wanted {
    /// One that others made, by name.
    Joined(String),
    /// One of its own.
    Own(Box<NetworkCreate>),
}

/// The network, with everything refused that would be promised and not be done.
pub(in crate::netavark) fn wanted(network: &Network) -> Result<Wanted, Failure> {
    refuse_unserved(network)?;
    let mut options = network.options.clone().unwrap_or_default();
    if let Some(name) = options.remove(OPTION_NETWORK) {
        refuse_beside_joining(network, &options)?;
        return Ok(Wanted::Joined(name));
    }
    let mtu = mtu(&mut options)?;
    let driver = take_driver(&mut options);
    let asked = network.subnets.as_deref().unwrap_or_default();
    let servers = network.network_dns_servers.iter().flatten();
    let mut labels = network.labels.clone().unwrap_or_default();
    labels.insert(LABEL.to_owned(), network.id.clone());
    Ok(Wanted::Own(Box::new(NetworkCreate {
        id: Some(network.id.clone()),
        name: network.name.clone(),
        driver,
        subnets: asked.iter().map(|asked| asked.subnet).collect(),
        without_addresses: ipam_driver(network) == Some(IPAM_NONE),
        gateways: asked.iter().filter_map(|asked| asked.gateway).collect(),
        ip_range: ip_range(asked)?,
        ipv6: network.ipv6_enabled,
        internal: network.internal,
        mtu,
        dns: servers.map(server).collect::<Result<_, _>>()?,
        options,
        labels,
        ..NetworkCreate::default()
    })))
}

/// Under which name or id the agent has it; for teardown, which is to succeed whatever else the network says.
pub(in crate::netavark) fn name_of(network: &Network) -> &str {
    let options = network.options.as_ref();
    let joined = options.and_then(|options| options.get(OPTION_NETWORK));
    joined.unwrap_or(&network.id)
}

/// Whether it was made for podman, which has forgotten it: what podman makes anew has a name that none of its networks has.
pub(in crate::netavark) fn is_forgotten(found: &NetworkDetail, wanted: &NetworkCreate) -> bool {
    let NetworkDetail {
        summary, endpoints, ..
    } = found;
    // One of the cluster's may be another host's podman's.
    summary.name == wanted.name
        && summary.scope == Scope::Local
        && summary.labels.contains_key(LABEL)
        && Some(&summary.id) != wanted.id.as_ref()
        && endpoints.is_empty()
}

/// The answer to create: the network as it was given, with what the agent made of it.
pub(in crate::netavark) fn filled(
    mut given: Map<String, Value>,
    asked: &Network,
    made: &NetworkDetail,
) -> Value {
    let subnets = subnets(made, asked.subnets.as_deref().unwrap_or_default());
    let has_ipv6 = subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6());
    let mut ipam = asked.ipam_options.clone().unwrap_or_default();
    let driver = ipam.entry(IPAM_DRIVER.to_owned()).or_default();
    if subnets.is_empty() {
        IPAM_NONE.clone_into(driver);
    } else if driver.is_empty() {
        // Podman would give addresses itself, without knowing whom else the network has.
        IPAM_OURS.clone_into(driver);
    }
    for (member, value) in [
        ("subnets", json!(subnets)),
        ("ipv6_enabled", json!(has_ipv6)),
        ("internal", json!(made.internal)),
        ("ipam_options", json!(ipam)),
    ] {
        given.insert(member.to_owned(), value);
    }
    Value::Object(given)
}

fn refuse_unserved(network: &Network) -> Result<(), Failure> {
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if is_given(&network.network_interface) {
        let message =
            "network_interface: the agent names the host's link; leave --interface-name out";
        return Err(Failure::new(message));
    }
    if network.routes.iter().flatten().next().is_some() {
        let message = "routes: containers have the network's gateway alone; leave --route out";
        return Err(Failure::new(message));
    }
    match ipam_driver(network) {
        None | Some(IPAM_NONE | IPAM_OURS | "host-local") => Ok(()),
        Some(other) => Err(Failure::new(format!(
            "ipam_options: addresses are the agent's, or podman's by host-local, not {other}'s; leave --ipam-driver out"
        ))),
    }
}

/// A network that others made is as they made it.
fn refuse_beside_joining(
    network: &Network,
    options: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let is_set = [
        (
            "--dns",
            network
                .network_dns_servers
                .iter()
                .flatten()
                .next()
                .is_some(),
        ),
        (
            "--ipam-driver none",
            ipam_driver(network) == Some(IPAM_NONE),
        ),
    ];
    let set = is_set.into_iter().find(|(_, is_set)| *is_set);
    let set = set.map(|(name, _)| name.to_owned());
    let option = options.keys().next().map(|name| format!("-o {name}"));
    set.or(option).map_or(Ok(()), |name| {
        Err(Failure::new(format!(
            "{name} cannot be given beside -o network=, as that network has what it was made with; leave one of them out"
        )))
    })
}

/// Whether what podman was asked for is what the network has that others made.
pub(in crate::netavark) fn check_joined(
    network: &Network,
    joined: &NetworkDetail,
) -> Result<(), Failure> {
    let name = &joined.summary.name;
    if matches!(joined.summary.driver, Driver::Host | Driver::Null) {
        let message =
            format!("network {name} is no network to join; name one of `tapestry network ls`");
        return Err(Failure::new(message));
    }
    let has = |subnet: &Subnet| {
        let gateway = subnet
            .gateway
            .is_none_or(|gateway| joined.gateways.contains(&gateway));
        joined.subnets.contains(&subnet.subnet) && gateway
    };
    let mut asked = network.subnets.iter().flatten();
    if let Some(other) = asked.find(|subnet| !has(subnet)) {
        let message = format!(
            "network {name} has no subnet {} with that gateway; leave --subnet out",
            other.subnet
        );
        return Err(Failure::new(message));
    }
    let has_ipv6 = joined.subnets.iter().any(|subnet| subnet.addr().is_ipv6());
    for (is_wrong, flag) in [
        (network.internal && !joined.internal, "--internal"),
        (network.ipv6_enabled && !has_ipv6, "--ipv6"),
    ] {
        if is_wrong {
            let message = format!("network {name} was made without {flag}; leave it out");
            return Err(Failure::new(message));
        }
    }
    Ok(())
}

fn ipam_driver(network: &Network) -> Option<&str> {
    let driver = network.ipam_options.as_ref()?.get(IPAM_DRIVER)?;
    Some(driver.as_str()).filter(|driver| !driver.is_empty())
}

fn mtu(options: &mut BTreeMap<String, String>) -> Result<Option<u16>, Failure> {
    let mut found = None;
    for name in MTU_OPTIONS {
        let Some(value) = options.remove(name) else {
            continue;
        };
        let mtu = value.parse().map_err(|_| {
            Failure::new(format!(
                "{name}={value} is no MTU; write bytes of an IP packet, such as 1500"
            ))
        })?;
        found = Some(mtu);
    }
    Ok(found)
}

fn server(address: &IpAddr) -> Result<DnsServer, Failure> {
    let parsed = address.to_string().parse::<DnsServer>();
    parsed.map_err(|error| Failure::new(format!("network_dns_servers: {error}")))
}

/// Joins a network that others made.
const OPTION_NETWORK: &str = "network";
/// Podman's own word and Docker's.
const MTU_OPTIONS: [&str; 2] = ["mtu", "com.docker.network.driver.mtu"];
const IPAM_NONE: &str = "none";
const IPAM_OURS: &str = "tapestry";
/// Marks what was made for podman, with podman's id.
const LABEL: &str = "io.podman.network";
#[cfg(test)]
mod tests {
    use super::*;

    fn network(more: &str) -> Network {
        let text = format!(
            r#"{{"name": "red", "id": "{ID}", "driver": "tapestry", "dns_enabled": true{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn own(more: &str) -> NetworkCreate {
        match wanted(&network(more)).unwrap() {
            Wanted::Own(create) => *create,
            Wanted::Joined(name) => panic!("joins {name}"),
        }
    }

    fn detail(more: &str) -> NetworkDetail {
        let text = format!(
            r#"{{"id": "{ID}", "name": "red", "driver": "bridge", "scope": "local", "subnets": ["10.1.0.0/24"],
            "gateways": ["10.1.0.1"], "gateway_mac": null, "ip_range": null, "ipv6": false, "internal": false, "mtu": 1500,
            "dns": [], "options": {{}}, "host_link": null, "endpoints": [], "drops": {{}}, "forwarder": null}}"#
        );
        let mut detail: Value = serde_json::from_str(&text).unwrap();
        let more: Map<String, Value> = serde_json::from_str(more).unwrap();
        detail.as_object_mut().unwrap().extend(more);
        serde_json::from_value(detail).unwrap()
    }

    #[test]
    fn what_podman_writes_is_what_the_agent_makes() {
        let create = own(
            r#", "subnets": [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.9",
            "lease_range": {"start_ip": "10.1.0.129", "end_ip": "10.1.0.255"}}], "internal": true, "ipv6_enabled": true,
            "network_dns_servers": ["9.9.9.9"], "options": {"com.docker.network.driver.mtu": "1400", "guard": "loose"},
            "labels": {"a": "b"}, "ipam_options": {"driver": "host-local"}, "routes": null, "network_interface": """#,
        );
        assert_eq!(create.id.as_deref(), Some(ID));
        assert_eq!(create.subnets, ["10.1.0.0/24".parse().unwrap()]);
        assert_eq!(create.gateways, ["10.1.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(create.ip_range, Some("10.1.0.128/25".parse().unwrap()));
        assert_eq!(create.dns, ["9.9.9.9".parse().unwrap()]);
        assert_eq!(
            (create.internal, create.ipv6, create.mtu),
            (true, true, Some(1400))
        );
        assert_eq!(
            create.options,
            BTreeMap::from([("guard".into(), "loose".into())])
        );
        assert_eq!(
            (create.labels["a"].as_str(), create.labels[LABEL].as_str()),
            ("b", ID)
        );
        assert_eq!(create.driver, Driver::Bridge);
    }

    #[test]
    fn a_network_is_shared_between_hosts_where_an_option_says_so() {
        for option in [
            r#""vni": "7""#,
            r#""encap": "vxlan""#,
            r#""remote": "192.0.2.1""#,
        ] {
            let create = own(&format!(r#", "options": {{{option}}}"#));
            assert_eq!(create.driver, Driver::Overlay, "{option}");
        }
        assert!(own(r#", "ipam_options": {"driver": "none"}"#).without_addresses);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (more, name) in [
            (r#", "network_interface": "br9""#, "network_interface"),
            (r#", "routes": [{"destination": "10.9.0.0/24"}]"#, "routes"),
            (r#", "ipam_options": {"driver": "dhcp"}"#, "dhcp"),
            (r#", "options": {"mtu": "many"}"#, "mtu=many"),
            (
                r#", "options": {"network": "lab", "mtu": "1400"}"#,
                "-o mtu",
            ),
            (
                r#", "options": {"network": "lab"}, "network_dns_servers": ["9.9.9.9"]"#,
                "--dns",
            ),
            (
                r#", "options": {"network": "lab"}, "ipam_options": {"driver": "none"}"#,
                "none",
            ),
        ] {
            let refused = wanted(&network(more)).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }

    #[test]
    fn a_network_of_others_is_joined_as_it_is() {
        let joins = |more: &str| {
            let more = format!(r#", "options": {{"network": "lab"}}{more}"#);
            let network = network(&more);
            let Wanted::Joined(name) = wanted(&network).unwrap() else {
                panic!("makes a network");
            };
            assert_eq!(name, "lab");
            check_joined(&network, &detail("{}"))
        };
        assert_eq!(joins(""), Ok(()));
        assert_eq!(joins(r#", "subnets": [{"subnet": "10.1.0.0/24"}]"#), Ok(()));
        for (more, name) in [
            (r#", "subnets": [{"subnet": "10.2.0.0/24"}]"#, "10.2.0.0/24"),
            (
                r#", "subnets": [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.9"}]"#,
                "gateway",
            ),
            (r#", "internal": true"#, "--internal"),
            (r#", "ipv6_enabled": true"#, "--ipv6"),
        ] {
            let refused = joins(more).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
        let host = detail(r#"{"driver": "host"}"#);
        assert!(check_joined(&network(""), &host).is_err());
    }

    #[test]
    fn podman_keeps_the_subnets_that_the_agent_chose_and_gives_no_addresses() {
        let given = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let answer = filled(
            given(r#"{"name": "red", "created": "2026-01-01T00:00:00Z"}"#),
            &network(""),
            &detail("{}"),
        );
        assert_eq!(
            answer["subnets"],
            json!([{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}])
        );
        assert_eq!(answer["ipam_options"], json!({"driver": "tapestry"}));
        assert_eq!(answer["created"], "2026-01-01T00:00:00Z");
        assert_eq!(answer["ipv6_enabled"], false);
        let by_podman = network(r#", "ipam_options": {"driver": "host-local"}"#);
        let answer = filled(Map::new(), &by_podman, &detail("{}"));
        assert_eq!(answer["ipam_options"], json!({"driver": "host-local"}));
        let bare = detail(r#"{"subnets": [], "gateways": []}"#);
        let answer = filled(Map::new(), &network(""), &bare);
        assert_eq!(answer["ipam_options"], json!({"driver": "none"}));
    }

    #[test]
    fn only_an_unused_network_of_podmans_on_this_host_is_forgotten() {
        let other = format!(r#"{{"id": "{OTHER}", "labels": {{"{LABEL}": "{OTHER}"}}"#);
        let is_forgotten = |more: &str| is_forgotten(&detail(more), &own(""));
        assert!(is_forgotten(&format!("{other}}}")));
        assert!(!is_forgotten(&format!(r#"{other}, "scope": "global"}}"#)));
        assert!(!is_forgotten(&format!(r#"{other}, "name": "blue"}}"#)));
        assert!(!is_forgotten(&format!(r#"{{"id": "{OTHER}"}}"#)));
        assert!(!is_forgotten(&format!(
            r#"{{"labels": {{"{LABEL}": "{ID}"}}}}"#
        )));
    }

    const ID: &str = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";
    const OTHER: &str = "3f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";
}
