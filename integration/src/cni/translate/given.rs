//! Addresses that another plugin gives, in place of the network's own.

use std::net::IpAddr;

use agent_api::{EndpointCreate, NetworkDetail};
use ipnet::IpNet;

use super::request::parse_servers;
use crate::cni::wire::{Config, Failure, GivenResult, INVALID_CONFIG, UNSUPPORTED_FIELD};

/// The plugin that gives addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cni) struct Delegate {
    /// Its file's name in one of the directories of `CNI_PATH`.
    pub(in crate::cni) plugin: String,
}

/// Whom the configuration has asked for addresses; `None` where they are the network's own.
pub(in crate::cni) fn delegate_of(config: &Config) -> Result<Option<Delegate>, Failure> {
    if config.ipam.is_empty() {
        return Ok(None);
    }
    let plugin = config.ipam.get("type").and_then(|name| name.as_str());
    let plugin = plugin.unwrap_or_default();
    // A plugin that asked itself would do so for ever.
    if plugin.is_empty() || plugin == config.plugin {
        let message = "ipam: its type names no plugin that gives addresses; leave ipam out to have the network's own";
        return Err(Failure::new(INVALID_CONFIG, message));
    }
    if plugin.contains('/') {
        let message =
            format!("ipam: type {plugin:?} is no name; write the name of a file in CNI_PATH");
        return Err(Failure::new(INVALID_CONFIG, message));
    }
    Ok(Some(Delegate {
        plugin: plugin.to_owned(),
    }))
}

/// Takes what was given for the endpoint, with everything refused that a network does not do.
pub(in crate::cni) fn take(
    given: &GivenResult,
    delegate: &Delegate,
    network: &NetworkDetail,
    wished: &mut EndpointCreate,
) -> Result<(), Failure> {
    let plugin = &delegate.plugin;
    let name = &network.summary.name;
    let wrong = |message: String| {
        Err(Failure::new(
            INVALID_CONFIG,
            format!("ipam {plugin}: {message}"),
        ))
    };
    let (mut ip, mut ip6) = (None, None);
    for given in &given.ips {
        let address = given.address.addr();
        if !network
            .subnets
            .iter()
            .any(|subnet| subnet.contains(&address))
        {
            let subnets: Vec<_> = network.subnets.iter().map(IpNet::to_string).collect();
            let subnets = subnets.join(", ");
            return wrong(format!(
                "{address} is outside network {name:?} ({subnets}); give it the network's subnet, or leave ipam out"
            ));
        }
        if let Some(gateway) = given
            .gateway
            .filter(|gateway| !is_gateway(network, *gateway))
        {
            return wrong(format!(
                "{gateway} is not the gateway of network {name:?}; leave it out, or make the network with --gateway {gateway}"
            ));
        }
        let before = match address {
            IpAddr::V4(address) => ip.replace(address).map(IpAddr::V4),
            IpAddr::V6(address) => ip6.replace(address).map(IpAddr::V6),
        };
        if let Some(before) = before {
            return wrong(format!(
                "{before} and {address}: an interface has one address of a family"
            ));
        }
    }
    if given.ips.is_empty() {
        return wrong("no address was given".to_owned());
    }
    let is_own = |gw: Option<IpAddr>| gw.is_none_or(|gw| is_gateway(network, gw));
    let mut routes = given.routes.iter();
    let other =
        routes.find(|route| network.internal || route.dst.prefix_len() != 0 || !is_own(route.gw));
    if let Some(other) = other {
        let message = format!(
            "ipam {plugin}: routes {}: containers have the network's default route and no other; leave it out",
            other.dst
        );
        return Err(Failure::new(UNSUPPORTED_FIELD, message));
    }
    if wished.dns.is_empty() {
        wished.dns = parse_servers(&given.dns.nameservers)?;
    }
    wished.settings.ip = ip;
    wished.settings.ip6 = ip6;
    Ok(())
}

fn is_gateway(network: &NetworkDetail, address: IpAddr) -> bool {
    network.internal || network.gateways.contains(&address)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cni::translate::read_config;
    use crate::cni::translate::success::tests::network;

    fn taken(given: serde_json::Value, internal: bool) -> Result<EndpointCreate, Failure> {
        let given = serde_json::from_value(given).unwrap();
        let mut wished = EndpointCreate::default();
        let delegate = Delegate {
            plugin: "host-local".into(),
        };
        take(&given, &delegate, &network(internal), &mut wished).map(|()| wished)
    }

    #[test]
    fn a_given_address_is_the_endpoints() {
        let given = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.63.0.9/24", "gateway": "10.63.0.1"}],
            "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["9.9.9.9"]}});
        let wished = taken(given.clone(), false).unwrap();
        assert_eq!(wished.settings.ip, Some([10, 63, 0, 9].into()));
        assert_eq!(wished.dns, ["9.9.9.9".parse().unwrap()]);
        assert!(taken(given, true).unwrap_err().message.contains("routes"));
        let bare =
            json!({"ips": [{"address": "10.63.0.9/24", "gateway": "10.63.0.254"}], "routes": null});
        assert!(
            taken(bare, true).is_ok(),
            "what no route leads through does not matter"
        );
    }

    #[test]
    fn what_is_not_the_networks_is_refused() {
        for (given, named) in [
            (json!({"ips": []}), "no address"),
            (json!({"ips": [{"address": "10.9.0.9/24"}]}), "10.63.0.0/24"),
            (
                json!({"ips": [{"address": "10.63.0.9/24", "gateway": "10.63.0.254"}]}),
                "--gateway 10.63.0.254",
            ),
            (
                json!({"ips": [{"address": "10.63.0.9/24"}, {"address": "10.63.0.8/24"}]}),
                "10.63.0.8",
            ),
            (
                json!({"ips": [{"address": "10.63.0.9/24"}], "routes": [{"dst": "10.0.0.0/8"}]}),
                "10.0.0.0/8",
            ),
            (
                json!({"ips": [{"address": "10.63.0.9/24"}], "routes": [{"dst": "0.0.0.0/0", "gw": "10.63.0.7"}]}),
                "routes",
            ),
        ] {
            let refused = taken(given, false).unwrap_err();
            assert!(
                refused.message.starts_with("ipam host-local: "),
                "{refused}"
            );
            assert!(refused.message.contains(named), "{refused}");
        }
    }

    #[test]
    fn addresses_are_the_networks_own_unless_a_plugin_is_named() {
        let of = |ipam: &str| {
            let text = format!(
                r#"{{"cniVersion": "1.0.0", "name": "red", "type": "tapestry", "ipam": {ipam}}}"#
            );
            delegate_of(&read_config(text.as_bytes()).unwrap())
        };
        assert_eq!(of("null"), Ok(None));
        assert_eq!(of("{}"), Ok(None));
        assert_eq!(
            of(r#"{"type": "host-local"}"#).unwrap().unwrap().plugin,
            "host-local"
        );
        for wrong in [
            r#"{"subnet": "10.63.0.0/24"}"#,
            r#"{"type": "tapestry"}"#,
            r#"{"type": "../sh"}"#,
            r#"{"type": 5}"#,
        ] {
            assert_eq!(of(wrong).unwrap_err().code, INVALID_CONFIG);
        }
    }
}
