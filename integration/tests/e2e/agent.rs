//! The agent as a process: how many fit on a machine, what one costs, and what its end does.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::harness::{Host, eventually};

#[test]
fn two_agents_on_one_machine_know_nothing_of_each_other() {
    let [left, right] = [(); 2].map(|()| Host::start());
    left.tapestry(&["network", "create", "mynet"]).ok();
    assert!(
        right
            .networks()
            .iter()
            .all(|network| network.name != "mynet")
    );
    for host in [&left, &right] {
        host.idle("web", "bridge", &["-p", "8080:80"]);
        assert_eq!(host.ipv4("web").to_string(), "172.17.0.2");
        assert_eq!(host.containers().len(), 1);
    }
}

#[test]
fn idle_agent_uses_at_most_half_a_percent_of_a_core() {
    let host = with_two_containers();
    // The kernels of two new links talk for a few seconds; that is work, not idling.
    let mut last = host.agent_processor_time();
    let mut since = Instant::now();
    eventually(Duration::from_secs(20), "the new links are silent", || {
        let now = host.agent_processor_time();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(2)).then_some(())
    });
    let (start, before) = (Instant::now(), host.agent_processor_time());
    std::thread::sleep(Duration::from_secs(10));
    let used = host.agent_processor_time() - before;
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share <= 0.005, "{:.2} % of a core", share * 100.0);
}

#[test]
fn agent_with_two_endpoints_fits_48_mib() {
    let host = with_two_containers();
    let (one, two) = (host.ipv4("one"), host.ipv4("two"));
    host.exec("one", &format!("ping -n -c3 -i0.2 {two}")).ok();
    host.exec(
        "two",
        &format!("busybox nslookup one; ping -n -c3 -i0.2 {one}"),
    )
    .ok();
    let status = fs::read_to_string(format!(
        "/proc/{}/status",
        host.agent_pid().as_raw_nonzero()
    ))
    .unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let resident_kib: u64 = resident.split_whitespace().next().unwrap().parse().unwrap();
    assert!(resident_kib <= 48 * 1024, "{resident_kib} KiB");
}

#[test]
fn agent_killed_and_started_again_reattaches_running_containers() {
    let host = with_two_containers();
    host.tapestry(&["network", "create", "mynet"]).ok();
    host.idle("web", "mynet", &["-p", "8080:80"]);
    let before: Vec<_> = ["one", "two", "web"]
        .map(|name| (host.pid(name), host.ipv4(name)))
        .into();

    host.stop_agent(Signal::KILL);
    host.launch();

    let after: Vec<_> = ["one", "two", "web"]
        .map(|name| (host.pid(name), host.ipv4(name)))
        .into();
    assert_eq!(before, after, "the same processes with the same addresses");
    let (_, two) = after[1];
    eventually(Duration::from_secs(5), "one reaches two again", || {
        (host.exec("one", &format!("ping -n -c1 -W1 {two}")).status == 0).then_some(())
    });
    assert!(
        host.netns.pings(host.ipv4("web")),
        "the host reaches web again"
    );
    host.exec("web", "busybox nslookup web").ok();
    let logged = host.tapestry(&[
        "run",
        "--rm",
        "--network",
        "mynet",
        "--",
        "ping",
        "-c1",
        "-W2",
        "web",
    ]);
    assert_eq!(logged.status, 0, "{logged:?}");
}

#[test]
fn agent_killed_and_started_again_buries_those_that_ended_meanwhile() {
    let host = with_two_containers();
    host.tapestry(&[
        "run", "-d", "--rm", "--name", "passing", "--", "sleep", "1000",
    ])
    .ok();
    let pids = ["one", "passing"].map(|name| host.pid(name));
    host.stop_agent(Signal::KILL);
    for pid in pids {
        kill_process(pid, Signal::KILL).unwrap();
    }
    host.launch();
    eventually(
        Duration::from_secs(5),
        "passing is removed, as --rm asks",
        || (!host.is_known("passing")).then_some(()),
    );
    let listed = host.tapestry(&["ps"]).ok();
    assert!(
        !listed.contains("one ") && listed.contains("two"),
        "{listed}"
    );
}

#[test]
fn agent_that_stops_leaves_no_link_and_no_rule() {
    let host = with_two_containers();
    for name in ["one", "two"] {
        host.tapestry(&["rm", "-f", name]).ok();
    }
    host.stop_agent(Signal::TERM);
    eventually(Duration::from_secs(3), "only lo and up0 are left", || {
        (host.netns.sh("ip -o link show").lines().count() == 2).then_some(())
    });
    assert_eq!(host.netns.sh("nft list ruleset"), "");
    assert!(!host.socket().exists());
}

#[test]
fn a_container_can_join_and_leave_networks_while_it_runs() {
    let host = Host::start();
    host.tapestry(&["network", "create", "mynet"]).ok();
    host.idle("web", "bridge", &[]);
    host.idle("client", "mynet", &[]);
    host.tapestry(&["network", "connect", "mynet", "web"]).ok();
    host.exec("client", "ping -c2 -W2 web").ok();
    host.exec("web", "ip -o link show eth1").ok();
    host.tapestry(&["network", "disconnect", "mynet", "web"])
        .ok();
    assert_ne!(host.exec("client", "ping -c1 -W1 web").status, 0);
    assert_ne!(host.exec("web", "ip -o link show eth1").status, 0);
}

#[test]
fn an_endpoint_goes_when_its_namespace_goes() {
    let host = Host::start();
    let endpoint = host.endpoint("bridge", "lab");
    assert!(
        host.network("bridge")
            .endpoints
            .iter()
            .any(|known| known.name == "lab")
    );
    assert!(host.netns.pings(endpoint.ipv4()));
    host.netns
        .sh(&format!("ip netns del {}", endpoint.netns.name()));
    // Nobody is to tell the agent.
    std::mem::forget(endpoint);
    eventually(Duration::from_secs(10), "the port is gone", || {
        host.ports("bridge")
            .iter()
            .all(|port| port.kind != "tap")
            .then_some(())
    });
}

#[test]
fn doctor_finds_a_good_host_good() {
    let host = Host::start();
    let report = host.tapestry(&["doctor"]).ok();
    for subject in ["/dev/net/tun", "io_uring", "nft"] {
        assert!(report.contains(subject), "{subject}: {report}");
    }
}

#[test]
fn lists_are_json_on_request() {
    let host = with_two_containers();
    for list in [
        &["network", "ls"][..],
        &["ps"],
        &["port", "ls", "bridge"],
        &["fdb", "ls", "bridge"],
    ] {
        let text = host.tapestry(&[list, &["--json"]].concat()).ok();
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{list:?}: {error}: {text}"));
        assert!(
            value.as_array().is_some_and(|rows| !rows.is_empty()),
            "{list:?}: {text}"
        );
    }
}

fn with_two_containers() -> Host {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    host.idle("two", "bridge", &[]);
    host
}
