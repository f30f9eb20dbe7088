//! What people get wrong: one line that names the thing, the right exit status, and nothing half-made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::harness::{Host, Output, binary};

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const REFUSED_RUN: i32 = 125;

#[test]
fn unknown_networks_drivers_and_containers_are_named() {
    let host = Host::start();
    refuses(&host, FAILED, "nonet", &["network", "inspect", "nonet"]);
    refuses(&host, FAILED, "nonet", &["network", "rm", "nonet"]);
    refuses(&host, FAILED, "nonet", &["fdb", "ls", "nonet"]);
    refuses(&host, FAILED, "nonet", &["port", "ls", "nonet"]);
    refuses(
        &host,
        REFUSED_RUN,
        "nonet",
        &["run", "--rm", "--network", "nonet", "--", "true"],
    );
    refuses(
        &host,
        REFUSED_RUN,
        "nobody",
        &["run", "--rm", "--network", "container:nobody", "--", "true"],
    );
    refuses(
        &host,
        USAGE,
        "vlan",
        &["network", "create", "--driver", "vlan", "mynet"],
    );
    refuses(&host, FAILED, "nobody", &["inspect", "nobody"]);
    refuses(&host, FAILED, "nobody", &["stop", "nobody"]);
    refuses(&host, FAILED, "nobody", &["rm", "nobody"]);
    refuses(&host, FAILED, "nobody", &["logs", "nobody"]);
    refuses(&host, FAILED, "nobody", &["exec", "nobody", "--", "true"]);
    refuses(
        &host,
        FAILED,
        "nobody",
        &["network", "connect", "bridge", "nobody"],
    );
}

#[test]
fn duplicate_names_are_refused() {
    let host = Host::start();
    host.tapestry(&["network", "create", "mynet"]).ok();
    host.idle("web", "mynet", &[]);
    refuses(&host, FAILED, "mynet", &["network", "create", "mynet"]);
    refuses(&host, FAILED, "bridge", &["network", "create", "bridge"]);
    refuses(
        &host,
        REFUSED_RUN,
        "web",
        &["run", "-d", "--name", "web", "--", "sleep", "1"],
    );
}

#[test]
fn malformed_and_overlapping_subnets_are_refused() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.70.0.0/16", "first"])
        .ok();
    for subnet in ["10.70", "10.70.0.0/33", "ten/8", "fd00::/129"] {
        refuses(
            &host,
            USAGE,
            subnet,
            &["network", "create", "--subnet", subnet, "second"],
        );
    }
    for subnet in ["10.70.0.0/16", "10.70.3.0/24", "10.0.0.0/8"] {
        refuses(
            &host,
            FAILED,
            subnet,
            &["network", "create", "--subnet", subnet, "second"],
        );
    }
    let gateway = [
        "network",
        "create",
        "--subnet",
        "10.71.0.0/24",
        "--gateway",
        "10.72.0.1",
        "second",
    ];
    refuses(&host, FAILED, "10.72.0.1", &gateway);
    let range = [
        "network",
        "create",
        "--subnet",
        "10.71.0.0/24",
        "--ip-range",
        "10.72.0.0/28",
        "second",
    ];
    refuses(&host, FAILED, "10.72.0.0/28", &range);
    refuses(
        &host,
        FAILED,
        "30",
        &["network", "create", "--mtu", "30", "second"],
    );
}

#[test]
fn addresses_outside_the_subnet_or_taken_are_refused() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.70.0.0/24", "mynet"])
        .ok();
    host.idle("web", "mynet", &["--ip", "10.70.0.9"]);
    for address in [
        "10.71.0.9",
        "10.70.0.9",
        "10.70.0.1",
        "10.70.0.0",
        "10.70.0.255",
    ] {
        refuses(
            &host,
            REFUSED_RUN,
            address,
            &[
                "run",
                "--rm",
                "--network",
                "mynet",
                "--ip",
                address,
                "--",
                "true",
            ],
        );
    }
    refuses(
        &host,
        USAGE,
        "10.70",
        &[
            "run",
            "--rm",
            "--network",
            "mynet",
            "--ip",
            "10.70",
            "--",
            "true",
        ],
    );
}

#[test]
fn an_exhausted_pool_is_refused_and_recovers() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.70.0.0/29", "tiny"])
        .ok();
    for number in 0..5 {
        host.idle(&format!("c{number}"), "tiny", &[]);
    }
    refuses(
        &host,
        REFUSED_RUN,
        "10.70.0.0/29",
        &["run", "--rm", "--network", "tiny", "--", "true"],
    );
    host.tapestry(&["rm", "-f", "c3"]).ok();
    host.tapestry(&["run", "--rm", "--network", "tiny", "--", "true"])
        .ok();
}

#[test]
fn bad_mac_addresses_are_refused() {
    let host = Host::start();
    for mac in [
        "zz:42:ac:11:00:02",
        "02:42:ac:11:00",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
    ] {
        refuses(
            &host,
            REFUSED_RUN,
            mac,
            &["run", "--rm", "--mac-address", mac, "--", "true"],
        );
    }
    host.idle("web", "bridge", &["--mac-address", "02:00:00:00:00:07"]);
    let taken = [
        "run",
        "--rm",
        "--mac-address",
        "02:00:00:00:00:07",
        "--",
        "true",
    ];
    refuses(&host, REFUSED_RUN, "02:00:00:00:00:07", &taken);
}

#[test]
fn bad_names_are_refused_on_one_short_line() {
    let host = Host::start();
    let long = "x".repeat(300);
    for (name, shown) in [
        ("a/b", "a/b"),
        ("a b", "a b"),
        ("a\nb", "a"),
        ("", ""),
        ("../../etc", "../../etc"),
        (&long, "xxx"),
    ] {
        refuses(&host, FAILED, shown, &["network", "create", "--", name]);
        refuses(
            &host,
            REFUSED_RUN,
            shown,
            &["run", "--rm", "--name", name, "--", "true"],
        );
        refuses(
            &host,
            REFUSED_RUN,
            shown,
            &["run", "--rm", "--network-alias", name, "--", "true"],
        );
    }
}

#[test]
fn a_published_port_cannot_be_published_again() {
    let host = Host::start();
    host.idle("web", "bridge", &["-p", "8080:80"]);
    refuses(
        &host,
        REFUSED_RUN,
        "8080",
        &["run", "--rm", "-p", "8080:81", "--", "true"],
    );
    for malformed in ["80:", "x:80", "70000:80", "8081:0", "8081:80/sctp"] {
        refuses(
            &host,
            USAGE,
            malformed,
            &["run", "--rm", "-p", malformed, "--", "true"],
        );
    }
    host.tapestry(&["rm", "-f", "web"]).ok();
    host.tapestry(&["run", "--rm", "-p", "8080:81", "--", "true"])
        .ok();
}

#[test]
fn a_network_in_use_cannot_be_removed() {
    let host = Host::start();
    host.tapestry(&["network", "create", "mynet"]).ok();
    host.idle("web", "mynet", &[]);
    let told = refuses(&host, FAILED, "mynet", &["network", "rm", "mynet"]);
    assert!(told.contains("web"), "it says who uses it: {told}");
    refuses(&host, FAILED, "bridge", &["network", "rm", "bridge"]);
    host.tapestry(&["rm", "-f", "web"]).ok();
    host.tapestry(&["network", "rm", "mynet"]).ok();
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let host = Host::start();
    refuses(
        &host,
        USAGE,
        "--nonsense",
        &["run", "--nonsense", "--", "true"],
    );
    refuses(&host, USAGE, "nonsense", &["nonsense"]);
    refuses(
        &host,
        FAILED,
        "nonsense",
        &["network", "create", "-o", "nonsense", "mynet"],
    );
    refuses(
        &host,
        FAILED,
        "tap",
        &["network", "create", "-o", "tap=nonsense", "mynet"],
    );
}

#[test]
fn commands_that_cannot_be_executed_have_their_shell_status() {
    let host = Host::start();
    let missing = host.tapestry(&["run", "--rm", "--", "no-such-command"]);
    one_line(&missing, "no-such-command");
    assert_eq!(missing.status, 127);
    let directory = host.tapestry(&["run", "--rm", "--", "/tmp"]);
    assert_eq!(directory.status, 126, "{directory:?}");
    assert!(host.containers().is_empty());
}

#[test]
fn without_an_agent_the_socket_and_the_remedy_are_named() {
    let host = Host::without_agent();
    let socket = host.socket();
    let output = host.tapestry(&["network", "ls"]);
    one_line(&output, socket.to_str().unwrap());
    assert!(output.stderr.contains("tapestry agent"), "{output:?}");
    assert_eq!(output.status, FAILED);
    assert_eq!(host.tapestry(&["run", "--", "true"]).status, REFUSED_RUN);
}

#[test]
fn a_stale_socket_is_told_and_taken_over() {
    let host = Host::without_agent();
    drop(UnixListener::bind(host.socket()).unwrap());
    let output = host.tapestry(&["network", "ls"]);
    one_line(&output, host.socket().to_str().unwrap());
    assert_eq!(output.status, FAILED);
    host.launch();
    host.tapestry(&["network", "ls"]).ok();
}

#[test]
fn a_second_agent_on_the_same_state_is_refused() {
    let host = Host::start();
    let second = host.netns.run(&mut host.agent_command());
    assert_eq!(second.status, FAILED, "{second:?}");
    last_line(&second, host.dir().to_str().unwrap());
    host.tapestry(&["network", "ls"]).ok();
}

#[test]
fn an_agent_that_is_not_root_says_so() {
    let host = Host::without_agent();
    // Where the build lies, another user may not be able to look.
    let copy = host.dir().join("tapestry");
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(host.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    let agent = ["agent", "--socket", "b.sock", "--state-dir", "b"];
    let output = host
        .netns
        .run(nobody().arg(&copy).args(agent).current_dir(host.dir()));
    assert_eq!(output.status, FAILED, "{output:?}");
    last_line(&output, "root");

    host.launch();
    let output = host.netns.run(
        nobody()
            .arg(&copy)
            .args(["network", "ls"])
            .env("TAPESTRY_SOCKET", host.socket()),
    );
    assert_eq!(
        output.status, FAILED,
        "the socket's mode is 0660: {output:?}"
    );
    one_line(&output, host.socket().to_str().unwrap());
}

#[test]
fn without_a_tun_device_the_agent_names_it() {
    let host = Host::without_agent();
    let hide = "mount -t tmpfs none /dev/net && exec timeout 10 \"$@\"";
    let agent = host.agent_command();
    let mut hidden = Command::new("unshare");
    hidden.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        hide,
        "sh",
    ]);
    hidden.arg(agent.get_program()).args(agent.get_args());
    let output = host.netns.run(&mut hidden);
    assert_eq!(output.status, FAILED, "it ends by itself: {output:?}");
    last_line(&output, "/dev/net/tun");
}

#[test]
fn bad_configuration_is_refused_by_key() {
    let host = Host::without_agent();
    fs::write(host.dir().join("agent.toml"), "enginee = \"epoll\"\n").unwrap();
    let output = host.netns.run(&mut host.agent_command());
    assert_eq!(output.status, FAILED, "{output:?}");
    last_line(&output, "enginee");
}

#[test]
fn a_refused_request_leaves_the_agent_able() {
    let host = Host::start();
    for path in ["/v1/networks", "/v1/containers", "/v1/endpoints"] {
        let reply = host.api("POST", path, Some(&serde_json::json!({ "nonsense": 1 })));
        assert!((400..500).contains(&reply.status), "{path}: {reply:?}");
    }
    let endpoint = serde_json::json!({ "network": "bridge", "name": "ghost", "sandbox": "/run/netns/no-such-namespace" });
    let reply = host.api("POST", "/v1/endpoints", Some(&endpoint));
    assert!(
        reply.status >= 400
            && reply.body["message"]
                .as_str()
                .unwrap()
                .contains("no-such-namespace"),
        "{reply:?}"
    );
    host.tapestry(&["run", "--rm", "--", "true"]).ok();
}

/// Runs `arguments`, expects one line that contains `thing`, and that nothing has changed.
#[track_caller]
fn refuses(host: &Host, status: i32, thing: &str, arguments: &[&str]) -> String {
    let before = world(host);
    let output = host.tapestry(arguments);
    one_line(&output, thing);
    assert_eq!(output.status, status, "{output:?}");
    assert_eq!(world(host), before, "half-made: {output:?}");
    output.stderr
}

#[track_caller]
fn one_line(output: &Output, thing: &str) {
    let told = output.stderr.trim_end();
    assert!(
        !told.is_empty() && !told.contains('\n'),
        "not one line: {output:?}"
    );
    assert!(told.contains(thing), "{thing:?} is not named: {output:?}");
    assert!(told.len() < 400, "too long: {output:?}");
    // `inspect` prints what it found, as Docker does: an empty list.
    assert!(["", "[]\n"].contains(&output.stdout.as_str()), "{output:?}");
}

/// An agent logs before it gives up.
#[track_caller]
fn last_line(output: &Output, thing: &str) {
    let last = output.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains(thing),
        "{thing:?} is not named last: {output:?}"
    );
}

/// Whatever a refused command could have made.
fn world(host: &Host) -> Vec<String> {
    let networks = host
        .networks()
        .into_iter()
        .map(|network| network.name)
        .collect::<Vec<_>>()
        .join(" ");
    let containers = host
        .containers()
        .into_iter()
        .map(|container| container.name)
        .collect::<Vec<_>>()
        .join(" ");
    let links = host.netns.sh("ip -o link show | cut -d: -f2");
    let rules = host.netns.sh("nft -s list ruleset");
    let kept = host.netns.sh(&format!(
        "find {} -path '*containers/*' -maxdepth 2",
        host.state_dir().display()
    ));
    vec![networks, containers, links, rules, kept]
}

fn nobody() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
}
