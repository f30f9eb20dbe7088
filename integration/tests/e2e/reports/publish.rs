//! Published ports.

use std::io::{ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket,
};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{HOST_IP, HOST_IP6, Host, OUTSIDE_IP, enter, eventually};
use crate::publish::{ask_tcp, ask_udp, udp_server};

#[test]
fn a_published_port_follows_its_container_away_from_an_address_that_another_takes() {
    let host = Host::start();
    for (network, number) in [("rx", 62), ("n1", 63)] {
        create(&host, network, number);
    }
    host.idle("r2", "rx", &["-p", "8301:80", "-p", "8302:53/udp"]);
    let old = host.ipv4("r2");
    serve(&host.sandbox("r2"), 80, "r2");
    let _names = udp_server(&host.sandbox("r2"), 53);
    let client = chatty_client(&host.outside.path());
    assert!(is_answered(&client, 8302));
    let mut before = enter(&host.outside.path(), || {
        TcpStream::connect((HOST_IP, 8301)).unwrap()
    });

    host.tapestry(&["network", "connect", "n1", "r2"]).ok();
    host.tapestry(&["network", "disconnect", "rx", "r2"]).ok();
    host.idle("r3", "rx", &["--ip", &old.to_string()]);
    serve(&host.sandbox("r3"), 80, "a stranger");
    let stranger = enter(&host.sandbox("r3"), || UdpSocket::bind("0.0.0.0:53")).unwrap();

    for (from, to) in [
        (&host.outside, IpAddr::from(HOST_IP)),
        (&host.outside, HOST_IP6.into()),
        (&host.netns, HOST_IP.into()),
        (&host.netns, Ipv4Addr::LOCALHOST.into()),
        (&host.netns, Ipv6Addr::LOCALHOST.into()),
    ] {
        let reached = ask_tcp(&from.path(), (to, 8301));
        assert_eq!(reached.as_deref(), Some("r2"), "{to} from {}", from.name());
    }
    assert!(is_answered(&client, 8302), "from the same socket as before");
    let _ = before.write_all(b"x");
    stranger
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(
        stranger.recv(&mut [0; 8]).is_err(),
        "nothing is a stranger's"
    );
}

#[test]
fn published_ports_close_with_the_last_network_and_open_with_the_next() {
    let host = Host::start();
    for (network, number) in [("rx", 62), ("n1", 63)] {
        create(&host, network, number);
    }
    host.idle("web", "rx", &["-p", "8301:80"]);
    serve(&host.sandbox("web"), 80, "web");
    host.tapestry(&["network", "disconnect", "rx", "web"]).ok();
    for from in [&host.outside, &host.netns] {
        assert_eq!(ask_tcp(&from.path(), (HOST_IP, 8301)), None);
    }
    assert_eq!(
        ask_tcp(&host.netns.path(), (Ipv6Addr::LOCALHOST, 8301)),
        None
    );
    host.tapestry(&["network", "connect", "n1", "web"]).ok();
    for (from, to) in [
        (&host.outside, IpAddr::from(HOST_IP)),
        (&host.netns, Ipv4Addr::LOCALHOST.into()),
        (&host.netns, Ipv6Addr::LOCALHOST.into()),
    ] {
        let reached = ask_tcp(&from.path(), (to, 8301));
        assert_eq!(reached.as_deref(), Some("web"), "{to}");
    }
}

#[test]
fn an_endpoint_that_is_removed_by_its_id_takes_its_published_ports_along() {
    let host = Host::start();
    create(&host, "rx", 62);
    host.idle("web", "rx", &["-p", "8301:80"]);
    let endpoint = host.container("web").endpoints[0].id.clone();
    let old = host.ipv4("web");
    host.api("DELETE", &format!("/v1/endpoints/{endpoint}"), None);
    host.idle("r3", "rx", &["--ip", &old.to_string()]);
    serve(&host.sandbox("r3"), 80, "a stranger");
    assert_eq!(ask_tcp(&host.outside.path(), (HOST_IP, 8301)), None);
}

#[test]
fn a_container_on_several_networks_is_published_by_that_of_its_default_route() {
    let host = Host::start();
    // Ids are random: of six networks the first is seldom that with the smallest.
    for number in 62..68 {
        create(&host, &format!("n{number}"), number);
    }
    host.idle("web", "n62", &["-p", "8080:80"]);
    serve(&host.sandbox("web"), 80, "web");
    for number in 63..68 {
        let network = format!("n{number}");
        host.tapestry(&["network", "connect", &network, "web"]).ok();
    }
    let is_reached = || {
        for to in [IpAddr::from(HOST_IP), HOST_IP6.into()] {
            let reached = ask_tcp(&host.outside.path(), (to, 8080));
            assert_eq!(reached.as_deref(), Some("web"), "{to}");
        }
    };
    is_reached();
    create(&host, "other", 70);
    is_reached();
    host.stop_agent(Signal::KILL);
    host.launch();
    is_reached();
}

#[test]
fn each_family_is_published_by_the_network_of_its_own_default_route() {
    let host = Host::start();
    let v4 = ["network", "create", "--subnet", "10.71.0.0/24", "v4"];
    host.tapestry(&v4).ok();
    create(&host, "both", 62);
    host.idle("web", "v4", &["-p", "8080:80"]);
    host.tapestry(&["network", "connect", "both", "web"]).ok();
    serve(&host.sandbox("web"), 80, "web");
    for to in [IpAddr::from(HOST_IP), HOST_IP6.into()] {
        let reached = ask_tcp(&host.outside.path(), (to, 8080));
        assert_eq!(reached.as_deref(), Some("web"), "{to}");
    }
}

#[test]
fn ten_thousand_udp_ports_are_published_at_once_and_cost_little() {
    let host = Host::start();
    create(&host, "mynet", 62);
    let before = resident_bytes(&host);
    let start = Instant::now();
    host.idle("rtp", "mynet", &["-p", "20000-29999:20000-29999/udp"]);
    println!("published in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20));
    let per_port = resident_bytes(&host).saturating_sub(before) / 10_000;
    println!("{per_port} bytes per port");
    assert!(per_port <= 2048, "{per_port} bytes per port");
    // Nothing holds these ports, but who binds one later gets no packets of it.
    let _later = host
        .netns
        .enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 25_000)))
        .unwrap();
    for port in [20_000, 25_000, 29_999] {
        let _server = udp_server(&host.sandbox("rtp"), port);
        for (from, to) in [
            (&host.outside, IpAddr::from(HOST_IP)),
            (&host.outside, HOST_IP6.into()),
            (&host.netns, HOST_IP.into()),
            (&host.netns, Ipv4Addr::LOCALHOST.into()),
        ] {
            let answer = ask_udp(&from.path(), (to, port));
            assert_eq!(answer.as_deref(), Some("hello"), "{to}:{port}");
        }
    }
    let refusal = host
        .tapestry(&["run", "--rm", "-p", "29999:1/udp", "--", "true"])
        .refused(125);
    assert!(refusal.contains("rtp"), "{refusal}");
}

#[test]
fn a_port_inside_a_long_range_that_a_program_uses_is_refused_by_its_number() {
    let host = Host::start();
    let _taken = host
        .netns
        .enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 23_456)))
        .unwrap();
    let refusal = host
        .tapestry(&[
            "run",
            "--rm",
            "-p",
            "20000-29999:20000-29999/udp",
            "--",
            "true",
        ])
        .refused(125);
    assert!(
        refusal.contains("0.0.0.0:23456/udp is in use") && refusal.lines().count() == 1,
        "{refusal}"
    );
    assert!(host.containers().is_empty());
}

#[test]
fn a_long_range_that_only_a_proxy_could_serve_is_refused() {
    let host = Host::start();
    let refusal = host
        .tapestry(&[
            "run",
            "--rm",
            "-p",
            "[::1]:20000-29999:20000-29999",
            "--",
            "true",
        ])
        .refused(125);
    assert!(refusal.contains("256 ports"), "{refusal}");
}

#[test]
fn a_port_on_an_address_that_comes_later_is_reached_when_it_comes() {
    let host = Host::start();
    create(&host, "mynet", 62);
    let moving = "198.51.100.77";
    let take = format!("ip addr add {moving}/24 dev up0");
    let lose = format!("ip addr del {moving}/24 dev up0");
    host.netns.sh(&take);
    host.idle("web", "mynet", &["-p", "198.51.100.77:8080:80"]);
    serve(&host.sandbox("web"), 80, "web");
    let address: IpAddr = moving.parse().unwrap();
    let reached = || ask_tcp(&host.outside.path(), (address, 8080));
    assert_eq!(reached().as_deref(), Some("web"));
    host.stop_agent(Signal::KILL);
    host.netns.sh(&lose);
    host.launch();
    host.netns.sh(&take);
    assert_eq!(reached().as_deref(), Some("web"));
}

#[test]
fn a_program_that_takes_the_port_while_the_agent_is_away_has_it() {
    let host = Host::start();
    create(&host, "mynet", 62);
    host.idle("web", "mynet", &["-p", "8080:80"]);
    host.stop_agent(Signal::TERM);
    let all = || {
        for (from, to) in [
            (&host.outside, IpAddr::from(HOST_IP)),
            (&host.netns, Ipv4Addr::LOCALHOST.into()),
        ] {
            let reached = ask_tcp(&from.path(), (to, 8080));
            assert_eq!(reached.as_deref(), Some("a program"), "{to}");
        }
    };
    let refused = host
        .outside
        .enter(|| TcpStream::connect((HOST_IP, 8080)).map(drop));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    serve(&host.netns.path(), 8080, "a program");
    all();
    host.launch();
    all();
    let log = host.log();
    assert!(log.contains("8080/tcp is in use"), "{log}");
}

#[test]
fn a_published_port_comes_back_with_its_container() {
    let host = Host::start();
    create(&host, "mynet", 62);
    host.idle("web", "mynet", &["-p", "8080:80"]);
    host.tapestry(&["stop", "-t", "1", "web"]).ok();
    let refused = host.netns.enter(|| TcpStream::connect((HOST_IP, 8080)));
    assert!(refused.is_err());
    host.tapestry(&["start", "web"]).ok();
    serve(&host.sandbox("web"), 80, "web");
    for from in [&host.outside, &host.netns] {
        let reached = ask_tcp(&from.path(), (HOST_IP, 8080));
        assert_eq!(reached.as_deref(), Some("web"));
    }
}

#[test]
fn a_gateways_addresses_come_back_when_somebody_takes_them() {
    let host = Host::start();
    create(&host, "mynet", 62);
    host.idle("web", "mynet", &["-p", "8080:80"]);
    serve(&host.sandbox("web"), 80, "web");
    let link = host
        .netns
        .sh("ip -o -4 addr show | awk '/10.62.0.1\\// {print $2}'");
    let link = link.trim();
    for harm in [
        format!("ip addr flush dev {link}"),
        format!("ip addr del 10.62.0.1/24 dev {link}"),
        format!("echo 1 >/proc/sys/net/ipv6/conf/{link}/disable_ipv6"),
    ] {
        host.netns.sh(&harm);
        for to in [IpAddr::from(HOST_IP), HOST_IP6.into()] {
            let reached = eventually(Duration::from_secs(5), &harm, || {
                ask_tcp(&host.outside.path(), (to, 8080))
            });
            assert_eq!(reached, "web");
        }
    }
}

#[test]
fn a_local_client_of_a_port_where_nothing_listens_is_refused() {
    let host = Host::start();
    create(&host, "mynet", 62);
    host.idle("web", "mynet", &["-p", "8080:80"]);
    for to in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
        HOST_IP.into(),
        HOST_IP6.into(),
    ] {
        let outcome = host
            .netns
            .enter(|| TcpStream::connect((to, 8080)).map(drop));
        assert_eq!(
            outcome.unwrap_err().kind(),
            ErrorKind::ConnectionRefused,
            "{to}"
        );
    }
}

/// Through no proxy of the agent's: the packet filter leads them, and a route of the link's leads back what is answered.
#[test]
fn a_connection_from_a_loopback_address_outlives_the_agent_in_both_families() {
    let host = Host::start();
    create(&host, "other", 63);
    create(&host, "mynet", 62);
    host.idle("near", "other", &["-p", "8081:80"]);
    host.idle("web", "mynet", &["-p", "8080:80", "-p", "5353:53/udp"]);
    let _server = udp_server(&host.sandbox("web"), 53);
    let mut flows = Vec::new();
    for (name, port) in [("near", 8081), ("web", 8080)] {
        let listener = enter(&host.sandbox(name), || TcpListener::bind(("::", 80))).unwrap();
        for to in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let client = host.netns.enter(|| TcpStream::connect((to, port))).unwrap();
            let (served, _) = listener.accept().unwrap();
            for end in [&client, &served] {
                end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            }
            flows.push((to, client, served));
        }
    }
    let goes_on = |when: &str| {
        for (to, client, served) in &flows {
            for (mut from, mut at) in [(client, served), (served, client)] {
                from.write_all(b"x").unwrap();
                let read = at.read_exact(&mut [0]);
                assert!(read.is_ok(), "{when}, {to}: {read:?}");
            }
        }
        let answer = ask_udp(&host.netns.path(), (Ipv6Addr::LOCALHOST, 5353));
        assert_eq!(answer.as_deref(), Some("hello"), "{when}");
    };
    goes_on("at first");
    host.kill_agent_proper();
    goes_on("after a kill");
    for signal in [Signal::KILL, Signal::TERM] {
        host.stop_agent(signal);
        host.launch();
        goes_on("after the end of agent and guardian");
    }
    // Nothing of it is left where nothing is published any more.
    host.tapestry(&["rm", "-f", "web", "near"]).ok();
    eventually(Duration::from_secs(5), "the routes go", || {
        let routes = host.netns.sh("ip -6 route show table local ::1");
        (!routes.contains("tsy")).then_some(())
    });
}

#[test]
fn a_published_port_is_reached_by_the_hosts_link_local_address() {
    let host = Host::start();
    create(&host, "mynet", 62);
    host.idle("web", "mynet", &["-p", "8080:80", "-p", "5353:53/udp"]);
    serve(&host.sandbox("web"), 80, "web");
    let _server = udp_server(&host.sandbox("web"), 53);
    let address = link_local(&host);
    for netns in [&host.outside, &host.netns] {
        let scope = netns.sh("ip -o link show up0 | cut -d: -f1");
        let scope = scope.trim().parse().unwrap();
        let to = |port| SocketAddr::from(SocketAddrV6::new(address, port, 0, scope));
        let reached = ask_tcp(&netns.path(), to(8080));
        assert_eq!(reached.as_deref(), Some("web"), "{}", netns.name());
        let answer = ask_udp(&netns.path(), to(5353));
        assert_eq!(answer.as_deref(), Some("hello"), "{}", netns.name());
    }
}

/// A network of both families, told from others by `number`.
fn create(host: &Host, network: &str, number: u8) {
    let subnets = [format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")];
    let [v4, v6] = subnets.each_ref().map(String::as_str);
    host.tapestry(&[
        "network", "create", "--ipv6", "--subnet", v4, "--subnet", v6, network,
    ])
    .ok();
}

/// Tells everybody who connects from inside `sandbox` what it is; ends with the test.
fn serve(sandbox: &Path, port: u16, name: &'static str) {
    let any = (Ipv6Addr::UNSPECIFIED, port);
    let listener = enter(sandbox, || TcpListener::bind(any)).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(name.as_bytes());
        }
    });
}

/// A socket that keeps its port.
fn chatty_client(from: &Path) -> UdpSocket {
    let client = enter(from, || UdpSocket::bind((OUTSIDE_IP, 4000))).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    client
}

fn is_answered(client: &UdpSocket, port: u16) -> bool {
    client.send_to(b"?", (HOST_IP, port)).unwrap();
    client.recv(&mut [0; 64]).is_ok()
}

fn link_local(host: &Host) -> Ipv6Addr {
    let script = "ip -o -6 addr show dev up0 scope link | awk '{print $4}'";
    let shown = host.netns.sh(script);
    let (address, _) = shown.trim().split_once('/').unwrap();
    address.parse().unwrap()
}

/// The agent's resident memory (proc(5), `status`).
fn resident_bytes(host: &Host) -> u64 {
    let pid = host.agent_pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim_end_matches("kB").trim();
    kilobytes.parse::<u64>().unwrap() * 1024
}
