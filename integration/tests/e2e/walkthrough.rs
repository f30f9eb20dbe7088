//! The walkthrough, row by row: what a person does and what they must see.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::scope;
use std::time::Duration;

use crate::harness::{
    HOST_IP, Host, OUTSIDE_IP, OUTSIDE_IP6, OUTSIDE_NAME_SERVER, enter, eventually,
};

/// Row 1.
#[test]
fn fresh_agent_lists_bridge_host_and_none() {
    let host = Host::start();
    let table = host.tapestry(&["network", "ls"]).ok();
    let rows = rows(&table);
    assert!(table.starts_with("NETWORK ID"), "{table}");
    assert_eq!(rows[0], ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
    for [name, driver] in [["bridge", "bridge"], ["host", "host"], ["none", "null"]] {
        let row = rows
            .iter()
            .find(|row| row.get(1) == Some(&name))
            .unwrap_or_else(|| panic!("no {name}: {table}"));
        assert!(
            row[0].len() == 12 && row[0].bytes().all(|digit| digit.is_ascii_hexdigit()),
            "{row:?}"
        );
        assert_eq!(row[2..], [driver, "local"]);
    }
    assert_eq!(rows.len(), 4, "{table}");
}

/// Rows 2 and 5.
#[test]
fn first_container_on_bridge_gets_dockers_first_address() {
    let host = Host::start();
    for network in [&[][..], &["--network", "bridge"]] {
        let command = ["--name", "busybox1", "--rm", "--", "busybox", "ifconfig"];
        let shown = host.tapestry(&[&["run"], network, &command].concat()).ok();
        for expected in [
            "eth0",
            "HWaddr 02:42:AC:11:00:02",
            "inet addr:172.17.0.2",
            "Mask:255.255.0.0",
            "MTU:1500",
            "RUNNING",
            "lo ",
            "inet addr:127.0.0.1",
        ] {
            assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
        }
    }
    assert!(!host.is_known("busybox1"));
}

/// Row 2, where the host already uses 172.17.
#[test]
fn default_pool_avoids_what_the_host_routes() {
    let host = Host::without_agent();
    host.netns.sh("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up");
    host.launch();
    let shown = host
        .tapestry(&["run", "--rm", "--", "busybox", "ifconfig", "eth0"])
        .ok();
    assert!(shown.contains("inet addr:172.18.0.2"), "{shown}");
}

/// Row 3.
#[test]
fn names_outside_are_answered_through_the_networks_forwarder() {
    let host = Host::start();
    let lookup = [
        "run",
        "--rm",
        "--",
        "busybox",
        "nslookup",
        "-type=A",
        "www.example.com",
    ];
    let shown = host.tapestry(&lookup).ok();
    assert!(
        shown.contains("172.17.0.1"),
        "the server is the gateway:\n{shown}"
    );
    assert!(
        shown.contains("canonical name = www.example.com.edge.example.net"),
        "{shown}"
    );
    assert!(shown.contains("203.0.113.80"), "{shown}");
}

/// Row 4.
#[test]
fn dns_option_names_the_server_that_is_asked() {
    let host = Host::start();
    let server = OUTSIDE_NAME_SERVER.to_string();
    let lookup = [
        "run",
        "--dns",
        &server,
        "--rm",
        "--",
        "busybox",
        "nslookup",
        "plain.example.com",
    ];
    let shown = host.tapestry(&lookup).ok();
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("Server:") && line.contains("8.8.8.8")),
        "{shown}"
    );
    assert!(shown.contains("203.0.113.81"), "{shown}");
}

/// Row 6.
#[test]
fn network_none_has_only_lo() {
    let host = Host::start();
    let links = host
        .tapestry(&["run", "--network", "none", "--rm", "--", "ip", "-o", "link"])
        .ok();
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.contains("lo:") && links.contains("UP"), "{links}");
}

/// Row 7.
#[test]
fn network_host_shows_the_hosts_own_links() {
    let host = Host::start();
    let command = ["ip", "-o", "-4", "addr", "show", "dev", "up0"];
    let inside = host
        .tapestry(&[&["run", "--network", "host", "--rm", "--"], &command[..]].concat())
        .ok();
    assert_eq!(inside, host.netns.sh(&command.join(" ")));
    assert!(inside.contains(&HOST_IP.to_string()), "{inside}");
}

/// Row 8.
#[test]
fn two_containers_on_bridge_ping_each_other() {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    host.idle("two", "bridge", &[]);
    let (one, two) = (host.ipv4("one"), host.ipv4("two"));
    assert_ne!(one, two);
    for (from, to) in [("one", two), ("two", one)] {
        host.exec(from, &format!("ping -n -c2 -W2 {to}")).ok();
    }
}

/// Row 9.
#[test]
fn containers_that_share_a_sandbox_talk_over_loopback() {
    let host = Host::start();
    host.idle("busybox1", "bridge", &[]);
    let shared = [
        "run",
        "--network",
        "container:busybox1",
        "--rm",
        "--",
        "ip",
        "-o",
        "addr",
    ];
    let inside = host.tapestry(&shared).ok();
    assert_eq!(inside, host.exec("busybox1", "ip -o addr").ok());

    let page = host.dir().join("www");
    fs::create_dir(&page).unwrap();
    fs::write(page.join("index.html"), "over loopback\n").unwrap();
    let serve = [
        "busybox",
        "httpd",
        "-f",
        "-p",
        "127.0.0.1:80",
        "-h",
        page.to_str().unwrap(),
    ];
    host.tapestry(
        &[
            &[
                "run",
                "-d",
                "--name",
                "busybox2",
                "--network",
                "container:busybox1",
                "--",
            ],
            &serve[..],
        ]
        .concat(),
    )
    .ok();
    let fetched = eventually(
        Duration::from_secs(5),
        "the page comes over loopback",
        || {
            Some(host.exec("busybox1", "busybox wget -q -O - http://127.0.0.1/"))
                .filter(|output| output.status == 0)
        },
    );
    assert_eq!(fetched.stdout, "over loopback\n");
}

/// Row 10.
#[test]
fn container_and_host_reach_each_other() {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    assert!(host.netns.pings(host.ipv4("one")), "host to container");
    host.exec("one", "ping -n -c2 -W2 172.17.0.1").ok();
    host.exec("one", &format!("ping -n -c2 -W2 {HOST_IP}")).ok();
}

/// Row 10.
#[test]
fn outside_sees_the_hosts_address() {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    host.exec("one", &format!("ping -n -c2 -W2 {OUTSIDE_IP}"))
        .ok();
    let listener = host
        .outside
        .enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)))
        .unwrap();
    let sandbox = host.sandbox("one");
    scope(|scope| {
        let sender = scope.spawn(|| {
            let mut stream = enter(&sandbox, || TcpStream::connect((OUTSIDE_IP, 8080))).unwrap();
            stream.write_all(b"hello").unwrap();
        });
        let (mut stream, peer) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!((peer.ip(), text.as_str()), (HOST_IP.into(), "hello"));
        sender.join().unwrap();
    });
}

/// Row 11.
#[test]
fn containers_on_a_made_network_find_each_other_by_name() {
    let host = Host::start();
    let id = host
        .tapestry(&["network", "create", "--driver", "bridge", "mynet"])
        .ok();
    let id = id.trim();
    assert!(
        id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{id:?}"
    );
    let table = host.tapestry(&["network", "ls"]).ok();
    assert!(
        rows(&table)
            .iter()
            .any(|row| *row == [&id[..12], "mynet", "bridge", "local"]),
        "{table}"
    );

    host.idle("web", "mynet", &["--network-alias", "site"]);
    host.idle("client", "mynet", &[]);
    let web = host.ipv4("web").to_string();
    for name in ["web", "site", "web.mynet"] {
        let shown = host
            .exec("client", &format!("busybox nslookup -type=A {name}"))
            .ok();
        assert!(shown.contains(&web), "{name}: {shown}");
    }
    host.exec("client", "ping -c2 -W2 web").ok();
    host.exec("web", "ping -c2 -W2 client").ok();
}

/// Row 11: what is known on one network is not known on another.
#[test]
fn names_of_one_network_are_unknown_on_another() {
    let host = Host::start();
    for network in ["red", "blue"] {
        host.tapestry(&["network", "create", network]).ok();
    }
    host.idle("web", "red", &[]);
    host.idle("client", "blue", &[]);
    let shown = host.exec("client", "busybox nslookup -type=A web");
    assert!(
        !shown.stdout.contains(&host.ipv4("web").to_string()),
        "{shown:?}"
    );
}

/// Row 11, with IPv6.
#[test]
fn a_network_with_ipv6_resolves_and_reaches_both_ways() {
    let host = Host::start();
    let create = [
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "10.61.0.0/24",
        "--subnet",
        "fd00:1::/64",
        "six",
    ];
    host.tapestry(&create).ok();
    host.idle("web", "six", &[]);
    host.idle("client", "six", &[]);
    let (v4, v6) = (host.ipv4("web"), host.ipv6("web"));
    let shown = host.exec("client", "busybox nslookup -type=AAAA web").ok();
    assert!(shown.contains(&v6.to_string()), "{shown}");
    for address in [v4, v6] {
        host.exec("client", &format!("ping -n -c2 -W2 {address}"))
            .ok();
        assert!(host.netns.pings(address), "host to {address}");
    }
    host.exec("client", &format!("ping -n -c2 -W2 {OUTSIDE_IP6}"))
        .ok();
}

/// Row 14.
#[test]
fn run_isolates_uts_pid_ipc_mount_and_network() {
    let host = Host::start();
    let namespaces = |text: String| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let script = "for kind in uts pid ipc mnt net user; do readlink /proc/self/ns/$kind; done";
    let outside = namespaces(host.netns.sh(script));
    let inside = namespaces(
        host.tapestry(&["run", "--rm", "--hostname", "box", "--", "sh", "-c", script])
            .ok(),
    );
    for (inside, outside) in inside.iter().zip(&outside).take(5) {
        assert_ne!(inside, outside);
    }
    assert_eq!(
        (inside.len(), &inside[5]),
        (6, &outside[5]),
        "the user namespace is the host's unless asked for"
    );

    let seen = host
        .tapestry(&[
            "run",
            "--rm",
            "--hostname",
            "box",
            "--",
            "sh",
            "-c",
            "hostname; echo $$; ls /proc",
        ])
        .ok();
    let mut lines = seen.lines();
    assert_eq!(
        (lines.next(), lines.next()),
        (Some("box"), Some("1")),
        "{seen}"
    );
    assert!(
        lines.filter(|entry| entry.parse::<u32>().is_ok()).count() <= 2,
        "only its own processes: {seen}"
    );
}

/// Row 14, the sixth.
#[test]
fn run_with_private_users_isolates_users_too() {
    let host = Host::start();
    let outside = host.netns.sh("readlink /proc/self/ns/user");
    let script = "readlink /proc/self/ns/user; id -u";
    let inside = host
        .tapestry(&[
            "run", "--rm", "--userns", "private", "--", "sh", "-c", script,
        ])
        .ok();
    let mut lines = inside.lines();
    assert_ne!(lines.next(), Some(outside.trim()));
    assert_eq!(lines.next(), Some("0"), "{inside}");
}

fn rows(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}
