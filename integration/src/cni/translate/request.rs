//! ADD as a request to the agent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use agent_api::{DnsServer, EndpointCreate, EndpointSettings};

use super::bandwidth::rates;
use super::environment::{Environment, NAMESPACE, POD};
use super::known::key;
use super::ports::publish;
use super::vlans::vlans;
use super::words::refuse_unserved;
use crate::cni::wire::{
    Config, DECODE_FAILURE, Failure, INCOMPATIBLE_VERSION, INVALID_CONFIG, SUPPORTED,
};

/// Reads the configuration, of a version that is spoken here.
pub(in crate::cni) fn read_config(text: &[u8]) -> Result<Config, Failure> {
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
pub(in crate::cni) fn network_of(config: &Config) -> &str {
    config.network.as_deref().unwrap_or(&config.name)
}

/// ADD as a request, with everything refused that would be promised and not be done.
pub(in crate::cni) fn endpoint(
    config: &Config,
    env: &Environment,
) -> Result<EndpointCreate, Failure> {
    refuse_unserved(config)?;
    env.check()?;
    let mut aliases = vec![key(&env.container_id)];
    let wished = config.runtime_config.aliases.get(&config.name);
    aliases.extend(wished.into_iter().flatten().flatten().cloned());
    let (name, short) = names(env);
    aliases.extend(short);
    let (ip, ip6) = addresses(config, env)?;
    let (vlan, trunk) = vlans(&config.bridge)?;
    let of_runtime = config.runtime_config.mac.as_deref();
    let of_person = config.args.cni.mac.as_deref();
    let mac = of_runtime.or(of_person).or(env.arg("MAC"));
    Ok(EndpointCreate {
        id: None,
        network: network_of(config).to_owned(),
        name,
        sandbox: Some(PathBuf::from(&env.netns)),
        link: Some(env.ifname.clone()),
        dns: servers(config)?,
        publish: publish(&config.runtime_config.port_mappings)?,
        // Podman binds them, and who does not has nobody bind them.
        ports_reserved: true,
        settings: EndpointSettings {
            ip,
            ip6,
            mac: mac.filter(|mac| !mac.is_empty()).map(str::to_owned),
            aliases,
            vlan,
            trunk,
            rates: rates(config)?,
            ..EndpointSettings::default()
        },
    })
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

/// At most one of each family, by the capability, else by `args`, else by `CNI_ARGS`.
fn addresses(
    config: &Config,
    env: &Environment,
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Failure> {
    let by_argument: Vec<_> = env
        .arg("IP")
        .into_iter()
        .flat_map(|list| list.split(','))
        .collect();
    fn plain(list: &[String]) -> Vec<&str> {
        list.iter().map(String::as_str).collect()
    }
    let sources = [
        plain(&config.runtime_config.ips),
        plain(&config.args.cni.ips),
        by_argument,
    ];
    let named = sources.into_iter().find(|source| !source.is_empty());
    let (mut ip, mut ip6) = (None, None);
    for text in named.unwrap_or_default() {
        let before = match text.split('/').next().unwrap_or(text).parse() {
            Ok(IpAddr::V4(address)) => ip.replace(address).map(IpAddr::V4),
            Ok(IpAddr::V6(address)) => ip6.replace(address).map(IpAddr::V6),
            Err(_) => {
                let message =
                    format!("{text:?} is no address; write one as 10.1.0.9 or 10.1.0.9/24");
                return Err(Failure::new(INVALID_CONFIG, message));
            }
        };
        if let Some(before) = before {
            let message = format!("{before} and {text}: an interface has one address of a family");
            return Err(Failure::new(INVALID_CONFIG, message));
        }
    }
    Ok((ip, ip6))
}

fn servers(config: &Config) -> Result<Vec<DnsServer>, Failure> {
    let of_runtime = &config.runtime_config.dns.servers;
    let named = match of_runtime.is_empty() {
        true => &config.dns.nameservers,
        false => of_runtime,
    };
    parse_servers(named)
}

/// Upstream servers, as CNI writes them.
pub(super) fn parse_servers(named: &[String]) -> Result<Vec<DnsServer>, Failure> {
    let parsed = named.iter().map(|server| {
        let parsed = server.parse::<DnsServer>();
        parsed.map_err(|error| Failure::new(INVALID_CONFIG, error.to_string()))
    });
    parsed.collect()
}

const NAME_LENGTH_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::wire::{INVALID_ENVIRONMENT, UNSUPPORTED_FIELD};

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
            path: String::new(),
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
            "aliases": {"red": ["www"], "other": ["not"]}, "dns": {"servers": ["9.9.9.9"]},
            "portMappings": [{"hostPort": 80, "containerPort": 8080}]},
            "args": {"cni": {"ips": ["10.1.0.5"]}, "labels": {"color": "red"}}"#,
        );
        let env = env("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;IP=10.1.0.6");
        let wished = endpoint(&config, &env).unwrap();
        assert_eq!(
            (wished.name.as_str(), wished.network.as_str()),
            ("web.shop", "blue")
        );
        assert_eq!(wished.settings.ip, Some([10, 1, 0, 7].into()));
        assert_eq!(wished.settings.ip6, Some("fd01::7".parse().unwrap()));
        assert_eq!(wished.settings.aliases, ["c1.cni", "www", "web"]);
        assert_eq!(wished.dns, ["9.9.9.9".parse().unwrap()]);
        assert_eq!(wished.publish[0].container_port, 8080);
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let nulls = r#", "ipam": null, "dns": null, "args": null, "runtimeConfig": {"portMappings": null, "bandwidth": null,
            "ips": null, "mac": null, "aliases": {"red": null}, "dns": {"servers": null}}, "prevResult": null, "vlanTrunk": null,
            "mtu": null, "cni.dev/valid-attachments": null"#;
        let wished = endpoint(&config(nulls), &env("")).unwrap();
        assert_eq!(wished.settings.aliases, ["c1.cni"]);
        assert!(endpoint(&config(r#", "runtimeConfig": null"#), &env("")).is_ok());
        assert!(endpoint(&config(r#", "dns": {"nameservers": null}"#), &env("")).is_ok());
    }

    #[test]
    fn an_interface_has_one_address_of_a_family() {
        let two = endpoint(&config(""), &env("IP=10.1.0.9,10.1.0.10")).unwrap_err();
        assert!(two.message.contains("10.1.0.9"), "{two}");
        assert!(endpoint(&config(""), &env("IP=10.1.0.9,fd01::9")).is_ok());
        let no_address = endpoint(&config(""), &env("IP=ten")).unwrap_err();
        assert_eq!(no_address.code, INVALID_CONFIG);
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
        let code = |env| endpoint(&config(""), env).unwrap_err().code;
        assert_eq!(code(&without), INVALID_ENVIRONMENT);
        let unserved = config(r#", "promiscMode": true"#);
        let refused = endpoint(&unserved, &env("")).unwrap_err();
        assert_eq!(refused.code, UNSUPPORTED_FIELD);
    }
}
