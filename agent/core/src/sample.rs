//! Records for tests.

use std::net::IpAddr;

use agent_api::Driver;

use crate::record::{EndpointRecord, NetworkRecord, Owner, Subnet};

/// A bridge whose id is its name, with the first address of each subnet as its gateway.
pub(crate) fn network(name: &str, subnets: &[&str]) -> NetworkRecord {
    let subnet = |text: &&str| {
        let net: ipnet::IpNet = text.parse().unwrap();
        let gateway = net.hosts().next().unwrap();
        // An IPv6 subnet's very first address is the routers' anycast (RFC 4291 section 2.6.1).
        let gateway = match gateway {
            IpAddr::V6(first) if first.octets()[15] == 0 => {
                IpAddr::V6((u128::from(first) + 1).into())
            }
            gateway => gateway,
        };
        Subnet { net, gateway }
    };
    NetworkRecord {
        id: name.to_owned(),
        name: name.to_owned(),
        driver: Driver::Bridge,
        subnets: subnets.iter().map(subnet).collect(),
        ip_range: None,
        aux_addresses: Default::default(),
        internal: false,
        mtu: 1500,
        dns: Vec::new(),
        options: Default::default(),
        labels: Default::default(),
        overlay: None,
    }
}

/// An endpoint of the container `c-NAME` on network `n`, whose id is its name.
pub(crate) fn endpoint(name: &str, addresses: &[&str]) -> EndpointRecord {
    let mut record = EndpointRecord {
        id: name.to_owned(),
        network: "n".to_owned(),
        owner: Owner::Container(format!("c-{name}")),
        sandbox: None,
        name: name.to_owned(),
        hostname: None,
        aliases: Vec::new(),
        dns: Vec::new(),
        publish: Vec::new(),
        ports_reserved: false,
        mac: [2, 0, 0, 0, 0, 1],
        ipv4: None,
        ipv6: None,
        link: None,
        moved: None,
        is_leased: false,
        down: false,
        is_chosen: false,
        rank: 0,
        impairments: Default::default(),
        port_settings: Default::default(),
        labels: Default::default(),
        vlan: None,
        trunk: None,
        rates: Default::default(),
    };
    for address in addresses {
        match address.parse().unwrap() {
            IpAddr::V4(address) => record.ipv4 = Some(address),
            IpAddr::V6(address) => record.ipv6 = Some(address),
        }
    }
    record
}
