//! What the engine asks for, in the agent's words, and the agent's answers in the engine's.
//!
//! # Theory of operation
//!
//! The engine's ids are the agent's: a network that the agent made for the engine, and every endpoint, has the id that the engine
//! gave it, so every call finds again what it is about after a restart of either. Where the engine's network stands for one
//! that was there before, the [`Page`] says which. Endpoints of the engine's bear an alias that ends with `.docker`; by it they are
//! told from those of others on the same network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_api::{
    ClientError, Driver, EndpointCreate, EndpointDetail, EndpointSettings, NetworkCreate,
    NetworkDetail,
};
use ipnet::{IpNet, Ipv4Net};

use super::book::Page;
use super::options::{NETWORK, NetworkOptions, check_endpoint, katharas_mac, rates_of, vlans};
use super::ports::bindings;
use super::wire::{
    CreateEndpoint, CreateNetwork, INTERNAL, Id, Interface, InterfaceName, Joined, Options,
    PoolData, Refusal,
};
use crate::driver::take_driver;

impl From<ClientError> for Refusal {
    /// The agent's line, which says what to do.
    fn from(error: ClientError) -> Self {
        Self::new(error.to_string())
    }
}

/// What the creation of a network comes to.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// A network of the agent's is made.
    Make {
        create: Box<NetworkCreate>,
        page: Page,
    },
    /// One that is there is attached to.
    Attach { network: String, page: Page },
}

/// `range` is what the engine asked of us for the network's IPv4 pool, where we are its IPAM driver.
pub(super) fn wish(call: &CreateNetwork, range: Option<IpNet>) -> Result<Wish, Refusal> {
    let mut options = NetworkOptions::read(&call.options)?;
    let driver = take_driver(&mut options.agents);
    let pools = pools(call)?;
    let page = Page {
        reserved: reserved(call)?,
        host_ip: options.host_ip,
        prefix: options.prefix.clone(),
        ..Page::default()
    };
    if let Some(network) = options.network {
        return Ok(Wish::Attach { network, page });
    }
    let create = NetworkCreate {
        id: Some(call.network.as_str().to_owned()),
        name: name_of(&call.network),
        driver,
        without_addresses: pools.is_empty(),
        subnets: pools.iter().map(|pool| pool.subnet).collect(),
        gateways: pools.iter().filter_map(|pool| pool.gateway).collect(),
        ip_range: range.or_else(|| pools.iter().find_map(beside_the_engines)),
        internal: is_set(&call.options, INTERNAL),
        mtu: options.mtu,
        options: match pools.is_empty() {
            true => of_a_wire(options.agents),
            false => options.agents,
        },
        ..NetworkCreate::default()
    };
    Ok(Wish::Make {
        create: Box::new(create),
        page,
    })
}

/// What goes without saying on a network without addresses: whoever makes one has switches, routers or servers in containers,
/// and these hear each other.
fn of_a_wire(mut options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for (name, value) in WIRE {
        options.entry(name.into()).or_insert_with(|| value.into());
    }
    options
}

/// Whether a network that is there can be what the engine was promised, and why not.
pub(super) fn check_fit(call: &CreateNetwork, network: &NetworkDetail) -> Result<(), Refusal> {
    let name = &network.summary.name;
    if matches!(network.summary.driver, Driver::Host | Driver::Null) {
        return Err(Refusal::new(format!(
            "network {name} has no segment to attach to; name another one with -o {NETWORK}="
        )));
    }
    if is_set(&call.options, INTERNAL) && !network.internal {
        return Err(Refusal::new(format!(
            "network {name} is not internal; leave --internal out, or make it again with --internal"
        )));
    }
    let fits = |pool: &Subnet| {
        network.subnets.contains(&pool.subnet)
            && pool
                .gateway
                .is_none_or(|gateway| network.gateways.contains(&gateway))
    };
    match pools(call)?.iter().find(|pool| !fits(pool)) {
        None => Ok(()),
        Some(other) => Err(Refusal::new(format!(
            "network {name} has {}, and not {}; give --ipam-driver null, or --ipam-driver tapestry and its own --subnet",
            list(&network.subnets),
            other.subnet
        ))),
    }
}

/// The network's subnet of a pool that is neither the engine's default nor ours to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subnet {
    subnet: IpNet,
    gateway: Option<IpAddr>,
    /// Whether the engine itself gives its addresses, the lowest free one first.
    is_engines: bool,
}

/// At most one of each family; none where the engine's networks have no addresses.
fn pools(call: &CreateNetwork) -> Result<Vec<Subnet>, Refusal> {
    let mut read = Vec::new();
    for family in [&call.v4, &call.v6] {
        let of_family: Result<Vec<_>, _> = family.iter().map(pool).collect();
        let mut of_family: Vec<Subnet> = of_family?.into_iter().flatten().collect();
        // Docker's command line sends them in no order.
        of_family.sort_by_key(|pool| pool.subnet);
        if let [first, second, ..] = of_family.as_slice() {
            return Err(Refusal::new(format!(
                "a network has one subnet of each family; leave {} or {} out",
                first.subnet, second.subnet
            )));
        }
        read.append(&mut of_family);
    }
    Ok(read)
}

fn pool(data: &PoolData) -> Result<Option<Subnet>, Refusal> {
    let subnet: IpNet = data
        .pool
        .parse()
        .map_err(|_| Refusal::new(format!("pool {:?} is no subnet", data.pool)))?;
    if data.address_space == NULL_SPACE || subnet.prefix_len() == 0 {
        return Ok(None);
    }
    let gateway = match data.gateway.as_str() {
        "" => None,
        text => Some(plain(text)?),
    };
    Ok(Some(Subnet {
        subnet: subnet.trunc(),
        gateway,
        is_engines: data.address_space != ADDRESS_SPACE,
    }))
}

/// The upper half of a subnet whose lower half the engine fills by itself, for containers that are not the engine's.
fn beside_the_engines(pool: &Subnet) -> Option<IpNet> {
    match pool.subnet {
        IpNet::V4(subnet) if pool.is_engines && subnet.prefix_len() <= SPLIT_MAX => {
            let halves = subnet.subnets(subnet.prefix_len() + 1).ok()?;
            halves.last().map(|half: Ipv4Net| half.into())
        }
        _ => None,
    }
}

fn reserved(call: &CreateNetwork) -> Result<Vec<IpAddr>, Refusal> {
    let pools = call.v4.iter().chain(&call.v6);
    let aux = pools.flat_map(|pool| pool.aux_addresses.values());
    aux.map(|text| plain(text)).collect()
}

/// The endpoint of a container that is about to start.
pub(super) fn endpoint(call: &CreateEndpoint, network: &str) -> Result<EndpointCreate, Refusal> {
    check_endpoint(&call.options)?;
    // Ports are published later, and refused now: the engine takes a container apart more gently at this point.
    bindings(&call.options)?;
    let address = |text: &str| match text {
        "" => Ok(None),
        text => plain(text).map(Some),
    };
    let v4 = |ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    let v6 = |ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(ip),
    };
    let (vlan, trunk) = vlans(&call.options)?;
    let ip: Option<Ipv4Addr> = address(&call.interface.address)?.and_then(v4);
    let ip6: Option<Ipv6Addr> = address(&call.interface.address_v6)?.and_then(v6);
    Ok(EndpointCreate {
        id: Some(call.endpoint.as_str().to_owned()),
        network: network.to_owned(),
        name: name_of(&call.endpoint),
        sandbox: None,
        settings: EndpointSettings {
            ip,
            ip6,
            mac: wished_mac(call).map(str::to_owned),
            aliases: vec![key(&call.endpoint)],
            vlan,
            trunk,
            rates: rates_of(&call.options)?,
            ..EndpointSettings::default()
        },
        ..EndpointCreate::default()
    })
}

/// What the engine did not say itself; what it did, it must not hear again.
pub(super) fn interface(call: &CreateEndpoint, made: &EndpointDetail) -> Interface {
    let address = |said: &str, is_of_family: fn(&&IpNet) -> bool| {
        let mut addresses = made.addresses.iter().filter(|_| said.is_empty());
        let found = addresses.find(is_of_family);
        found.map(IpNet::to_string).unwrap_or_default()
    };
    Interface {
        address: address(&call.interface.address, |net| matches!(net, IpNet::V4(_))),
        address_v6: address(&call.interface.address_v6, |net| {
            matches!(net, IpNet::V6(_))
        }),
        mac: match call.interface.mac.as_str() {
            "" => made.mac.clone(),
            _ => String::new(),
        },
    }
}

/// Whether an endpoint that is there already is what the call asks for.
pub(super) fn is_same(
    wished: &EndpointCreate,
    found: &EndpointDetail,
    network: &NetworkDetail,
) -> bool {
    let has = |address: IpAddr| found.addresses.iter().any(|net| net.addr() == address);
    let settings = &wished.settings;
    found.network == network.summary.name
        && settings.ip.is_none_or(|ip| has(ip.into()))
        && settings.ip6.is_none_or(|ip| has(ip.into()))
        && (settings.vlan.is_none() || settings.vlan == found.vlan)
        && settings
            .mac
            .as_ref()
            .is_none_or(|mac| mac.eq_ignore_ascii_case(&found.mac))
}

/// The engine gives a container a bridge of its own beside a network that names no gateway, unless that is declined.
pub(super) fn joined(endpoint: &EndpointDetail, network: &NetworkDetail, page: &Page) -> Joined {
    let gateway = |is_of_family: fn(&IpAddr) -> bool| {
        let mut ways_out = endpoint.gateways.iter().filter(|_| !network.internal);
        let found = ways_out.find(|gateway| is_of_family(gateway));
        found.map(IpAddr::to_string).unwrap_or_default()
    };
    let (gateway, gateway_v6) = (gateway(IpAddr::is_ipv4), gateway(IpAddr::is_ipv6));
    Joined {
        interface_name: InterfaceName {
            src_name: endpoint.link.clone(),
            dst_prefix: page
                .prefix
                .clone()
                .unwrap_or_else(|| LINK_PREFIX.to_owned()),
        },
        disable_gateway_service: gateway.is_empty(),
        gateway,
        gateway_v6,
    }
}

/// What is called like this until the engine's name is known.
pub(super) fn name_of(id: &Id) -> String {
    format!("docker-{}", id.short())
}

/// The alias that tells the engine's endpoints from those of others.
pub(super) fn key(id: &Id) -> String {
    format!("{}{KEY_END}", id.short())
}

/// Whether the plugin made it.
pub(super) fn is_of_engine(endpoint: &EndpointDetail) -> bool {
    let mut aliases = endpoint.aliases.iter();
    aliases.any(|alias| alias.ends_with(KEY_END))
}

fn wished_mac(call: &CreateEndpoint) -> Option<&str> {
    match call.interface.mac.as_str() {
        "" => katharas_mac(&call.options),
        mac => Some(mac),
    }
}

/// An address, written with a prefix length or without.
pub(super) fn plain(text: &str) -> Result<IpAddr, Refusal> {
    let plain = text.split('/').next().unwrap_or(text);
    plain
        .parse()
        .map_err(|_| Refusal::new(format!("{text:?} is no address")))
}

/// The engine writes it as a boolean, and a user who gives it by hand as a text.
fn is_set(options: &Options, name: &str) -> bool {
    let value = options.get(name);
    value.is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true"))
}

fn list(subnets: &[IpNet]) -> String {
    match subnets {
        [] => "no addresses".to_owned(),
        subnets => subnets
            .iter()
            .map(IpNet::to_string)
            .collect::<Vec<_>>()
            .join(" and "),
    }
}

/// Of the IPAM driver of this plugin.
pub(super) const ADDRESS_SPACE: &str = "tapestry";
/// Bridges' own protocols, a container's DHCP server and a container's router advertisements pass.
const WIRE: [(&str, &str); 3] = [
    ("transparent", "true"),
    ("dhcp", "container"),
    ("ra", "allow"),
];
/// Of the engine's `--ipam-driver null`.
const NULL_SPACE: &str = "null";
const KEY_END: &str = ".docker";
const LINK_PREFIX: &str = "eth";
/// Half of this has six addresses for containers.
const SPLIT_MAX: u8 = 28;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::wire::read;
    use serde_json::{Value, json};

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn create(more: Value) -> CreateNetwork {
        let mut call = json!({"NetworkID": id('a'), "Options": {"com.docker.network.generic": {}}});
        merge(&mut call, more);
        read(call.to_string().as_bytes()).unwrap()
    }

    fn merge(call: &mut Value, more: Value) {
        let more = more.as_object().unwrap().clone();
        call.as_object_mut().unwrap().extend(more);
    }

    fn made(more: Value) -> NetworkCreate {
        match wish(&create(more), None).unwrap() {
            Wish::Make { create, .. } => *create,
            attach => panic!("{attach:?}"),
        }
    }

    fn v4(space: &str, pool: &str, gateway: &str) -> Value {
        json!([{"AddressSpace": space, "Pool": pool, "Gateway": gateway}])
    }

    #[test]
    fn the_engines_pool_and_gateway_are_the_networks() {
        let made = made(json!({"IPv4Data": v4("LocalDefault", "172.18.0.0/16", "172.18.0.1/16")}));
        assert_eq!(made.id, Some(id('a')));
        assert_eq!(made.name, "docker-aaaaaaaaaaaa");
        assert_eq!(made.subnets, ["172.18.0.0/16".parse().unwrap()]);
        assert_eq!(made.gateways, [IpAddr::from([172, 18, 0, 1])]);
        assert_eq!(made.ip_range, Some("172.18.128.0/17".parse().unwrap()));
        assert_eq!(made.driver, Driver::Bridge);
        assert!(!made.without_addresses && !made.internal);
    }

    #[test]
    fn our_own_pool_is_not_shared_with_anybody() {
        let made = made(json!({"IPv4Data": v4("tapestry", "10.1.0.0/16", "10.1.0.1/16")}));
        assert_eq!(made.ip_range, None);
    }

    #[test]
    fn without_addresses_there_are_none() {
        let made = made(json!({"IPv4Data": v4("null", "0.0.0.0/0", ""),
            "Options": {"com.docker.network.internal": true}}));
        assert!(made.without_addresses && made.internal);
    }

    #[test]
    fn a_wire_carries_everything_unless_its_maker_says_otherwise() {
        let data = v4("null", "0.0.0.0/0", "");
        let options = json!({"com.docker.network.generic": {"dhcp": "off"}});
        let made = made(json!({"IPv4Data": data, "Options": options}));
        let has = |name: &str| made.options[name].as_str();
        assert_eq!(
            [has("transparent"), has("dhcp"), has("ra")],
            ["true", "off", "allow"]
        );
        let with_addresses = self::made(json!({"IPv4Data": v4("", "10.1.0.0/16", "")}));
        assert!(with_addresses.options.is_empty());
    }

    #[test]
    fn options_of_an_overlay_make_one() {
        let options = json!({"com.docker.network.generic": {"encap": "vxlan", "vni": "7"}});
        let made = made(json!({"Options": options}));
        assert_eq!(made.driver, Driver::Overlay);
        assert_eq!(made.options["vni"], "7");
    }

    #[test]
    fn one_subnet_of_each_family() {
        for two in [
            ["10.1.0.0/16", "10.2.0.0/16"],
            ["10.2.0.0/16", "10.1.0.0/16"],
        ] {
            let two = json!([{"Pool": two[0]}, {"Pool": two[1]}]);
            let refused = wish(&create(json!({"IPv4Data": two})), None).unwrap_err();
            let both = "leave 10.1.0.0/16 or 10.2.0.0/16 out";
            assert!(refused.to_string().contains(both), "{refused}");
        }
        let wrong = create(json!({"IPv4Data": v4("", "ten", "")}));
        assert!(wish(&wrong, None).is_err());
    }

    fn red() -> NetworkDetail {
        let detail = json!({"id": id('b'), "name": "red", "driver": "bridge", "scope": "local",
            "subnets": ["10.63.0.0/24"], "gateways": ["10.63.0.1"], "gateway_mac": null, "ip_range": null, "ipv6": false,
            "internal": false, "mtu": 1500, "dns": [], "options": {}, "host_link": null, "endpoints": [], "drops": {},
            "forwarder": null});
        serde_json::from_value(detail).unwrap()
    }

    #[test]
    fn a_pool_that_is_not_the_networks_is_refused_with_the_remedy() {
        let fit = |pools: Value| check_fit(&create(json!({"IPv4Data": pools})), &red());
        fit(v4("null", "0.0.0.0/0", "")).unwrap();
        fit(v4("LocalDefault", "10.63.0.0/24", "10.63.0.1/24")).unwrap();
        for pools in [
            v4("LocalDefault", "172.18.0.0/16", "172.18.0.1/16"),
            v4("LocalDefault", "10.63.0.0/24", "10.63.0.9/24"),
        ] {
            let told = fit(pools).unwrap_err().to_string();
            assert!(told.contains("10.63.0.0/24, and not"), "{told}");
        }
        let internal = create(json!({"Options": {"com.docker.network.internal": true}}));
        assert!(check_fit(&internal, &red()).is_err());
    }

    fn create_endpoint(interface: Value, options: Value) -> CreateEndpoint {
        let call = json!({"NetworkID": id('a'), "EndpointID": id('c'), "Interface": interface, "Options": options});
        read(call.to_string().as_bytes()).unwrap()
    }

    fn detail() -> EndpointDetail {
        let detail = json!({"id": id('c'), "network": "red", "name": "docker-cccccccccccc", "mac": "02:42:0a:3f:00:05",
            "addresses": ["10.63.0.5/24"], "gateways": ["10.63.0.1"], "link": "tap1", "port": 3, "aliases": []});
        serde_json::from_value(detail).unwrap()
    }

    #[test]
    fn the_engine_hears_what_it_did_not_say() {
        let call = create_endpoint(
            json!({"Address": "10.63.0.5/24", "MacAddress": ""}),
            json!(null),
        );
        let wished = endpoint(&call, "red").unwrap();
        assert_eq!(wished.settings.ip, Some([10, 63, 0, 5].into()));
        assert_eq!(wished.settings.aliases, ["cccccccccccc.docker"]);
        assert!(is_same(&wished, &detail(), &red()));
        let told = interface(&call, &detail());
        assert_eq!(
            (told.address.as_str(), told.mac.as_str()),
            ("", "02:42:0a:3f:00:05")
        );
        let call = create_endpoint(json!({"MacAddress": "02:00:00:00:00:05"}), json!({}));
        let told = interface(&call, &detail());
        assert_eq!(
            (told.address.as_str(), told.mac.as_str()),
            ("10.63.0.5/24", "")
        );
        assert!(!is_same(
            &endpoint(&call, "red").unwrap(),
            &detail(),
            &red()
        ));
    }

    #[test]
    fn katharas_mac_is_taken_and_told() {
        let options = json!({"kathara.iface": "0", "kathara.mac_addr": "02:00:00:00:00:09"});
        let call = create_endpoint(json!({"MacAddress": ""}), options);
        let wished = endpoint(&call, "red").unwrap();
        assert_eq!(wished.settings.mac.as_deref(), Some("02:00:00:00:00:09"));
    }

    #[test]
    fn a_gateway_is_told_where_there_is_a_way_out() {
        let told = joined(&detail(), &red(), &Page::default());
        assert_eq!(
            (told.gateway.as_str(), told.disable_gateway_service),
            ("10.63.0.1", false)
        );
        assert_eq!(told.interface_name.dst_prefix, "eth");
        let internal = NetworkDetail {
            internal: true,
            ..red()
        };
        let told = joined(&detail(), &internal, &Page::default());
        assert_eq!(
            (told.gateway.as_str(), told.disable_gateway_service),
            ("", true)
        );
    }
}
