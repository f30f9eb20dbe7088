//! Which name servers a container asks, and how.

use std::net::IpAddr;

use agent_api::{ContainerCreate, DnsServer};

use crate::network::DEFAULT_NETWORK;
use crate::record::NetworkRecord;
use crate::resolv_conf::ResolvConf;

/// The `resolv.conf` of a container on a network, made from the host's.
///
/// On the network `bridge` a container's own servers are asked directly, elsewhere through the network's forwarder, which
/// knows the names of the network besides. Both as Docker does. Encrypted ones always go through the forwarder.
pub fn resolv_conf_on(
    network: &NetworkRecord,
    create: &ContainerCreate,
    host: ResolvConf,
) -> ResolvConf {
    let asked = host.overridden(&create.dns_search, &create.dns_options);
    let plain: Option<Vec<IpAddr>> = create.dns.iter().map(DnsServer::plain).collect();
    match plain {
        Some(servers) if network.name == DEFAULT_NETWORK && !servers.is_empty() => {
            ResolvConf { servers, ..asked }
        }
        Some(servers) if network.is_lan() && !servers.is_empty() => ResolvConf { servers, ..asked },
        // A loopback address would be the container's own.
        _ if network.is_lan() => ResolvConf {
            servers: asked
                .servers
                .iter()
                .copied()
                .filter(|server| !server.is_loopback())
                .collect(),
            ..asked
        },
        _ => ResolvConf {
            servers: network.gateway_addresses(),
            ..asked.with_plain_names_first()
        },
    }
}

/// The `resolv.conf` of a container without a forwarder: the host's, changed only in what was asked for. `None` where nothing
/// was: the host's own file will do.
pub fn resolv_conf_without_network(
    create: &ContainerCreate,
    host: ResolvConf,
) -> Option<ResolvConf> {
    let lists = [&create.dns_search, &create.dns_options];
    if create.dns.is_empty() && lists.iter().all(|list| list.is_empty()) {
        return None;
    }
    let mut own = host.overridden(&create.dns_search, &create.dns_options);
    if !create.dns.is_empty() {
        own.servers = create.dns.iter().filter_map(DnsServer::plain).collect();
    }
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn host() -> ResolvConf {
        ResolvConf::parse("nameserver 192.0.2.1\nsearch lan\n")
    }

    fn with_servers(servers: &[&str]) -> ContainerCreate {
        ContainerCreate {
            dns: servers.iter().map(|text| text.parse().unwrap()).collect(),
            ..ContainerCreate::default()
        }
    }

    fn shown(conf: &ResolvConf) -> Vec<String> {
        conf.servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_network_is_asked_through_its_gateway() {
        let network = sample::network("lab", &["10.1.0.0/24"]);
        for create in [with_servers(&[]), with_servers(&["192.0.2.53"])] {
            let conf = resolv_conf_on(&network, &create, host());
            assert_eq!(shown(&conf), ["10.1.0.1"]);
            assert_eq!(
                (conf.search, conf.options),
                (vec!["lan".into()], vec!["ndots:0".into()])
            );
        }
    }

    #[test]
    fn on_the_network_bridge_plain_servers_are_asked_directly() {
        let network = sample::network(DEFAULT_NETWORK, &["10.1.0.0/24"]);
        let servers = |servers: &[&str]| {
            let conf = resolv_conf_on(&network, &with_servers(servers), host());
            shown(&conf)
        };
        assert_eq!(servers(&["192.0.2.53"]), ["192.0.2.53"]);
        assert_eq!(servers(&[]), ["10.1.0.1"]);
        assert_eq!(servers(&["192.0.2.53", "tls://192.0.2.54"]), ["10.1.0.1"]);
    }

    #[test]
    fn without_a_network_the_hosts_file_is_changed_only_in_what_was_asked_for() {
        assert_eq!(
            resolv_conf_without_network(&with_servers(&[]), host()),
            None
        );
        let own = resolv_conf_without_network(&with_servers(&["192.0.2.53"]), host()).unwrap();
        assert_eq!(shown(&own), ["192.0.2.53"]);
        assert_eq!(own.search, ["lan"]);
        let searched = ContainerCreate {
            dns_search: vec!["example.com".into()],
            ..ContainerCreate::default()
        };
        let own = resolv_conf_without_network(&searched, host()).unwrap();
        assert_eq!(
            (shown(&own), own.search),
            (vec!["192.0.2.1".into()], vec!["example.com".into()])
        );
    }
}
