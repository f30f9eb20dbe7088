//! What CNI asks for, in the agent's words, and the agent's answer in CNI's.
//!
//! # Theory of operation
//!
//! The agent keeps what is attached; the plugin keeps nothing. An endpoint is known again by an alias made of the container's id,
//! by its network and by its link's name, so that DEL, CHECK and GC find it when the namespace has gone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use agent_api::{DnsServer, EndpointCreate, EndpointDetail, EndpointSettings, NetworkDetail};
use ipnet::IpNet;

use super::wire::{
    Attachment, Config, DECODE_FAILURE, Dns, Failure, INCOMPATIBLE_VERSION, INVALID_CONFIG,
    INVALID_ENVIRONMENT, Interface, Ip, Route, SUPPORTED, Success, UNSUPPORTED_FIELD, V0_4, V1_1,
};

/// What the environment says, of which not every command needs everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub(super) container_id: String,
    pub(super) netns: String,
    pub(super) ifname: String,
    /// `KEY=VALUE;KEY=VALUE`, in any order.
    pub(super) args: String,
}

impl Environment {
    fn arg(&self, key: &str) -> Option<&str> {
        let pairs = self.args.split(';').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == key);
        values
            .next()
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }
}

/// Reads the configuration, of a version that is spoken here.
pub(super) fn read_config(text: &[u8]) -> Result<Config, Failure> {
    let config: Config = serde_json::from_slice(text).map_err(|error| {
        Failure::new(
            DECODE_FAILURE,
            format!("the configuration is not understood: {error}"),
        )
    })?;
    if !SUPPORTED.contains(&config.cni_version.as_str()) {
        let message = format!(
            "cniVersion {:?} is not spoken; write one of {}",
            config.cni_version,
            SUPPORTED.join(", ")
        );
        return Err(Failure::new(INCOMPATIBLE_VERSION, message));
    }
    if config.name.is_empty() {
        return Err(Failure::new(
            INVALID_CONFIG,
            "name is missing; name the network",
        ));
    }
    Ok(config)
}

/// The agent's name of the network.
pub(super) fn network_of(config: &Config) -> &str {
    config.network.as_deref().unwrap_or(&config.name)
}

/// ADD as a request, with everything refused that would be promised and not be done.
pub(super) fn endpoint(config: &Config, env: &Environment) -> Result<EndpointCreate, Failure> {
    refuse_unserved(config)?;
    for (name, value) in [
        ("CNI_CONTAINERID", &env.container_id),
        ("CNI_NETNS", &env.netns),
        ("CNI_IFNAME", &env.ifname),
    ] {
        if value.is_empty() {
            let message = format!("{name} is missing; a runtime sets it for ADD");
            return Err(Failure::new(INVALID_ENVIRONMENT, message));
        }
    }
    let mut aliases = vec![key(&env.container_id)];
    let wished = config.runtime_config.aliases.get(&config.name);
    aliases.extend(wished.into_iter().flatten().cloned());
    let (name, short) = names(env);
    aliases.extend(short);
    let (ip, ip6) = addresses(config, env)?;
    let mac = config.runtime_config.mac.as_deref().or(env.arg("MAC"));
    Ok(EndpointCreate {
        network: network_of(config).to_owned(),
        name,
        sandbox: Some(PathBuf::from(&env.netns)),
        link: Some(env.ifname.clone()),
        dns: servers(config)?,
        settings: EndpointSettings {
            ip,
            ip6,
            mac: mac.map(str::to_owned),
            aliases,
        },
        ..EndpointCreate::default()
    })
}

/// What an endpoint is known by again.
pub(super) fn key(container_id: &str) -> String {
    let kept = container_id.chars().take(ID_LENGTH_MAX);
    kept.chain(KEY_END.chars()).collect()
}

/// The endpoint of a container's interface.
pub(super) fn find<'n>(
    network: &'n NetworkDetail,
    container_id: &str,
    ifname: &str,
) -> Option<&'n EndpointDetail> {
    let key = key(container_id);
    let mut endpoints = network.endpoints.iter();
    endpoints.find(|endpoint| endpoint.link == ifname && endpoint.aliases.contains(&key))
}

/// Those that CNI made on the network and that no runtime has any more.
pub(super) fn garbage<'n>(
    network: &'n NetworkDetail,
    valid: &[Attachment],
) -> impl Iterator<Item = &'n EndpointDetail> {
    let kept = valid.iter();
    let kept = kept.filter_map(|kept| find(network, &kept.container_id, &kept.ifname));
    let kept: BTreeSet<_> = kept.map(|endpoint| &endpoint.id).collect();
    let is_of_cni = |endpoint: &&EndpointDetail| {
        let mut aliases = endpoint.aliases.iter();
        aliases.any(|alias| alias.ends_with(KEY_END))
    };
    let of_cni = network.endpoints.iter().filter(is_of_cni);
    of_cni.filter(move |endpoint| !kept.contains(&endpoint.id))
}

/// The answer to ADD.
pub(super) fn success(
    config: &Config,
    netns: &str,
    network: &NetworkDetail,
    endpoint: &EndpointDetail,
) -> Success {
    let gateway = |address: &IpNet| {
        let mut gateways = endpoint.gateways.iter().copied();
        gateways.find(|gateway| gateway.is_ipv4() == address.addr().is_ipv4())
    };
    let ips = endpoint.addresses.iter().map(|address| Ip {
        version: (config.cni_version == V0_4).then_some(family(address.addr())),
        address: *address,
        gateway: gateway(address).filter(|_| !network.internal),
        interface: 0,
    });
    let ways_out = endpoint.gateways.iter().filter(|_| !network.internal);
    Success {
        cni_version: config.cni_version.clone(),
        interfaces: vec![Interface {
            name: endpoint.link.clone(),
            mac: endpoint.mac.clone(),
            sandbox: netns.to_owned(),
            mtu: (config.cni_version == V1_1).then_some(network.mtu),
        }],
        ips: ips.collect(),
        routes: ways_out.map(|gateway| default_route(*gateway)).collect(),
        dns: dns(config, endpoint),
    }
}

/// The network's forwarder, which asks whoever was named.
fn dns(config: &Config, endpoint: &EndpointDetail) -> Dns {
    let runtime = config.runtime_config.dns.clone().unwrap_or_default();
    let or = |first: Vec<String>, second: &[String]| match first.is_empty() {
        true => second.to_vec(),
        false => first,
    };
    Dns {
        nameservers: endpoint.gateways.iter().map(IpAddr::to_string).collect(),
        domain: config.dns.domain.clone(),
        search: or(runtime.searches, &config.dns.search),
        options: or(runtime.options, &config.dns.options),
    }
}

fn default_route(gw: IpAddr) -> Route {
    let dst = if gw.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    Route { dst, gw }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "4" } else { "6" }
}

fn refuse_unserved(config: &Config) -> Result<(), Failure> {
    let runtime = &config.runtime_config;
    let has_ipam = config.ipam.as_ref().is_some_and(|ipam| {
        let mut members = ipam.as_object().into_iter().flatten();
        members.next().is_some()
    });
    let refused = [
        (
            has_ipam,
            "ipam: addresses are the network's own; leave it out, and give --subnet to tapestry network create",
        ),
        (
            config.vlan.is_some_and(|vlan| vlan != 0),
            "vlan: networks are separate anyway; leave it out, and make one network for each",
        ),
        (
            !runtime.port_mappings.is_empty(),
            "portMappings: this plugin publishes no ports; leave the capability out",
        ),
        (
            runtime.bandwidth.is_some(),
            "bandwidth: this plugin limits no rates; leave the capability out",
        ),
    ];
    let refused = refused.into_iter().find(|(is_there, _)| *is_there);
    refused.map_or(Ok(()), |(_, why)| Err(Failure::new(UNSUPPORTED_FIELD, why)))
}

/// What the network's names call it, and by which alias too: the pod, where an orchestrator says which, else the container.
fn names(env: &Environment) -> (String, Option<String>) {
    match (env.arg(POD), env.arg(NAMESPACE)) {
        (Some(pod), Some(namespace)) => (format!("{pod}.{namespace}"), Some(pod.to_owned())),
        (Some(container), None) => (container.to_owned(), None),
        _ => {
            let id = env.container_id.chars().take(NAME_LENGTH_MAX);
            (id.collect(), None)
        }
    }
}

fn addresses(
    config: &Config,
    env: &Environment,
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Failure> {
    let (mut ip, mut ip6) = (None, None);
    let named = env.arg("IP").into_iter().flat_map(|list| list.split(','));
    for text in config
        .runtime_config
        .ips
        .iter()
        .map(String::as_str)
        .chain(named)
    {
        let plain = text.split('/').next().unwrap_or(text);
        match plain.parse() {
            Ok(IpAddr::V4(address)) => ip = Some(address),
            Ok(IpAddr::V6(address)) => ip6 = Some(address),
            Err(_) => {
                let message =
                    format!("{text:?} is no address; write one as 10.1.0.9 or 10.1.0.9/24");
                return Err(Failure::new(INVALID_CONFIG, message));
            }
        }
    }
    Ok((ip, ip6))
}

fn servers(config: &Config) -> Result<Vec<DnsServer>, Failure> {
    let runtime = config.runtime_config.dns.as_ref().map(|dns| &dns.servers);
    let named = runtime.filter(|servers| !servers.is_empty());
    let named = named.unwrap_or(&config.dns.nameservers).iter();
    named
        .map(|server| {
            let parsed = server.parse::<DnsServer>();
            parsed.map_err(|error| Failure::new(INVALID_CONFIG, error.to_string()))
        })
        .collect()
}

/// An alias takes 63 characters.
const ID_LENGTH_MAX: usize = 59;
const NAME_LENGTH_MAX: usize = 63;
const KEY_END: &str = ".cni";
const POD: &str = "K8S_POD_NAME";
const NAMESPACE: &str = "K8S_POD_NAMESPACE";

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(r#"{{"cniVersion": "1.0.0", "name": "red", "type": "tapestry"{more}}}"#);
        read_config(text.as_bytes()).unwrap()
    }

    fn env(args: &str) -> Environment {
        Environment {
            container_id: "c1".into(),
            netns: "/run/netns/c1".into(),
            ifname: "eth0".into(),
            args: args.into(),
        }
    }

    #[test]
    fn wishes_come_by_arguments_and_by_capabilities() {
        let wished = endpoint(
            &config(""),
            &env("MAC=02:00:00:00:00:05;K8S_POD_NAME=web;IP=10.1.0.9"),
        )
        .unwrap();
        assert_eq!(wished.name, "web");
        assert_eq!(wished.settings.ip, Some([10, 1, 0, 9].into()));
        assert_eq!(wished.settings.mac.as_deref(), Some("02:00:00:00:00:05"));
        let config = config(
            r#", "network": "blue", "runtimeConfig": {"ips": ["10.1.0.7/24", "fd01::7"], "mac": "02:00:00:00:00:06",
            "aliases": {"red": ["www"], "other": ["not"]}, "dns": {"servers": ["9.9.9.9"]}}"#,
        );
        let wished = endpoint(&config, &env("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web")).unwrap();
        assert_eq!(
            (wished.name.as_str(), wished.network.as_str()),
            ("web.shop", "blue")
        );
        assert_eq!(wished.settings.ip6, Some("fd01::7".parse().unwrap()));
        assert_eq!(wished.settings.aliases, ["c1.cni", "www", "web"]);
        assert_eq!(wished.dns, ["9.9.9.9".parse().unwrap()]);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (member, name) in [
            (r#""ipam": {"type": "host-local"}"#, "ipam"),
            (r#""vlan": 5"#, "vlan"),
            (
                r#""runtimeConfig": {"portMappings": [{"HostPort": 80}]}"#,
                "portMappings",
            ),
            (
                r#""runtimeConfig": {"bandwidth": {"ingressRate": 1}}"#,
                "bandwidth",
            ),
        ] {
            let refused = endpoint(&config(&format!(", {member}")), &env("")).unwrap_err();
            assert_eq!(refused.code, UNSUPPORTED_FIELD);
            assert!(refused.message.starts_with(name), "{refused}");
        }
        assert!(endpoint(&config(r#", "ipam": {}, "vlan": 0"#), &env("")).is_ok());
    }

    #[test]
    fn a_malformed_call_is_told_by_the_specifications_codes() {
        let code = |text: &str| read_config(text.as_bytes()).unwrap_err().code;
        assert_eq!(code("{"), DECODE_FAILURE);
        assert_eq!(code(r#"{"name": 5}"#), DECODE_FAILURE);
        assert_eq!(code(r#"{"name": "red"}"#), INCOMPATIBLE_VERSION);
        assert_eq!(
            code(r#"{"cniVersion": "9.0.0", "name": "red"}"#),
            INCOMPATIBLE_VERSION
        );
        assert_eq!(code(r#"{"cniVersion": "1.0.0"}"#), INVALID_CONFIG);
        let without = Environment {
            netns: String::new(),
            ..env("")
        };
        assert_eq!(
            endpoint(&config(""), &without).unwrap_err().code,
            INVALID_ENVIRONMENT
        );
        assert_eq!(
            endpoint(&config(""), &env("IP=ten")).unwrap_err().code,
            INVALID_CONFIG
        );
    }

    #[test]
    fn an_id_of_docker_length_makes_an_alias_that_names_allow() {
        assert_eq!(key(&"a".repeat(64)).len(), 63);
    }
}
