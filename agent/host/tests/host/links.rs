//! Links, addresses, routes, sandboxes.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use agent_host::netlink::{
    HostLink, LinkEnd, LinkName, LinkSettings, LinkWatch, Neighbor, Netlink, NetlinkError, Route,
    SandboxLink, SubnetWatch, configure_host_link, configure_sandbox,
};
use agent_host::{EnterNetns, Netns, OpenNetns};
use ipnet::IpNet;

use super::{ip, netns, run, within};

const MAC: [u8; 6] = [0x02, 0x42, 172, 17, 0, 2];
const GATEWAY_MAC: [u8; 6] = [0x02, 0x42, 172, 17, 0, 1];

/// Makes a TAP in this namespace, and says what it shall become.
fn sandbox_link(tap: &str) -> SandboxLink {
    run(&format!("ip tuntap add dev {tap} mode tap"));
    SandboxLink {
        from_index: Netlink::open().unwrap().link_by_name(tap).unwrap().index,
        name: LinkName::FirstFree,
        mac: MAC,
        mtu: 1400,
        tx_queue_length: None,
        addresses: vec![
            "172.17.0.2/16".parse().unwrap(),
            "fd00:1::2/64".parse().unwrap(),
        ],
        gateways: vec![ip("172.17.0.1"), ip("fd00:1::1")],
        gateway_rank: 0,
        neighbors: vec![Neighbor {
            address: ip("fd00:1::1"),
            mac: GATEWAY_MAC,
        }],
        routes: Vec::new(),
        ipv6_link_local: false,
        alias: Some("whose".to_owned()),
    }
}

#[test]
fn a_tap_becomes_the_interface_of_a_sandbox() {
    let sandbox = netns();
    let wanted = within(&sandbox, || sandbox_link("tap0"));
    let done = configure_sandbox(&sandbox, &wanted).unwrap();
    assert_eq!(done.name, "eth0");
    let mut inside = Netlink::open_in(&sandbox).unwrap();
    let link = inside.link_by_name("eth0").unwrap();
    assert_eq!((link.mac, link.mtu, link.up), (Some(MAC), 1400, true));
    assert_eq!(link.tx_queue_length, 1000);
    assert_eq!(link.kind.as_deref(), Some("tun"));
    assert_eq!(link.alias.as_deref(), Some("whose"));
    assert!(inside.link_by_name("lo").unwrap().up);
    let routes = inside.routes().unwrap();
    for gateway in ["172.17.0.1", "fd00:1::1"] {
        let default = routes
            .iter()
            .find(|route| route.gateway == Some(ip(gateway)));
        assert_eq!(default.unwrap().destination.prefix_len(), 0);
    }
    let shown = within(&sandbox, || run("ip address show dev eth0"));
    assert!(
        shown.contains("172.17.0.2/16 brd 172.17.255.255"),
        "{shown}"
    );
    assert!(shown.contains("fd00:1::2/64 scope global nodad"), "{shown}");
    assert!(!shown.contains("fe80"), "{shown}");
    let neighbors = within(&sandbox, || run("ip neighbor show nud permanent"));
    let gateway = "fd00:1::1 dev eth0 lladdr 02:42:ac:11:00:01";
    assert!(neighbors.contains(gateway), "{neighbors}");
}

#[test]
fn link_local_addresses_are_usable_at_once() {
    let sandbox = netns();
    within(&sandbox, || {
        let mut wanted = sandbox_link("tap0");
        wanted.ipv6_link_local = true;
        configure_sandbox(&sandbox, &wanted).unwrap();
        let shown = run("ip -6 address show dev eth0 scope link");
        assert!(
            shown.contains("fe80::42:acff:fe11:2/64 scope link nodad"),
            "{shown}"
        );
        assert!(!shown.contains("tentative"), "{shown}");
    });
}

/// The kernel takes packets for an IPv6 address only once a work queue has come to it, a little after it has acknowledged it.
#[test]
fn an_ipv6_address_receives_as_soon_as_its_link_is_configured() {
    let address: IpNet = "fd00:1::2/64".parse().unwrap();
    let as_a_sandbox = || {
        let sandbox = Netns::current().unwrap();
        let mut wanted = sandbox_link("tap0");
        (wanted.gateways, wanted.addresses) = (Vec::new(), vec![address]);
        configure_sandbox(&sandbox, &wanted).unwrap();
    };
    let as_a_host = || {
        run("ip tuntap add dev tsy0 mode tap");
        let wanted = HostLink {
            name: "tsy0".into(),
            mac: MAC,
            mtu: 1500,
            addresses: vec![address],
        };
        configure_host_link(&mut Netlink::open().unwrap(), &wanted).unwrap();
    };
    let deaf = |configure: &(dyn Fn() + Sync)| {
        let rounds = (0..50).map(|_| {
            within(&netns(), || {
                let receiver = UdpSocket::bind("[::]:0").unwrap();
                let patience = Some(Duration::from_millis(200));
                receiver.set_read_timeout(patience).unwrap();
                let to = (address.addr(), receiver.local_addr().unwrap().port());
                let sender = UdpSocket::bind("[::]:0").unwrap();
                configure();
                sender.send_to(b"me", to).unwrap();
                receiver.recv(&mut [0; 2]).is_err()
            })
        });
        rounds.filter(|deaf| *deaf).count()
    };
    assert_eq!((deaf(&as_a_sandbox), deaf(&as_a_host)), (0, 0));
}

/// Prints how long a sandbox takes; the bound is ten times the aim, for busy machines.
#[test]
fn configuring_a_tap_made_inside_takes_a_few_milliseconds() {
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let sandbox = netns();
            let wanted = within(&sandbox, || sandbox_link("tap0"));
            let start = Instant::now();
            let done = configure_sandbox(&sandbox, &wanted).unwrap();
            assert_eq!(done.name, "eth0");
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("sandbox: median {:?}, worst {:?}", times[10], times[19]);
    assert!(times[10] < Duration::from_millis(30));
}

#[test]
fn a_failure_names_what_is_in_the_way() {
    let sandbox = netns();
    let mut wanted = within(&sandbox, || sandbox_link("tap0"));
    wanted.routes.push(Route {
        destination: "0.0.0.0/0".parse().unwrap(),
        gateway: Some(ip("172.17.0.9")),
        metric: 0,
    });
    let said = configure_sandbox(&sandbox, &wanted)
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with(
            "cannot add the route to 0.0.0.0/0 via 172.17.0.9 through link eth0: it exists already"
        ),
        "{said}"
    );
}

#[test]
fn the_second_tap_of_a_sandbox_is_eth1_and_its_gateway_waits() {
    let sandbox = netns();
    let first = within(&sandbox, || sandbox_link("tap0"));
    configure_sandbox(&sandbox, &first).unwrap();
    let mut second = within(&sandbox, || sandbox_link("tap1"));
    second.name = LinkName::Exactly("eth0".into());
    second.addresses = vec![
        "172.18.0.2/16".parse().unwrap(),
        "fd00:2::2/64".parse().unwrap(),
    ];
    second.gateways = vec![ip("172.18.0.1"), ip("fd00:2::1")];
    second.neighbors = Vec::new();
    second.gateway_rank = 1;
    let said = configure_sandbox(&sandbox, &second)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("rename link tap1 to eth0: it exists already"),
        "{said}"
    );
    second.name = LinkName::FirstFree;
    assert_eq!(configure_sandbox(&sandbox, &second).unwrap().name, "eth1");
    let way_out = |to: &str| within(&sandbox, || run(&format!("ip route get {to}")));
    for (to, way) in [
        ("192.0.2.1", "via 172.17.0.1 dev eth0"),
        ("2001:db8::1", "via fd00:1::1 dev eth0"),
    ] {
        assert!(way_out(to).contains(way), "{}", way_out(to));
    }
    within(&sandbox, || run("ip link delete eth0"));
    for (to, way) in [
        ("192.0.2.1", "via 172.18.0.1 dev eth1"),
        ("2001:db8::1", "via fd00:2::1 dev eth1"),
    ] {
        assert!(way_out(to).contains(way), "{}", way_out(to));
    }
}

#[test]
fn ipv6_is_enabled_where_an_engine_disabled_it() {
    let sandbox = netns();
    within(&sandbox, || {
        for scope in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
            std::fs::write(path, "1").unwrap();
        }
    });
    let wanted = within(&sandbox, || sandbox_link("tap0"));
    configure_sandbox(&sandbox, &wanted).unwrap();
    let addresses = Netlink::open_in(&sandbox).unwrap().addresses().unwrap();
    assert!(
        addresses
            .iter()
            .any(|entry| entry.address.addr() == ip("fd00:1::2"))
    );
}

#[test]
fn a_gateway_outside_the_subnet_is_reached_onlink() {
    let sandbox = netns();
    within(&sandbox, || {
        let mut wanted = sandbox_link("tap0");
        wanted.addresses = vec![
            "10.9.9.9/32".parse().unwrap(),
            "fd00:1::9/128".parse().unwrap(),
        ];
        wanted.gateways = vec![ip("169.254.1.1"), ip("fe80::1")];
        configure_sandbox(&sandbox, &wanted).unwrap();
    });
    let routes = within(&sandbox, || run("ip route"));
    assert!(
        routes.contains("default via 169.254.1.1 dev eth0"),
        "{routes}"
    );
}

#[test]
fn a_host_link_is_configured_as_often_as_one_likes() {
    let host = netns();
    within(&host, || {
        run("ip tuntap add dev tsy0123456789 mode tap");
        let wanted = HostLink {
            name: "tsy0123456789".into(),
            mac: MAC,
            mtu: 1500,
            addresses: vec![
                "172.17.0.1/16".parse().unwrap(),
                "fd00:1::1/64".parse().unwrap(),
            ],
        };
        let mut netlink = Netlink::open().unwrap();
        let first = configure_host_link(&mut netlink, &wanted).unwrap();
        let second = configure_host_link(&mut netlink, &wanted).unwrap();
        assert_eq!(first, second);
        assert_eq!((second.up, second.mac), (true, Some(MAC)));
        let mut watch = SubnetWatch::open().unwrap();
        let in_use = watch.in_use(BTreeSet::new).unwrap();
        for subnet in ["172.17.0.0/16", "fd00:1::/64", "127.0.0.0/8"] {
            let subnet = subnet.parse().unwrap();
            let is_listed = in_use.iter().any(|entry| entry.subnet == subnet);
            assert!(is_listed, "{in_use:?}");
        }
        let accept_ra = "/proc/sys/net/ipv6/conf/tsy0123456789/accept_ra";
        assert_eq!(std::fs::read_to_string(accept_ra).unwrap().trim(), "0");
    });
}

fn run_all(commands: &str) {
    for command in commands.split(" && ") {
        run(command);
    }
}

#[test]
fn subnets_are_listed_again_only_for_links_of_others() {
    let host = netns();
    within(&host, || {
        run_all(
            "ip tuntap add dev eth0 mode tap && ip addr add 10.1.0.1/16 dev eth0 && ip link set eth0 up",
        );
        run_all(
            "ip tuntap add dev tsyffffffffff mode tap && ip addr add 10.2.0.1/16 dev tsyffffffffff",
        );
        let mut watch = SubnetWatch::open().unwrap();
        let mut used = |own: &str| {
            let own = BTreeSet::from([own.to_owned()]);
            let in_use = watch.in_use(|| own).unwrap();
            let subnets = in_use.iter().map(|entry| entry.subnet.to_string());
            let subnets = subnets.filter(|subnet| subnet.starts_with("10."));
            (subnets.collect::<Vec<_>>(), watch.listings())
        };
        let listed = |subnets: &[&str], listings| {
            let subnets = subnets.iter().map(|subnet| (*subnet).to_owned());
            (subnets.collect::<Vec<_>>(), listings)
        };
        assert_eq!(used(""), listed(&["10.1.0.0/16", "10.2.0.0/16"], 1));
        for number in 0..20 {
            let link = format!("tsy00000000{number:02}");
            run_all(&format!(
                "ip tuntap add dev {link} mode tap && ip link set {link} up"
            ));
            run(&format!("ip addr add 10.3.{number}.1/24 dev {link}"));
            assert_eq!(used(&link), listed(&["10.1.0.0/16", "10.2.0.0/16"], 1));
        }
        run("ip link del tsy0000000007");
        run("ip link del tsyffffffffff");
        assert_eq!(used(""), listed(&["10.1.0.0/16"], 1));
        run("ip route add 10.4.0.0/16 via 10.1.0.2");
        let own = (0..20).map(|number| format!("tsy00000000{number:02}"));
        let in_use = watch.in_use(|| own.collect()).unwrap();
        let routed = in_use.iter().find(|entry| entry.gateway.is_some());
        assert_eq!(routed.unwrap().subnet, "10.4.0.0/16".parse().unwrap());
        assert_eq!(watch.listings(), 2);
    });
}

#[test]
fn a_change_is_told_with_the_names_of_its_links() {
    let host = netns();
    within(&host, || {
        run_all("ip tuntap add dev one mode tap && ip tuntap add dev two mode tap");
        let mut watch = LinkWatch::open().unwrap();
        let mut names = || {
            let change = watch.wait(Some(Duration::from_secs(5))).unwrap();
            let names = change.links.into_values().map(Vec::from_iter);
            (names.collect::<Vec<_>>(), change.elsewhere)
        };
        let told = |links: &[&[&str]]| {
            let links = links.iter().map(|names| {
                let names = names.iter().map(|name| (*name).to_owned());
                names.collect::<Vec<_>>()
            });
            (links.collect::<Vec<_>>(), false)
        };
        run("ip addr add 10.1.0.1/16 dev one");
        assert_eq!(names(), told(&[&["one"]]));
        run("ip link set two name three");
        assert_eq!(names(), told(&[&["three", "two"]]));
        run("ip link del one");
        assert_eq!(names(), told(&[&["one"]]));
        run("sysctl -qw net.ipv4.ip_forward=1");
        assert!(names().1, "forwarding is no link's alone");
    });
}

#[test]
fn links_can_be_listed_renamed_and_deleted() {
    let host = netns();
    within(&host, || {
        run("ip link add v0 type veth peer name v1");
        let mut netlink = Netlink::open().unwrap();
        let names: Vec<String> = netlink
            .links()
            .unwrap()
            .into_iter()
            .map(|l| l.name)
            .collect();
        assert!(
            names.contains(&"v0".into()) && names.contains(&"lo".into()),
            "{names:?}"
        );
        let link = netlink.link_by_name("v0").unwrap();
        netlink.rename_link(&link, "v2").unwrap();
        assert_eq!(netlink.link_by_index(link.index).unwrap().name, "v2");
        let too_large = LinkSettings {
            mtu: Some(1_000_000),
            ..LinkSettings::default()
        };
        let refused = netlink.set_link(&link, &too_large).unwrap_err().to_string();
        assert!(
            refused.starts_with("cannot configure link v0: "),
            "{refused}"
        );
        netlink.delete_link("v2").unwrap();
        netlink.delete_link("v2").unwrap();
        assert!(netlink.link_by_name("v1").is_err());
    });
}

#[test]
fn a_link_that_ends_is_seen_to_go_and_another_is_not() {
    let sandbox = netns();
    within(&sandbox, || {
        run("ip tuntap add dev one mode tap");
        run("ip tuntap add dev other mode tap");
    });
    let end = LinkEnd::of(&sandbox, "one").unwrap();
    within(&sandbox, || run("ip link del other"));
    assert!(!end.wait(Duration::ZERO));
    within(&sandbox, || run("ip link del one"));
    assert!(end.wait(Duration::ZERO));
    assert!(LinkEnd::of(&sandbox, "one").is_err());
}

#[test]
fn a_socket_stays_in_the_namespace_it_was_opened_in() {
    let other = netns();
    within(&other, || {
        run("ip link add only-here type veth peer name peer");
    });
    let mut netlink = Netlink::open_in(&other).unwrap();
    assert!(netlink.link_by_name("only-here").is_ok());
    assert!(Netlink::open().unwrap().link_by_name("only-here").is_err());
}

#[test]
fn namespaces_are_told_apart() {
    let own = Netns::current().unwrap();
    assert!(own.is_own());
    assert_eq!(
        own.id(),
        Netns::open(Path::new("/proc/self/ns/net")).unwrap().id()
    );
    let other = netns();
    assert!(!other.is_own());
    assert_ne!(other.id(), own.id());
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    run(&format!("mkfifo {}", fifo.display()));
    for file in [
        "/etc/passwd",
        "/dev/null",
        "/proc/self",
        fifo.to_str().unwrap(),
    ] {
        let refused = Netns::open(Path::new(file)).unwrap_err();
        assert!(
            matches!(refused, OpenNetns::NotANamespace { .. }),
            "{refused}"
        );
    }
    assert!(matches!(
        Netns::open(Path::new("/nonexistent")),
        Err(OpenNetns::Open { .. })
    ));
    let uts = Netns::open(Path::new("/proc/self/ns/uts")).unwrap();
    assert!(matches!(
        Netlink::open_in(&uts),
        Err(NetlinkError::Enter(EnterNetns::OtherKind { .. }))
    ));
}
