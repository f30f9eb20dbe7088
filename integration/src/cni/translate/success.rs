//! The answer to ADD.

use std::net::IpAddr;

use agent_api::{EndpointDetail, NetworkDetail};
use ipnet::IpNet;

use crate::cni::wire::{Config, Dns, Interface, Ip, Route, Success, V0_4, V1_1};

pub(in crate::cni) fn success(
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
    let runtime = &config.runtime_config.dns;
    let or = |first: &[String], second: &[String]| match first.is_empty() {
        true => second.to_vec(),
        false => first.to_vec(),
    };
    Dns {
        nameservers: endpoint.gateways.iter().map(IpAddr::to_string).collect(),
        domain: config.dns.domain.clone(),
        search: or(&runtime.searches, &config.dns.search),
        options: or(&runtime.options, &config.dns.options),
    }
}

fn default_route(gw: IpAddr) -> Route {
    let dst = if gw.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    Route { dst, gw }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "4" } else { "6" }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Network red, 10.63.0.0/24, as the agent tells of it.
    pub(in crate::cni::translate) fn network(internal: bool) -> NetworkDetail {
        let told = json!({
            "id": "ab", "name": "red", "driver": "bridge", "scope": "local", "subnets": ["10.63.0.0/24"],
            "gateways": ["10.63.0.1"], "gateway_mac": null, "ip_range": null, "ipv6": false, "internal": internal,
            "mtu": 1500, "dns": [], "options": {}, "host_link": null, "endpoints": [], "drops": {}, "forwarder": null,
        });
        serde_json::from_value(told).unwrap()
    }

    fn endpoint() -> EndpointDetail {
        let told = json!({
            "id": "cd", "network": "red", "name": "web", "mac": "02:00:00:00:00:05", "addresses": ["10.63.0.5/24"],
            "gateways": ["10.63.0.1"], "link": "eth0", "port": 1, "aliases": [],
        });
        serde_json::from_value(told).unwrap()
    }

    fn answer(version: &str, internal: bool) -> serde_json::Value {
        let config = format!(
            r#"{{"cniVersion": "{version}", "name": "red", "dns": {{"search": ["a"], "domain": "d"}},
                "runtimeConfig": {{"dns": {{"searches": ["b"]}}}}}}"#
        );
        let config = crate::cni::translate::read_config(config.as_bytes()).unwrap();
        let success = success(&config, "/run/netns/c1", &network(internal), &endpoint());
        serde_json::to_value(success).unwrap()
    }

    #[test]
    fn an_answer_is_of_the_version_that_asked() {
        let oldest = answer("0.4.0", false);
        assert_eq!(oldest["ips"][0]["version"], "4");
        assert_eq!(oldest["interfaces"][0].get("mtu"), None);
        let newest = answer("1.1.0", false);
        assert_eq!(newest["ips"][0].get("version"), None);
        assert_eq!(newest["interfaces"][0]["mtu"], 1500);
        assert_eq!(
            newest["routes"],
            json!([{"dst": "0.0.0.0/0", "gw": "10.63.0.1"}])
        );
        let dns = json!({"nameservers": ["10.63.0.1"], "domain": "d", "search": ["b"]});
        assert_eq!(newest["dns"], dns);
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let internal = answer("1.0.0", true);
        assert_eq!(internal["routes"], json!([]));
        assert_eq!(internal["ips"][0].get("gateway"), None);
    }
}
