//! Packets through the filter and the proxies.
//!
//! ```text
//! container a 172.17.0.2 ── tsya ┐
//!                                host ── ext 192.0.2.1 ── world 192.0.2.2
//! container b 172.18.0.2 ── tsyb ┘
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use agent_api::{PortRun, TransportProtocol};
use agent_core::firewall::{NetworkRules, Published, Rules};
use agent_host::Netns;
use agent_host::firewall::Firewall;
use agent_host::netlink::{HostLink, Netlink, configure_host_link};
use agent_host::publish::{Absent, PublishedPorts};
use agent_host::sysctl::{change, forwarding_changes, restore};

use super::{ip, netns, run, within};

struct Site {
    host: Netns,
    world: Netns,
    a: Netns,
    b: Netns,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            host: netns(),
            world: netns(),
            a: netns(),
            b: netns(),
        };
        site.connect("ext", &site.world, "192.0.2", "fd00:9", false);
        site.connect("tsya", &site.a, "172.17.0", "fd00:1", true);
        site.connect("tsyb", &site.b, "172.18.0", "fd00:2", true);
        // So that the filter, not a missing route, keeps the world out.
        within(&site.world, || {
            run("ip route add 172.16.0.0/12 via 192.0.2.1");
            run("ip route add fd00:1::/64 via fd00:9::1");
        });
        within(&site.host, || {
            change(&forwarding_changes(true)).unwrap();
        });
        site
    }

    /// A veth whose host end is `link` with address .1, and whose other end is `eth0` with .2.
    fn connect(&self, link: &str, peer: &Netns, v4: &str, v6: &str, default: bool) {
        within(&self.host, || {
            run(&format!("ip link add {link} type veth peer name peer"));
            let fd = peer.as_fd().as_raw_fd();
            let namespace = format!("/proc/{}/fd/{fd}", std::process::id());
            run(&format!("ip link set peer netns {namespace}"));
            let mut netlink = Netlink::open().unwrap();
            let wanted = HostLink {
                name: link.into(),
                mac: [2, 0x42, 0, 0, 0, 1],
                mtu: 1500,
                addresses: vec![
                    format!("{v4}.1/24").parse().unwrap(),
                    format!("{v6}::1/64").parse().unwrap(),
                ],
            };
            configure_host_link(&mut netlink, &wanted).unwrap();
        });
        within(peer, || {
            run("ip link set peer name eth0");
            run(&format!("ip address add {v4}.2/24 dev eth0"));
            run(&format!("ip address add {v6}::2/64 dev eth0 nodad"));
            run("ip link set eth0 up");
            if default {
                run(&format!("ip route add default via {v4}.1"));
                run(&format!("ip route add default via {v6}::1"));
            }
        });
    }

    fn apply(&self) {
        within(&self.host, || {
            Firewall::find().unwrap().apply(&rules()).unwrap()
        });
    }
}

fn network(link: &str, v4: &str, v6: &str) -> NetworkRules {
    NetworkRules {
        host_link: link.into(),
        subnets: vec![v4.parse().unwrap(), v6.parse().unwrap()],
        gateways: [v4, v6].map(first_address).into(),
        masquerade: true,
        anti_spoof: true,
        lan: false,
        routed_by: None,
    }
}

fn first_address(subnet: &str) -> IpAddr {
    let subnet: ipnet::IpNet = subnet.parse().unwrap();
    match subnet.network() {
        IpAddr::V4(network) => std::net::Ipv4Addr::from(u32::from(network) + 1).into(),
        IpAddr::V6(network) => std::net::Ipv6Addr::from(u128::from(network) + 1).into(),
    }
}

fn published(protocol: TransportProtocol, host_port: u16, container: &str) -> Published {
    Published {
        protocol,
        host_ip: None,
        host_port,
        container: container.parse().unwrap(),
        ports: 1,
    }
}

fn rules() -> Rules {
    use TransportProtocol::{Tcp, Udp};
    Rules {
        networks: vec![
            network("tsya", "172.17.0.0/24", "fd00:1::/64"),
            network("tsyb", "172.18.0.0/24", "fd00:2::/64"),
        ],
        published: vec![
            published(Tcp, 8080, "172.17.0.2:80"),
            published(Tcp, 8080, "[fd00:1::2]:80"),
            published(Udp, 5300, "172.17.0.2:53"),
            Published {
                host_ip: Some(ip("192.0.2.1")),
                ..published(Tcp, 8081, "172.18.0.2:80")
            },
        ],
        ..Rules::default()
    }
}

/// A server that tells each client which address it was seen with.
fn serve(netns: &Netns, port: u16) {
    within(netns, || {
        let listener = TcpListener::bind(("::", port)).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = write!(stream, "{}", peer.ip().to_canonical());
            }
        });
    });
}

/// Which address a server saw us with; None where it cannot be reached.
fn ask(from: &Netns, to: &str) -> Option<IpAddr> {
    let to: SocketAddr = to.parse().unwrap();
    within(from, move || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(700)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let mut seen = String::new();
        stream.read_to_string(&mut seen).ok()?;
        seen.parse().ok()
    })
}

#[test]
fn containers_reach_the_world_masqueraded() {
    let site = Site::new();
    serve(&site.world, 80);
    site.apply();
    assert_eq!(ask(&site.a, "192.0.2.2:80"), Some(ip("192.0.2.1")));
    assert_eq!(ask(&site.b, "[fd00:9::2]:80"), Some(ip("fd00:9::1")));
}

#[test]
fn the_world_reaches_published_ports_with_its_own_address() {
    let site = Site::new();
    serve(&site.a, 80);
    serve(&site.b, 80);
    site.apply();
    assert_eq!(ask(&site.world, "192.0.2.1:8080"), Some(ip("192.0.2.2")));
    assert_eq!(ask(&site.world, "[fd00:9::1]:8080"), Some(ip("fd00:9::2")));
    assert_eq!(ask(&site.world, "192.0.2.1:8081"), Some(ip("192.0.2.2")));
}

#[test]
fn the_world_reaches_nothing_that_is_not_published() {
    let site = Site::new();
    serve(&site.a, 80);
    serve(&site.a, 81);
    assert_eq!(ask(&site.world, "172.17.0.2:81"), Some(ip("192.0.2.2")));
    site.apply();
    for unpublished in [
        "172.17.0.2:81",
        "172.17.0.2:80",
        "[fd00:1::2]:80",
        "192.0.2.1:81",
    ] {
        assert_eq!(ask(&site.world, unpublished), None, "{unpublished}");
    }
}

#[test]
fn networks_are_isolated_but_for_published_ports() {
    let site = Site::new();
    serve(&site.a, 80);
    serve(&site.b, 80);
    site.apply();
    assert_eq!(ask(&site.a, "172.18.0.2:80"), None);
    assert_eq!(ask(&site.b, "[fd00:1::2]:80"), None);
    assert!(ask(&site.b, "192.0.2.1:8080").is_some());
    assert!(ask(&site.a, "192.0.2.1:8081").is_some());
}

#[test]
fn a_container_reaches_its_own_published_port() {
    let site = Site::new();
    serve(&site.a, 80);
    site.apply();
    assert_eq!(ask(&site.a, "192.0.2.1:8080"), Some(ip("172.17.0.1")));
    assert_eq!(ask(&site.a, "172.17.0.1:8080"), Some(ip("172.17.0.1")));
    assert_eq!(ask(&site.a, "[fd00:9::1]:8080"), Some(ip("fd00:1::1")));
}

#[test]
fn a_container_with_a_foreign_source_address_is_dropped() {
    let site = Site::new();
    serve(&site.world, 80);
    serve(&site.host, 80);
    site.apply();
    within(&site.a, || {
        run("ip address add 10.66.0.1/32 dev lo");
        run("ip route replace default via 172.17.0.1 src 10.66.0.1");
    });
    within(&site.host, || {
        run("ip route add 10.66.0.1/32 via 172.17.0.2");
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
    });
    assert_eq!(ask(&site.a, "192.0.2.2:80"), None);
    assert_eq!(ask(&site.a, "192.0.2.1:80"), None);
}

#[test]
fn containers_cannot_reach_the_hosts_loopback() {
    let site = Site::new();
    serve(&site.host, 80);
    within(&site.host, || {
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
    });
    within(&site.a, || {
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        run("ip address del 127.0.0.1/8 dev lo");
        run("ip route flush table local root 127.0.0.0/8");
        run("ip route add 127.0.0.0/8 via 172.17.0.1 src 172.17.0.2");
    });
    assert!(ask(&site.a, "127.0.0.1:80").is_some());
    site.apply();
    assert_eq!(ask(&site.a, "127.0.0.1:80"), None);
    assert!(ask(&site.a, "172.17.0.1:80").is_some());
}

#[test]
fn dockers_forward_drop_does_not_stop_us() {
    let site = Site::new();
    serve(&site.world, 80);
    serve(&site.a, 80);
    within(&site.host, || {
        for iptables in ["iptables", "ip6tables"] {
            super::firewall::docker_chains(iptables);
        }
    });
    assert_eq!(ask(&site.world, "172.17.0.2:80"), None);
    site.apply();
    assert!(ask(&site.a, "192.0.2.2:80").is_some());
    assert!(ask(&site.a, "[fd00:9::2]:80").is_some());
    assert!(ask(&site.world, "192.0.2.1:8080").is_some());
    assert!(ask(&site.a, "192.0.2.1:8080").is_some());
    assert_eq!(ask(&site.world, "172.17.0.2:80"), None);
}

#[test]
fn dockers_networks_stay_protected_from_ours() {
    let site = Site::new();
    let docker = netns();
    site.connect("br-0123456789ab", &docker, "172.19.0", "fd00:3", true);
    serve(&docker, 80);
    site.apply();
    assert!(ask(&site.a, "172.19.0.2:80").is_some());
    within(&site.host, || super::firewall::docker_chains("iptables"));
    site.apply();
    assert_eq!(ask(&site.a, "172.19.0.2:80"), None);
    within(&site.host, || {
        run("iptables -A FORWARD -o br-0123456789ab -p tcp --dport 80 -j ACCEPT");
    });
    assert!(ask(&site.a, "172.19.0.2:80").is_some());
}

#[test]
fn connections_survive_applying_and_flushing() {
    let site = Site::new();
    site.apply();
    let listener = within(&site.a, || TcpListener::bind("0.0.0.0:80").unwrap());
    let mut client = within(&site.world, || {
        TcpStream::connect("192.0.2.1:8080").unwrap()
    });
    let (mut container, _) = listener.accept().unwrap();
    let mut exchange = || {
        let mut buffer = [0; 1];
        client.write_all(b"x").unwrap();
        container
            .set_read_timeout(Some(Duration::from_secs(3)))
            .unwrap();
        container.read_exact(&mut buffer).unwrap();
    };
    exchange();
    site.apply();
    exchange();
    within(&site.host, || run("nft flush ruleset"));
    site.apply();
    exchange();
}

#[test]
fn what_began_without_rules_is_cut_off_by_them() {
    let site = Site::new();
    let ways = [
        (&site.a, &site.b, "172.18.0.2:80"),
        (&site.world, &site.a, "172.17.0.2:81"),
        // It is not masqueraded, and would show its private address.
        (&site.a, &site.world, "192.0.2.2:82"),
    ];
    let begun = ways.map(|(from, to, at)| {
        let listener = within(to, || TcpListener::bind(at).unwrap());
        let client = within(from, || TcpStream::connect(at).unwrap());
        (client, listener.accept().unwrap().0)
    });
    site.apply();
    for (mut client, mut server) in begun {
        client.write_all(b"x").unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        assert!(server.read_exact(&mut [0]).is_err(), "{server:?}");
    }
}

#[test]
fn a_chatty_udp_client_follows_its_port_to_the_container_and_away() {
    let site = Site::new();
    let unpublished = Rules {
        published: Vec::new(),
        ..rules()
    };
    let firewall = Firewall::find().unwrap();
    within(&site.host, || firewall.apply(&unpublished).unwrap());
    let client = within(&site.world, || UdpSocket::bind("0.0.0.0:4000").unwrap());
    let host = within(&site.host, || UdpSocket::bind("0.0.0.0:5300").unwrap());
    let container = within(&site.a, || UdpSocket::bind("[::]:53").unwrap());
    let arrives = |at: &UdpSocket| {
        client.send_to(b"x", "192.0.2.1:5300").unwrap();
        at.set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        at.recv_from(&mut [0; 8]).is_ok()
    };
    assert!(arrives(&host));
    within(&site.host, || firewall.apply(&rules()).unwrap());
    assert!(arrives(&container));
    // The right association stays: its reply direction is not renumbered.
    within(&site.host, || firewall.apply(&rules()).unwrap());
    assert!(arrives(&container));
    within(&site.host, || firewall.apply(&unpublished).unwrap());
    assert!(arrives(&host));
}

#[test]
fn a_udp_client_that_met_the_host_while_the_rules_were_gone_is_led_on_again() {
    let site = Site::new();
    let firewall = Firewall::find().unwrap();
    let client = within(&site.world, || UdpSocket::bind("0.0.0.0:4000").unwrap());
    let host = within(&site.host, || UdpSocket::bind("0.0.0.0:5300").unwrap());
    let container = within(&site.a, || UdpSocket::bind("[::]:53").unwrap());
    let arrives = |at: &UdpSocket| {
        client.send_to(b"x", "192.0.2.1:5300").unwrap();
        at.set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        at.recv_from(&mut [0; 8]).is_ok()
    };
    within(&site.host, || firewall.apply(&rules()).unwrap());
    within(&site.host, || {
        run("nft flush ruleset");
        // Connections are tracked as long as somebody asks about them.
        run("nft add table inet theirs");
        run("nft add chain inet theirs input { type filter hook input priority 0 ; }");
        run("nft add rule inet theirs input ct state established accept");
    });
    assert!(arrives(&host));
    within(&site.host, || firewall.apply(&rules()).unwrap());
    assert!(arrives(&container));
}

#[test]
fn the_host_itself_reaches_published_ports_by_all_addresses_that_filter_and_proxy_serve() {
    let site = Site::new();
    serve(&site.a, 80);
    site.apply();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let host = &site.host;
        scope.spawn(move || {
            within(host, move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                let mut run = PortRun {
                    protocol: TransportProtocol::Tcp,
                    host_ip: None,
                    host_port: 8080,
                    container_port: 80,
                    ports: 1,
                };
                let take = |run| {
                    PublishedPorts::take(run, true, Absent::Refused, runtime.handle()).unwrap()
                };
                let mut tcp = take(run);
                run.protocol = TransportProtocol::Udp;
                (run.host_port, run.container_port) = (5300, 53);
                let mut udp = take(run);
                let container = [ip("172.17.0.2")];
                runtime.block_on(tcp.lead_to(&container));
                runtime.block_on(udp.lead_to(&container));
                ready.send(()).unwrap();
                runtime.block_on(async move {
                    while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    tcp.close().await;
                    udp.close().await;
                });
            });
        });
        is_ready.recv().unwrap();
        for (own, seen) in [
            ("127.0.0.1:8080", "172.17.0.1"),
            ("127.0.0.9:8080", "172.17.0.1"),
            ("192.0.2.1:8080", "172.17.0.1"),
            ("172.17.0.1:8080", "172.17.0.1"),
            ("[fd00:9::1]:8080", "fd00:1::1"),
            // The container has this family too, so the packet filter leads there and not the proxy, which knows IPv4 alone here.
            ("[::1]:8080", "fd00:1::1"),
        ] {
            assert_eq!(ask(&site.host, own), Some(ip(seen)), "{own}");
        }
        // From elsewhere the proxy is not in the way.
        assert_eq!(ask(&site.world, "192.0.2.1:8080"), Some(ip("192.0.2.2")));
        let container = within(&site.a, || UdpSocket::bind("[::]:53").unwrap());
        for (client, to) in [
            (&site.host, "127.0.0.1:5300"),
            (&site.host, "[::1]:5300"),
            (&site.world, "192.0.2.1:5300"),
        ] {
            let any = if to.starts_with('[') {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            let socket = within(client, move || UdpSocket::bind(any).unwrap());
            for socket in [&socket, &container] {
                socket
                    .set_read_timeout(Some(Duration::from_secs(3)))
                    .unwrap();
            }
            socket.send_to(b"ping", to).unwrap();
            let mut buffer = [0; 8];
            let (_, from) = container.recv_from(&mut buffer).unwrap();
            container.send_to(b"pong", from).unwrap();
            assert_eq!(socket.recv(&mut buffer).unwrap(), 4);
        }
        stop.send(()).unwrap();
    });
    // What the packet filter does needs no proxy.
    assert_eq!(ask(&site.host, "[::1]:8080"), Some(ip("fd00:1::1")));
}

#[test]
fn a_local_client_is_refused_by_a_container_where_nothing_listens() {
    let site = Site::new();
    site.apply();
    for own in ["127.0.0.1:8080", "192.0.2.1:8080", "[fd00:9::1]:8080"] {
        let outcome = within(&site.host, || TcpStream::connect(own).map(drop));
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{own}");
    }
}

#[test]
fn ports_on_the_hosts_loopback_are_reached_by_the_host_alone() {
    let site = Site::new();
    serve(&site.a, 80);
    serve(&site.host, 90);
    let only_loopback = Rules {
        published: vec![Published {
            host_ip: Some(ip("127.0.0.1")),
            ..published(TransportProtocol::Tcp, 8080, "172.17.0.2:80")
        }],
        ..rules()
    };
    within(&site.host, || {
        Firewall::find().unwrap().apply(&only_loopback).unwrap();
    });
    assert!(ask(&site.host, "127.0.0.1:8080").is_some());
    assert_eq!(setting_of(&site.host, "tsya"), "1", "it is led out there");
    assert_eq!(setting_of(&site.host, "tsyb"), "0");
    for (from, gateway) in [(&site.world, "192.0.2.1"), (&site.a, "172.17.0.1")] {
        let route = format!("ip route add 127.0.0.0/8 via {gateway}");
        within(from, || {
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            run("ip address del 127.0.0.1/8 dev lo");
            run("ip route flush table local root 127.0.0.0/8");
            run(&route);
        });
        for loopback in ["127.0.0.1:8080", "127.0.0.1:90"] {
            assert_eq!(ask(from, loopback), None, "{loopback} by {gateway}");
        }
    }
    within(&site.host, || {
        Firewall::find().unwrap().remove().unwrap();
    });
    assert_eq!(setting_of(&site.host, "tsya"), "0");
}

#[test]
fn connections_of_a_released_address_are_forgotten() {
    let site = Site::new();
    site.apply();
    let listener = within(&site.a, || TcpListener::bind("0.0.0.0:80").unwrap());
    let mut client = within(&site.world, || {
        TcpStream::connect("192.0.2.1:8080").unwrap()
    });
    let (container, _) = listener.accept().unwrap();
    within(&site.host, || {
        let firewall = Firewall::find().unwrap();
        let nothing = Rules {
            published: Vec::new(),
            ..rules()
        };
        firewall.apply(&nothing).unwrap();
        firewall.forget_addresses(&[ip("172.17.0.2")]);
    });
    client.write_all(b"to a stranger").unwrap();
    container
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    assert!((&container).read(&mut [0; 16]).is_err());
}

#[test]
fn ranges_of_ten_thousand_ports_are_applied_in_a_moment_and_lead_on() {
    let site = Site::new();
    let range = |host_port, container: &str| Published {
        ports: 10_000,
        ..published(TransportProtocol::Tcp, host_port, container)
    };
    let ranges = Rules {
        published: vec![
            range(20_000, "172.17.0.2:20000"),
            range(20_000, "[fd00:1::2]:20000"),
            range(40_000, "172.18.0.2:50000"),
        ],
        ..rules()
    };
    within(&site.host, || {
        let firewall = Firewall::find().unwrap();
        let start = Instant::now();
        firewall.apply(&ranges).unwrap();
        println!("30,000 ports: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(3));
    });
    serve(&site.a, 29_999);
    serve(&site.b, 59_999);
    assert!(ask(&site.world, "192.0.2.1:29999").is_some());
    assert!(ask(&site.world, "[fd00:9::1]:29999").is_some());
    assert!(ask(&site.world, "192.0.2.1:49999").is_some());
    assert!(ask(&site.host, "127.0.0.1:49999").is_some());
    assert_eq!(ask(&site.world, "192.0.2.1:30000"), None);
}

fn setting_of(netns: &Netns, link: &str) -> String {
    let name = format!("net/ipv4/conf/{link}/route_localnet");
    within(netns, move || setting(&name))
}

#[test]
fn forwarding_is_recorded_and_restored() {
    within(&netns(), || {
        let before = setting("net/ipv4/ip_forward");
        let changes = forwarding_changes(false);
        change(&changes).unwrap();
        assert_eq!(setting("net/ipv4/ip_forward"), "1");
        assert!(forwarding_changes(false).is_empty());
        restore(&changes);
        assert_eq!(setting("net/ipv4/ip_forward"), before);

        run("ip link add up0 type veth peer name up1");
        let changes = forwarding_changes(true);
        change(&changes).unwrap();
        assert_eq!(setting("net/ipv6/conf/up0/accept_ra"), "2");
        restore(&changes);
        assert_eq!(setting("net/ipv6/conf/up0/accept_ra"), "1");
        assert_eq!(setting("net/ipv6/conf/all/forwarding"), "0");
    });
}

fn setting(name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap();
    text.trim().to_owned()
}
