//! What is asked of the API, on its way to a record and to the packet filter's rules.
//!
//! An input is a kind of request, then its JSON.

use agent_api::{
    Connect, ContainerCreate, Disconnect, Driver, EndpointCreate, EndpointUpdate, Exec,
    NetworkCreate, NetworkUpdate, PatchCreate, PortMapping, Stop, TokenCreate, runs,
};
use agent_core::endpoint::{Attachment, Place};
use agent_core::find::Find;
use agent_core::firewall::{Rules, render};
use agent_core::ipam::{Pools, default_pools_v4, default_pools_v6};
use agent_core::network::{OverlayWish, Surroundings, in_our_words};
use agent_core::record::{NetworkRecord, OverlayRecord, Owner};
use agent_core::{container, endpoint, network, publish};
use serde::Serialize;
use serde::de::DeserializeOwned;
use switch_core::{Mac, PortKind};

use crate::Target;
use crate::input::kind;

pub(crate) const TARGET: Target = Target {
    name: "api",
    run,
    length_max: 2048,
    words: &[
        b"\"name\":\"n\"",
        b"\"driver\":\"overlay\"",
        b"\"subnets\":[\"10.1.0.0/16\"]",
        b"\"gateways\":[\"10.1.0.1\"]",
        b"\"ip_range\":\"10.1.1.0/24\"",
        b"\"ipv6\":true",
        b"\"options\":{}",
        b"\"publish\":[{\"host_port\":80,\"container_port\":80,\"protocol\":\"tcp\",\"ports\":2}]",
        b"\"ports\":65535",
        b"\"ports\":0",
        b"\"network\":\"n\"",
        b"\"command\":[\"true\"]",
        b"\"ip\":\"10.1.0.9\"",
        b"null",
        b"\\u0000",
        b"com.docker.network.driver.mtu",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, text)) = kind(input) else {
        return;
    };
    match kind {
        b'n' => drop(read_again::<NetworkCreate>(text).map(plan_network)),
        b'e' => drop(read_again::<EndpointCreate>(text).map(|create| plan_endpoint(&create))),
        b'c' => drop(read_again::<ContainerCreate>(text).map(plan_container)),
        b'1' => drop(read_again::<NetworkUpdate>(text)),
        b'2' => drop(read_again::<EndpointUpdate>(text)),
        b'3' => drop(read_again::<PatchCreate>(text)),
        b'4' => drop(read_again::<Connect>(text)),
        b'5' => drop(read_again::<Disconnect>(text)),
        b'6' => drop(read_again::<Exec>(text)),
        b'7' => drop(read_again::<Stop>(text)),
        b'8' => drop(read_again::<TokenCreate>(text)),
        _ => {}
    }
}

/// What is read is written so that it is read as the same.
pub(crate) fn read_again<T: Serialize + DeserializeOwned>(text: &[u8]) -> Option<T> {
    let request: T = serde_json::from_slice(text).ok()?;
    let written = serde_json::to_vec(&request).expect("a request can be written");
    let again: T = serde_json::from_slice(&written).expect("what is written can be read");
    assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    Some(request)
}

/// A request that is taken becomes a record that can be kept, and a network that can be made.
pub(crate) fn plan_network(create: NetworkCreate) -> Option<NetworkRecord> {
    let create = in_our_words(create).ok()?;
    let wish = OverlayWish::read(&create).ok()?;
    let overlay = wish.map(|wish| OverlayRecord {
        vni: wish.vni.unwrap_or(4096),
        encap: wish.encap,
        remotes: wish.remotes,
    });
    let around = Surroundings {
        networks: Vec::new(),
        host: Vec::new(),
        pools_v4: default_pools_v4(),
        pools_v6: default_pools_v6([1, 2, 3, 4, 5]),
        mtu_max: None,
    };
    let record = network::plan(ID.to_owned(), create, overlay, &around).ok()?;
    let written = serde_json::to_vec(&record).unwrap();
    assert_eq!(
        serde_json::from_slice::<NetworkRecord>(&written).unwrap(),
        record
    );
    assert!(record.subnets.len() <= 2);
    for subnet in &record.subnets {
        assert!(subnet.net.contains(&subnet.gateway));
        assert_eq!(subnet.net.trunc(), subnet.net);
    }
    for kind in [
        PortKind::Tap,
        PortKind::Host,
        PortKind::Edge,
        PortKind::Tunnel,
    ] {
        record.port_config(kind);
    }
    record.zone_config();
    record.edge_config(1);
    let pools = Pools::of(&record).expect("a network that was taken has pools");
    for subnet in &record.subnets {
        assert!(
            pools.tenant(subnet.gateway).is_some(),
            "the gateway has its address"
        );
    }
    rule(&record, &[]);
    Some(record)
}

/// An endpoint that is taken has addresses of its network, and nobody else has them then.
pub(crate) fn plan_endpoint(create: &EndpointCreate) {
    let network = plan_network(NetworkCreate {
        name: "n".to_owned(),
        driver: Driver::Bridge,
        subnets: vec!["10.1.0.0/16".parse().unwrap(), "fd01::/64".parse().unwrap()],
        ..NetworkCreate::default()
    });
    let network = network.expect("a plain network is taken");
    let mut pools = Pools::of(&network).unwrap();
    let owner = Owner::Container("c".to_owned());
    let attachment = Attachment {
        owner: owner.clone(),
        path: create.sandbox.as_deref(),
        name: &create.name,
        hostname: None,
        dns: &create.dns,
        publish: &create.publish,
        ports_reserved: create.ports_reserved,
        link: create.link.as_deref(),
        settings: &create.settings,
    };
    let fresh = endpoint::Fresh {
        id: ID.to_owned(),
        mac: Mac::new([2, 0, 0, 0, 0, 9]),
    };
    let place = Place::of(&[], &owner);
    let before = taken(&pools);
    let planned = endpoint::plan(&network, &mut pools, [].iter(), &attachment, place, fresh);
    let Ok(record) = planned else {
        assert_eq!(taken(&pools), before, "what is refused keeps no address");
        return;
    };
    assert!(Mac::new(record.mac).is_station());
    for address in record.addresses() {
        assert!(network.on_link(address).is_some(), "{address}");
        assert!(pools.tenant(address).is_some());
        assert!(
            network
                .gateway_addresses()
                .iter()
                .all(|gateway| *gateway != address)
        );
    }
    let link = record.link.as_deref().unwrap_or_default();
    assert!(
        link.len() <= 15 && !link.contains(['/', '\0', ' ']),
        "{link:?}"
    );
    rule(&network, &record.publish);
    pools.release(&record);
    assert_eq!(taken(&pools), before);
}

fn taken(pools: &Pools) -> usize {
    let both = [&pools.v4, &pools.v6];
    both.into_iter().flatten().map(|pool| pool.taken()).sum()
}

fn plan_container(create: ContainerCreate) {
    let known = plan_network(NetworkCreate {
        name: "n".to_owned(),
        ..NetworkCreate::default()
    });
    let known = known.expect("a plain network is taken");
    let fresh = container::Fresh {
        id: ID.to_owned(),
        now_s: 1,
    };
    let planned = container::plan(
        create,
        |name| name == "taken",
        |_| Ok(&known),
        |called| match called {
            "there" => Ok(()),
            _ => Err(Find::NoContainer(called.to_owned())),
        },
        fresh,
    );
    if let Ok(record) = planned {
        rule(&known, &record.ports());
        serde_json::to_vec(&record).unwrap();
    }
}

/// Whatever somebody calls a thing or publishes, the rules stay rules: brackets pair, quotes close.
fn rule(network: &NetworkRecord, publish: &[PortMapping]) {
    publish::services(publish);
    let targets: Vec<_> = network.gateway_addresses();
    let runs = runs(publish);
    let published = runs.flat_map(|run| publish::entries(&run, &targets).collect::<Vec<_>>());
    let text = render(&Rules {
        networks: publish::network_rules(network).into_iter().collect(),
        published: published.collect(),
        ..Rules::default()
    });
    let count = |wanted: char| text.chars().filter(|found| *found == wanted).count();
    assert_eq!(count('{'), count('}'));
    assert!(count('"').is_multiple_of(2));
    assert!(text.is_ascii(), "nothing goes in as it came");
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
