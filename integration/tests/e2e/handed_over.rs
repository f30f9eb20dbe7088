//! Endpoints without a sandbox: whoever asks for one takes its link into a namespace and configures it there, as container
//! engines do.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use agent_api::{EndpointDetail, ErrorKind, NetworkSummary, PortMapping, TransportProtocol};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{HOST_IP, Host, Netns, Reply, eventually, pings};
use crate::publish::{ask_tcp, tcp_server};

/// An id that an engine would give.
fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn ask(host: &Host, body: &Value) -> Reply {
    host.api("POST", "/v1/endpoints", Some(body))
}

fn create(host: &Host, digit: char, more: Value) -> EndpointDetail {
    let mut body = json!({"network": "lab", "name": format!("e{digit}"), "id": id(digit)});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    ask(host, &body).ok()
}

fn get(host: &Host, digit: char) -> EndpointDetail {
    host.api("GET", &format!("/v1/endpoints/{}", id(digit)), None)
        .ok()
}

fn patch(host: &Host, digit: char, body: &Value) -> Reply {
    host.api("PATCH", &format!("/v1/endpoints/{}", id(digit)), Some(body))
}

/// Nothing may be attached when the agent stops at the end of a test.
fn remove(host: &Host, id: &str) {
    let _: Value = host
        .api("DELETE", &format!("/v1/endpoints/{id}"), None)
        .ok();
}

/// What an engine does with the link that it was handed.
fn take(host: &Host, endpoint: &EndpointDetail, sandbox: &Netns) {
    let (link, name) = (&endpoint.link, sandbox.name());
    host.netns
        .sh(&format!("ip link set {link} netns {name} name eth0"));
    for address in &endpoint.addresses {
        sandbox.sh(&format!("ip address add {address} dev eth0 nodad"));
    }
    sandbox.sh("ip link set eth0 up");
    for gateway in &endpoint.gateways {
        sandbox.sh(&format!("ip route add default via {gateway}"));
    }
}

fn lab(arguments: &[&str]) -> Host {
    let host = Host::start();
    let create = ["network", "create", "--subnet", "10.64.0.0/24"];
    host.tapestry(&[&create, arguments, &["lab"]].concat()).ok();
    host
}

fn works(endpoint: &EndpointDetail, sandbox: &Netns) {
    // The agent answers before it has looked everywhere.
    eventually(Duration::from_secs(20), "the gateway answers", || {
        sandbox.pings(endpoint.gateways[0]).then_some(())
    });
    let shown = sandbox.sh("ip -o address show dev eth0; ip link show eth0; ip route");
    for part in [
        &endpoint.addresses[0].to_string(),
        &endpoint.mac,
        "default via",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_link_is_handed_over_and_works_where_it_was_taken_also_after_restarts() {
    let host = lab(&["--mtu", "1400"]);
    host.idle("web", "lab", &[]);
    let made = create(&host, 'a', json!({}));
    assert_eq!(made.id, id('a'));
    let link = host.netns.sh(&format!("ip link show {}", made.link));
    for part in ["mtu 1400", "state DOWN", &made.mac] {
        assert!(link.contains(part), "{part}: {link}");
    }
    let sandbox = Netns::new("taken");
    // A restart before the engine has taken it: it is there again.
    host.stop_agent(Signal::KILL);
    host.launch();
    take(&host, &made, &sandbox);
    works(&made, &sandbox);
    assert!(get(&host, 'a').moved);
    assert!(pings(&host.sandbox("web"), made.addresses[0].addr()));
    for signal in [Signal::KILL, Signal::TERM] {
        host.stop_agent(signal);
        host.launch();
        works(&made, &sandbox);
    }
    for _ in 0..2 {
        remove(&host, &id('a'));
    }
    assert!(!sandbox.sh("ip -o link").contains("eth0"));
}

/// The agent is stopped, so that it cannot see what happens before it is killed.
#[test]
fn a_link_that_moves_in_the_moment_of_a_kill_is_found_where_it_is() {
    let host = lab(&[]);
    host.idle("web", "lab", &[]);
    let unseen = |act: &dyn Fn()| {
        kill_process(host.agent_pid(), Signal::STOP).unwrap();
        act();
        host.stop_agent(Signal::KILL);
        host.launch();
    };
    let first = create(&host, 'a', json!({}));
    let published =
        json!({"publish": [{"host_port": 8080, "container_port": 80, "protocol": "tcp"}]});
    patch(&host, 'a', &published).ok::<EndpointDetail>();
    let second = create(&host, 'b', json!({}));
    let (sandbox, nested) = (Netns::new("taken"), Netns::new("nested"));
    unseen(&|| take(&host, &first, &sandbox));
    works(&first, &sandbox);
    assert!(get(&host, 'a').moved);
    assert!(pings(&host.sandbox("web"), first.addresses[0].addr()));
    let server = tcp_server(&sandbox.path(), (Ipv4Addr::UNSPECIFIED, 80));
    let answer = ask_tcp(&host.outside.path(), (HOST_IP, 8080));
    assert_eq!(answer, Some("hello".into()));
    server.join().unwrap();
    let handed_over = host.netns.sh("ip -o link");
    assert!(handed_over.contains(&second.link), "{handed_over}");
    assert!(!handed_over.contains(&first.link), "{handed_over}");
    // What it had been told of goes on, to another sandbox and back.
    unseen(&|| drop(sandbox.sh(&format!("ip link set eth0 netns {}", nested.name()))));
    assert!(get(&host, 'a').moved);
    assert!(nested.sh("ip -o link").contains(&first.mac));
    unseen(&|| {
        let own = host.netns.name();
        nested.sh(&format!("ip link set eth0 netns {own} name {}", first.link));
    });
    eventually(Duration::from_secs(5), "back where it was", || {
        (!get(&host, 'a').moved).then_some(())
    });
    assert!(!nested.sh("ip -o link").contains(&first.mac));
    for digit in ['a', 'b'] {
        remove(&host, &id(digit));
    }
    let left = host.netns.sh("ip -o link");
    assert!(!left.contains(&first.link), "{left}");
}

#[test]
fn what_was_given_back_goes_with_its_endpoint_and_what_was_lost_takes_it_along() {
    let host = lab(&[]);
    let sandbox = Netns::new("taken");
    let first = create(&host, 'a', json!({}));
    take(&host, &first, &sandbox);
    assert!(get(&host, 'a').moved);
    sandbox.sh(&format!(
        "ip link set eth0 down; ip link set eth0 name {}",
        first.link
    ));
    let pid = host.agent_pid().as_raw_nonzero();
    sandbox.sh(&format!("ip link set {} netns {pid}", first.link));
    assert!(!get(&host, 'a').moved);
    remove(&host, &id('a'));
    let links = host.netns.sh("ip -o link");
    assert!(!links.contains(&first.link), "{links}");
    // A container that dies without a word of the engine's, while the agent runs and while it does not.
    for is_running in [true, false] {
        let sandbox = Netns::new("lost");
        let lost = create(&host, 'b', json!({}));
        take(&host, &lost, &sandbox);
        assert!(get(&host, 'b').moved);
        if !is_running {
            host.stop_agent(Signal::TERM);
        }
        drop(sandbox);
        if !is_running {
            host.launch();
        }
        eventually(Duration::from_secs(10), "the endpoint has gone", || {
            host.network("lab").endpoints.is_empty().then_some(())
        });
    }
}

#[test]
fn names_and_ports_come_later_and_stay() {
    let host = lab(&[]);
    host.idle("web", "lab", &[]);
    let sandbox = Netns::new("taken");
    let made = create(&host, 'a', json!({}));
    take(&host, &made, &sandbox);
    get(&host, 'a');
    let mapping = json!({"host_port": 8080, "container_port": 80, "protocol": "tcp"});
    let wanted = json!({"name": "db", "aliases": ["store"], "publish": [mapping]});
    let after: EndpointDetail = patch(&host, 'a', &wanted).ok();
    assert_eq!(
        (&*after.name, &after.aliases[..]),
        ("db", &["store".to_owned()][..])
    );
    let published = PortMapping {
        host_ip: None,
        host_port: 8080,
        container_port: 80,
        protocol: TransportProtocol::Tcp,
    };
    assert_eq!(after.publish, [published]);
    // A name that another has, a port that another has: nothing changes.
    host.idle("front", "lab", &["-p", "8081:80"]);
    let taken = json!({"host_port": 8081, "container_port": 80, "protocol": "tcp"});
    for (wrong, why) in [
        (json!({"name": "web", "publish": []}), "already"),
        (json!({"name": "x", "publish": [taken]}), "8081"),
        (json!({"aliases": ["a b"]}), "alias"),
    ] {
        let refused = patch(&host, 'a', &wrong).refusal();
        assert!(refused.message.contains(why), "{refused:?}");
    }
    for is_restarted in [false, true] {
        if is_restarted {
            host.stop_agent(Signal::KILL);
            host.launch();
        }
        for name in ["db", "store"] {
            let found = host.exec("web", &format!("getent hosts {name}")).stdout;
            assert!(
                found.contains(&made.addresses[0].addr().to_string()),
                "{name}: {found}"
            );
        }
        // A resolver of the engine's asks a server that knows nothing of the network.
        let asked = sandbox.sh("dig @192.0.2.53 +tries=1 +time=2 +short web");
        assert_eq!(asked.trim(), host.ipv4("web").to_string());
        let server = tcp_server(&sandbox.path(), ([0, 0, 0, 0], 80));
        let answer = ask_tcp(&host.outside.path(), (HOST_IP, 8080));
        assert_eq!(answer, Some("hello".into()), "restarted: {is_restarted}");
        server.join().unwrap();
    }
    let _: EndpointDetail = patch(&host, 'a', &json!({"publish": []})).ok();
    assert_eq!(ask_tcp(&host.outside.path(), (HOST_IP, 8080)), None);
    remove(&host, &id('a'));
}

/// A sandbox on two networks: each attachment repeats the ports that it publishes, as CNI's do. They stay until both are gone.
#[test]
fn a_sandboxs_ports_are_published_once() {
    let host = lab(&[]);
    host.tapestry(&["network", "create", "--subnet", "10.65.0.0/24", "side"])
        .ok();
    let sandbox = Netns::new("pod");
    let attach = |network: &str| -> EndpointDetail {
        let ports =
            json!([{"host_port": 8080, "container_port": 80, "protocol": "tcp", "ports": 1}]);
        let body =
            json!({"network": network, "name": "pod", "sandbox": sandbox.path(), "publish": ports});
        ask(&host, &body).ok()
    };
    let (first, second) = (attach("lab"), attach("side"));
    assert_eq!((first.publish.len(), second.publish.len()), (1, 1));
    let reached = || {
        let server = tcp_server(&sandbox.path(), ([0, 0, 0, 0], 80));
        assert_eq!(
            ask_tcp(&host.outside.path(), (HOST_IP, 8080)),
            Some("hello".into())
        );
        server.join().unwrap();
    };
    reached();
    host.stop_agent(Signal::TERM);
    host.launch();
    reached();
    remove(&host, &first.id);
    reached();
    remove(&host, &second.id);
    assert_eq!(ask_tcp(&host.outside.path(), (HOST_IP, 8080)), None);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_made() {
    let host = lab(&[]);
    create(&host, 'a', json!({}));
    let sandbox = Netns::new("own");
    for (more, kind, why) in [
        (json!({"id": "xyz"}), ErrorKind::Invalid, "64 hexadecimal"),
        (json!({"id": id('a')}), ErrorKind::Conflict, "already"),
        (
            json!({"id": id('b'), "sandbox": sandbox.path()}),
            ErrorKind::Invalid,
            "sandbox",
        ),
        (
            json!({"id": id('b'), "link": "eth0"}),
            ErrorKind::Invalid,
            "link",
        ),
        (
            json!({"sandbox": Path::new("/proc/self/ns/net")}),
            ErrorKind::Invalid,
            "own network namespace",
        ),
    ] {
        let mut body = json!({"network": "lab", "name": "x"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let refused = ask(&host, &body).refusal();
        assert_eq!(refused.kind, kind, "{refused:?}");
        assert!(refused.message.contains(why), "{refused:?}");
    }
    assert_eq!(host.network("lab").endpoints.len(), 1);
    host.idle("web", "lab", &[]);
    let web = host
        .network("lab")
        .endpoints
        .into_iter()
        .find(|one| one.name == "web");
    let path = format!("/v1/endpoints/{}", web.unwrap().id);
    let refused = host
        .api("PATCH", &path, Some(&json!({"name": "y"})))
        .refusal();
    assert!(refused.message.contains("container's"), "{refused:?}");
    remove(&host, &id('a'));
}

/// Engines know a network by an id of their own, and say later what it is called.
#[test]
fn a_network_of_a_given_id_is_renamed_while_nobody_is_on_it() {
    let host = Host::start();
    let create = |name: &str| {
        let body = json!({"id": id('f'), "name": name, "subnets": ["10.66.0.0/24"]});
        host.api("POST", "/v1/networks", Some(&body))
    };
    let made: NetworkSummary = create("docker-ffffffffffff").ok();
    assert_eq!(made.id, id('f'));
    assert_eq!(create("twice").refusal().kind, ErrorKind::Conflict);
    let path = format!("/v1/networks/{}", id('f'));
    let rename = |to: &str| host.api("PATCH", &path, Some(&json!({"name": to})));
    let renamed: NetworkSummary = rename("shop").ok();
    assert_eq!(renamed.name, "shop");
    for (name, why) in [("bridge", "exists"), ("a b", "usable")] {
        let refused = rename(name).refusal();
        assert!(refused.message.contains(why), "{refused:?}");
    }
    host.idle("web", "shop", &[]);
    host.idle("db", "shop", &[]);
    let address = host.ipv4("db").to_string();
    for is_restarted in [false, true] {
        if is_restarted {
            host.stop_agent(Signal::KILL);
            host.launch();
        }
        let found = host.exec("web", "getent hosts db.shop").stdout;
        assert!(found.contains(&address), "{found}");
    }
    let refused = rename("late").refusal();
    assert!(refused.message.contains("in use by"), "{refused:?}");
    let refused = host
        .api("PATCH", "/v1/networks/bridge", Some(&json!({"name": "x"})))
        .refusal();
    assert!(refused.message.contains("every agent"), "{refused:?}");
}
