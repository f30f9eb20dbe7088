//! What `docker network create -o` and `docker run --network ..,driver-opt=` take.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_api::RateSettings;
use serde_json::Value;

use super::rates::{NAMES as RATES, rates};
use super::wire::{GENERIC, Options, Refusal};
use crate::driver::{DRIVER, DRIVERS};

/// A network's options, checked and sorted by whom they concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NetworkOptions {
    /// The tapestry network to attach to, instead of making one.
    pub(super) network: Option<String>,
    pub(super) mtu: Option<u16>,
    /// Where ports are published that name no address.
    pub(super) host_ip: Option<IpAddr>,
    /// What containers call their links, without the number.
    pub(super) prefix: Option<String>,
    /// The agent's own, which checks their values.
    pub(super) agents: BTreeMap<String, String>,
}

impl NetworkOptions {
    pub(super) fn read(options: &Options) -> Result<Self, Refusal> {
        let mut read = Self::default();
        let given = generic(options)?;
        for (name, value) in given.clone() {
            match name.as_str() {
                NETWORK => read.network = Some(value),
                MTU => read.mtu = Some(number(&name, &value)?),
                HOST_IP => read.host_ip = Some(address(&name, &value)?),
                ICC if value == "false" => {
                    read.agents.insert("isolated".to_owned(), "on".to_owned());
                }
                PREFIX => read.prefix = Some(link_prefix(&name, &value)?),
                DRIVER if !DRIVERS.contains(&value.as_str()) => {
                    return Err(Refusal::new(format!(
                        "option {DRIVER}={value}: there are {}",
                        list(DRIVERS.iter().copied())
                    )));
                }
                known if AGENTS.contains(&known) => {
                    read.agents.insert(name.clone(), value);
                }
                _ => check_dockers(&name, &value)?,
            }
        }
        let is_of_new = read.mtu.is_some() || !read.agents.is_empty();
        match read.network.as_ref().filter(|_| is_of_new) {
            Some(network) => Err(Refusal::new(format!(
                "network={network} is there already; leave {} out, or give it to tapestry network create",
                list(
                    given
                        .keys()
                        .map(String::as_str)
                        .filter(|name| !BESIDE_NETWORK.contains(name))
                )
            ))),
            None => Ok(read),
        }
    }
}

/// Refuses what an endpoint was given and nothing here would do. What the engine itself adds is let through: it adds more with
/// every version.
pub(super) fn check_endpoint(options: &Options) -> Result<(), Refusal> {
    for name in options.keys().map(String::as_str) {
        if name == IFNAME {
            return Err(Refusal::new(format!(
                "{IFNAME} is not for plugins; name the links of all containers by -o {PREFIX}=NAME at docker network create"
            )));
        }
        let own = || VLANS.iter().chain(&RATES);
        let is_known = KATHARA.contains(&name) || own().any(|own| *own == name);
        if !name.starts_with(DOCKERS) && !is_known {
            let known = own().chain(KATHARA).copied();
            return Err(unknown(name, "container", known));
        }
    }
    Ok(())
}

/// The VLANs that an endpoint was given, by `--network name=..,driver-opt=`.
pub(super) fn vlans(options: &Options) -> Result<(Option<u16>, Option<String>), Refusal> {
    let text = |name: &str| match options.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(value @ Value::Number(_)) => Ok(Some(value.to_string())),
        Some(_) => Err(Refusal::new(format!("option {name} is no text"))),
    };
    let vlan = text(VLAN)?.filter(|text| !text.is_empty());
    let vlan = vlan.map(|text| number(VLAN, &text)).transpose()?;
    Ok((vlan, text(TRUNK)?.filter(|text| !text.is_empty())))
}

/// What the container may get and send.
pub(super) fn rates_of(options: &Options) -> Result<RateSettings, Refusal> {
    let text = |name: &str| options.get(name).and_then(Value::as_str);
    rates(text).map_err(|why| Refusal::new(format!("option {why}")))
}

/// The MAC address that Kathara asks for.
pub(super) fn katharas_mac(options: &Options) -> Option<&str> {
    options
        .get(KATHARA_MAC)?
        .as_str()
        .filter(|mac| !mac.is_empty())
}

/// What the user gave by `-o`.
fn generic(options: &Options) -> Result<BTreeMap<String, String>, Refusal> {
    let members = match options.get(GENERIC) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Refusal::new(format!("{GENERIC} is no map of options"))),
    };
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        Value::Bool(_) | Value::Number(_) => Ok((name.clone(), value.to_string())),
        _ => Err(Refusal::new(format!("option {name} is no text"))),
    };
    members.iter().map(text).collect()
}

/// Docker's own options that have a meaning on its bridges: those that say what is so anyway are fine.
fn check_dockers(name: &str, value: &str) -> Result<(), Refusal> {
    let Some((_, only, why)) = DOCKER_OPTIONS.iter().find(|(known, ..)| *known == name) else {
        let known = AGENTS.iter().chain(OURS).copied();
        return Err(unknown(name, "network", known));
    };
    match *only == value {
        true => Ok(()),
        false => Err(Refusal::new(format!("option {name}={value}: {why}"))),
    }
}

fn unknown<'a>(name: &str, of: &str, known: impl Iterator<Item = &'a str> + Clone) -> Refusal {
    let distance = |one: &&str| strsim::damerau_levenshtein(one, name);
    let nearest = known.clone().min_by_key(distance);
    // Of a short word, hardly anything may be otherwise.
    let nearest = nearest.filter(|one| distance(one) <= DISTANCE_MAX.min(one.len() / 2));
    Refusal::new(match nearest {
        Some(one) => format!("option {name:?} is unknown; did you mean {one:?}?"),
        None => format!("option {name:?} is unknown; a {of} takes {}", list(known)),
    })
}

fn number(name: &str, value: &str) -> Result<u16, Refusal> {
    let expected = |_| Refusal::new(format!("option {name}={value}: take a number up to 65535"));
    value.parse().map_err(expected)
}

fn address(name: &str, value: &str) -> Result<IpAddr, Refusal> {
    let expected = |_| {
        Refusal::new(format!(
            "option {name}={value}: take an address of the host"
        ))
    };
    value.parse().map_err(expected)
}

fn link_prefix(name: &str, value: &str) -> Result<String, Refusal> {
    let is_good = (1..=PREFIX_LENGTH_MAX).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphabetic());
    match is_good {
        true => Ok(value.to_owned()),
        false => Err(Refusal::new(format!(
            "option {name}={value}: take 1 to {PREFIX_LENGTH_MAX} letters"
        ))),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

pub(super) const NETWORK: &str = "network";
const MTU: &str = "com.docker.network.driver.mtu";
const HOST_IP: &str = "com.docker.network.bridge.host_binding_ipv4";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const IFNAME: &str = "com.docker.network.endpoint.ifname";
const DOCKERS: &str = "com.docker.";
/// What an attachment to a network takes that is there already.
const BESIDE_NETWORK: &[&str] = &[NETWORK, HOST_IP, PREFIX];
const OURS: &[&str] = &[NETWORK, MTU, HOST_IP, PREFIX];
/// As `tapestry network create -o` takes them.
const AGENTS: &[&str] = &[
    DRIVER,
    "parent",
    "macvlan_mode",
    "ipvlan_mode",
    "ipvlan_flag",
    "mac",
    "uplink",
    "tap",
    "transparent",
    "join",
    "guard",
    "dhcp",
    "ra",
    "bum",
    "rate",
    "fdb.ageing",
    "fdb.learning",
    "snooping",
    "learn_limit",
    "isolated",
    "bpdu_guard",
    "storm_broadcast",
    "storm_multicast",
    "storm_unknown",
    "dns.record",
    "dns.rebind",
    "dns.intercept",
    "vlan",
    "vlan_protocol",
    "vlan_default",
    "encap",
    "vni",
    "remote",
    "dstport",
    "local",
    "tos",
    "ttl",
    "df",
];
const VLAN: &str = "com.tapestry.vlan";
const TRUNK: &str = "com.tapestry.trunk";
/// Of endpoints, on networks that are aware of VLANs.
const VLANS: &[&str] = &[VLAN, TRUNK];
const KATHARA_MAC: &str = "kathara.mac_addr";
const KATHARA: &[&str] = &[
    "kathara.machine",
    "kathara.iface",
    "kathara.link",
    KATHARA_MAC,
];
/// Each with the one value that is so anyway, and why no other.
const DOCKER_OPTIONS: &[(&str, &str, &str)] = &[
    (
        "com.docker.network.bridge.name",
        "",
        "a tapestry network has no bridge in the kernel; leave it out",
    ),
    (
        "com.docker.network.bridge.default_bridge",
        "false",
        "a plugin's network cannot be the default one; leave it out",
    ),
    (
        ICC,
        "true",
        "take true, or false for containers that are isolated from each other",
    ),
    (
        "com.docker.network.bridge.enable_ip_masquerade",
        "true",
        "containers leave the host with its address; --internal keeps them inside",
    ),
    (
        "com.docker.network.bridge.inhibit_ipv4",
        "false",
        "the gateway is the network's own; --internal takes it away",
    ),
    (
        "com.docker.network.bridge.gateway_mode_ipv4",
        "nat",
        "containers leave the host with its address; --internal keeps them inside",
    ),
    (
        "com.docker.network.bridge.gateway_mode_ipv6",
        "nat",
        "containers leave the host with its address; --internal keeps them inside",
    ),
];
/// More than this is another word.
const DISTANCE_MAX: usize = 3;
/// A link's name has 15 bytes, with the number.
const PREFIX_LENGTH_MAX: usize = 11;

#[cfg(test)]
mod tests {
    use agent_api::Driver;
    use serde_json::json;

    use super::*;
    use crate::driver::driver_for;

    fn read(given: Value) -> Result<NetworkOptions, Refusal> {
        NetworkOptions::read(&[(GENERIC.to_owned(), given)].into())
    }

    fn refused(given: Value) -> String {
        read(given).unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_is_nothing_wished() {
        assert_eq!(read(json!(null)).unwrap(), NetworkOptions::default());
        assert_eq!(read(json!({})).unwrap(), NetworkOptions::default());
        let none = NetworkOptions::read(&Options::new()).unwrap();
        assert_eq!(none, NetworkOptions::default());
    }

    #[test]
    fn options_go_where_they_have_a_meaning() {
        let read = read(json!({
            MTU: "1400", HOST_IP: "127.0.0.1", PREFIX: "net", "encap": "quic", "vni": "7",
            "com.docker.network.bridge.enable_icc": "true",
        }))
        .unwrap();
        assert_eq!(read.mtu, Some(1400));
        assert_eq!(read.host_ip, Some([127, 0, 0, 1].into()));
        assert_eq!(read.prefix.as_deref(), Some("net"));
        assert_eq!(read.agents.len(), 2);
        assert_eq!(driver_for(&read.agents), Driver::Overlay);
        let apart = self::read(json!({ICC: "false"})).unwrap();
        assert_eq!(apart.agents["isolated"], "on");
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (given, part) in [
            (json!({"netwrok": "red"}), r#"did you mean "network"?"#),
            (json!({"enacp": "quic"}), r#"did you mean "encap"?"#),
            (json!({"father": "eth0"}), "a network takes"),
            (json!({"driver": "vlan"}), "there are bridge"),
            (
                json!({"com.docker.network.bridge.name": "br0"}),
                "no bridge",
            ),
            (json!({ICC: "perhaps"}), "enable_icc=perhaps"),
            (json!({MTU: "many"}), "mtu=many"),
            (json!({PREFIX: "eth0"}), "eth0"),
            (json!({"vni": [7]}), "vni"),
            (json!(7), "no map"),
        ] {
            let told = refused(given);
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn a_network_that_is_there_takes_no_options_of_a_new_one() {
        let told = refused(json!({"network": "red", "vni": "7", MTU: "1400"}));
        assert!(told.contains("red") && told.contains("vni"), "{told}");
        let read = read(json!({"network": "red", HOST_IP: "127.0.0.1"})).unwrap();
        assert_eq!(read.network.as_deref(), Some("red"));
    }

    #[test]
    fn an_endpoints_vlans_are_read() {
        let read = |options: Value| vlans(&serde_json::from_value(options).unwrap());
        assert_eq!(read(json!({})).unwrap(), (None, None));
        let both = read(json!({ VLAN: "10", TRUNK: "20-30,40" })).unwrap();
        assert_eq!(both, (Some(10), Some("20-30,40".to_owned())));
        assert!(read(json!({ VLAN: "ten" })).is_err());
        assert!(read(json!({ TRUNK: [10] })).is_err());
    }

    #[test]
    fn an_endpoint_takes_katharas_options_and_the_engines() {
        let options = |name: &str| Options::from([(name.to_owned(), json!("00:00:00:00:00:01"))]);
        check_endpoint(&options("com.docker.network.endpoint.exposedports")).unwrap();
        check_endpoint(&options(KATHARA_MAC)).unwrap();
        assert!(katharas_mac(&options(KATHARA_MAC)).is_some());
        check_endpoint(&options(VLAN)).unwrap();
        let told = check_endpoint(&options("com.tapestry.vlans"))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("did you mean \"com.tapestry.vlan\""),
            "{told}"
        );
        let told = check_endpoint(&options("kathara.mac"))
            .unwrap_err()
            .to_string();
        assert!(told.contains("kathara.mac"), "{told}");
        assert!(check_endpoint(&options(IFNAME)).is_err());
    }
}
