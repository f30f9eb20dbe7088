//! Endpoints: what podman wishes of them, and what it is told of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use agent_api::{EndpointCreate, EndpointDetail, EndpointSettings, NetworkDetail};

use super::ports::published;
use crate::netavark::wire::{Address, Attachment, Failure, Interface, StatusBlock, Wishes};

/// Setup as a request.
pub(in crate::netavark) fn endpoint(
    attachment: &Attachment,
    network: &NetworkDetail,
    netns: &Path,
) -> Result<EndpointCreate, Failure> {
    let wishes = &attachment.network_options;
    let mut options = wishes.options.iter().flatten();
    if let Some((name, _)) = options.next() {
        let message = format!("{name}: containers have no options of their own; leave it out");
        return Err(Failure::new(message));
    }
    let (ip, ip6) = addresses(wishes)?;
    let mut aliases = vec![key(&attachment.container_id)];
    aliases.extend(wishes.aliases.iter().flatten().cloned());
    // Podman passes a container's ports to each of its networks, and nothing outside reaches this one.
    let mappings = attachment.port_mappings.iter().flatten();
    let mappings = mappings.filter(|_| !network.internal);
    Ok(EndpointCreate {
        id: None,
        network: network.summary.id.clone(),
        name: attachment.container_name.clone(),
        sandbox: Some(netns.to_owned()),
        link: Some(wishes.interface_name.clone()),
        dns: Vec::new(),
        publish: published(mappings)?,
        // Podman binds them.
        ports_reserved: true,
        settings: EndpointSettings {
            ip,
            ip6,
            mac: wishes.static_mac.clone(),
            aliases,
            ..EndpointSettings::default()
        },
    })
}

/// The endpoint of a container's interface.
pub(in crate::netavark) fn find<'n>(
    network: &'n NetworkDetail,
    attachment: &Attachment,
) -> Option<&'n EndpointDetail> {
    let key = key(&attachment.container_id);
    let link = &attachment.network_options.interface_name;
    let mut endpoints = network.endpoints.iter();
    endpoints.find(|endpoint| endpoint.link == *link && endpoint.aliases.contains(&key))
}

/// The answer to setup.
pub(in crate::netavark) fn status(
    attachment: &Attachment,
    network: &NetworkDetail,
    made: &EndpointDetail,
) -> StatusBlock {
    let gateway = |ip: IpAddr| {
        let mut gateways = made.gateways.iter().copied();
        gateways.find(|gateway| gateway.is_ipv4() == ip.is_ipv4())
    };
    let addresses = made.addresses.iter().map(|address| Address {
        ipnet: *address,
        gateway: gateway(address.addr()).filter(|_| !network.internal),
    });
    let interface = Interface {
        mac_address: made.mac.clone(),
        subnets: addresses.collect(),
    };
    let servers = made.gateways.iter().copied();
    StatusBlock {
        dns_search_domains: Vec::new(),
        dns_server_ips: servers.filter(|_| attachment.network.dns_enabled).collect(),
        interfaces: BTreeMap::from([(made.link.clone(), interface)]),
    }
}

/// What an endpoint is known by again.
fn key(container_id: &str) -> String {
    let kept = container_id.chars().take(ID_LENGTH_MAX);
    kept.chain(KEY_END.chars()).collect()
}

fn addresses(wishes: &Wishes) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Failure> {
    let (mut ip, mut ip6) = (None, None);
    for address in wishes.static_ips.iter().flatten() {
        let earlier = match *address {
            IpAddr::V4(address) => ip.replace(address).map(IpAddr::V4),
            IpAddr::V6(address) => ip6.replace(address).map(IpAddr::V6),
        };
        if let Some(earlier) = earlier {
            let message = format!(
                "static_ips: an endpoint has one address of a family, not {earlier} and {address}; leave one out"
            );
            return Err(Failure::new(message));
        }
    }
    Ok((ip, ip6))
}

/// An alias takes 63 characters.
const ID_LENGTH_MAX: usize = 54;
const KEY_END: &str = ".netavark";

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(wishes: &str, more: &str) -> Attachment {
        let text = format!(
            r#"{{"container_id": "{ID}", "container_name": "web", "network": {{"name": "red", "id": "{ID}",
            "dns_enabled": true}}, "network_options": {{"interface_name": "eth0"{wishes}}}{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn network(internal: bool) -> NetworkDetail {
        let text = format!(
            r#"{{"id": "{ID}", "name": "red", "driver": "bridge", "scope": "local", "subnets": ["10.1.0.0/24"],
            "gateways": ["10.1.0.1"], "gateway_mac": null, "ip_range": null, "ipv6": false, "internal": {internal}, "mtu": 1500,
            "dns": [], "options": {{}}, "host_link": null, "endpoints": [{MADE}], "drops": {{}}, "forwarder": null}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn wishes_become_settings() {
        let wishes = r#", "aliases": ["www"], "static_ips": ["10.1.0.9", "fd00::9"], "static_mac": "02:00:00:00:00:05""#;
        let ports = r#", "port_mappings": [{"container_port": 80, "host_port": 8080, "range": 2}]"#;
        let attachment = attachment(wishes, ports);
        let netns = Path::new("/run/netns/a");
        let wished = endpoint(&attachment, &network(false), netns).unwrap();
        assert_eq!((wished.name.as_str(), wished.network.as_str()), ("web", ID));
        assert_eq!(wished.sandbox.as_deref(), Some(netns));
        assert_eq!(wished.link.as_deref(), Some("eth0"));
        assert_eq!(wished.settings.ip, Some([10, 1, 0, 9].into()));
        assert_eq!(wished.settings.ip6, Some("fd00::9".parse().unwrap()));
        assert_eq!(wished.settings.mac.as_deref(), Some("02:00:00:00:00:05"));
        assert_eq!(wished.settings.aliases, [key(ID).as_str(), "www"]);
        assert_eq!(wished.publish.len(), 2);
        let internal = endpoint(&attachment, &network(true), netns).unwrap();
        assert!(internal.publish.is_empty());
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (wishes, name) in [
            (r#", "static_ips": ["10.1.0.8", "10.1.0.9"]"#, "static_ips"),
            (
                r#", "options": {"host_interface_name": "v0"}"#,
                "host_interface_name",
            ),
        ] {
            let attachment = attachment(wishes, "");
            let refused = endpoint(&attachment, &network(false), Path::new("/n")).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }

    #[test]
    fn podman_is_told_what_the_endpoint_has() {
        let network = network(false);
        let made = find(&network, &attachment("", "")).unwrap();
        let told = status(&attachment("", ""), &network, made);
        assert_eq!(
            serde_json::to_value(&told).unwrap(),
            serde_json::json!({"dns_search_domains": [], "dns_server_ips": ["10.1.0.1"], "interfaces":
                {"eth0": {"mac_address": "02:42:0a:01:00:02",
                "subnets": [{"ipnet": "10.1.0.2/24", "gateway": "10.1.0.1"}]}}})
        );
    }

    #[test]
    fn no_server_is_told_where_podman_wants_none_and_no_gateway_where_nothing_leads_out() {
        let network = network(true);
        let mut attachment = attachment("", "");
        attachment.network.dns_enabled = false;
        let told = status(&attachment, &network, &network.endpoints[0]);
        assert_eq!(told.dns_server_ips, <[IpAddr; 0]>::default());
        assert_eq!(told.interfaces["eth0"].subnets[0].gateway, None);
    }

    #[test]
    fn an_id_of_podmans_length_makes_an_alias_that_names_allow() {
        assert_eq!(key(ID).len(), 63);
    }

    const ID: &str = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";
    const MADE: &str = r#"{"id": "e", "network": "red", "name": "web", "mac": "02:42:0a:01:00:02", "addresses": ["10.1.0.2/24"],
        "gateways": ["10.1.0.1"], "link": "eth0", "port": 3,
        "aliases": ["2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be5.netavark"]}"#;
}
