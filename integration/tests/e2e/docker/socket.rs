//! The plugin's socket, called as no engine would.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Host, Netns, Reply, eventually, request_raw};

/// An agent with a plugin where the test says.
fn with_plugin(host: &Host) -> PathBuf {
    let (config, socket) = (host.dir().join("agent.toml"), host.dir().join("p.sock"));
    let text = std::fs::read_to_string(&config).unwrap();
    let at = format!(
        "plugin = {socket:?}\nengine = {:?}",
        host.dir().join("no.sock")
    );
    std::fs::write(&config, text.replace("plugin = \"off\"", &at)).unwrap();
    host.launch();
    eventually(Duration::from_secs(5), "the plugin is there", || {
        socket.exists().then_some(())
    });
    socket
}

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

struct Plugin(PathBuf);

impl Plugin {
    fn raw(&self, method: &str, body: &str) -> Reply {
        request_raw(&self.0, "POST", &format!("/{method}"), body.as_bytes()).unwrap()
    }

    #[track_caller]
    fn ok(&self, method: &str, body: &Value) -> Value {
        let reply = self.raw(method, &body.to_string());
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            reply.body.get("Err").is_none() && reply.body.get("Error").is_none(),
            "{reply:?}"
        );
        reply.body
    }

    /// What a call says that had to be refused, in its protocol's own form.
    #[track_caller]
    fn refused(&self, method: &str, body: &str) -> String {
        let reply = self.raw(method, body);
        let key = if method.starts_with("Ipam") {
            "Error"
        } else {
            "Err"
        };
        let told = reply.body[key]
            .as_str()
            .unwrap_or_else(|| panic!("{reply:?}"));
        assert!(!told.is_empty() && !told.contains('\n'), "{told}");
        told.to_owned()
    }

    fn create_network(&self, digit: char, subnet: &str, gateway: &str) -> Value {
        let pool = json!([{"AddressSpace": "LocalDefault", "Pool": subnet, "Gateway": gateway}]);
        let call =
            json!({"NetworkID": id(digit), "Options": null, "IPv4Data": pool, "IPv6Data": []});
        self.ok("NetworkDriver.CreateNetwork", &call)
    }
}

#[test]
fn every_call_may_come_twice() {
    let host = Host::without_agent();
    let plugin = Plugin(with_plugin(&host));
    let activated = plugin.raw("Plugin.Activate", "").body;
    assert_eq!(
        activated,
        json!({"Implements": ["NetworkDriver", "IpamDriver"]})
    );
    let scope = plugin.raw("NetworkDriver.GetCapabilities", "").body;
    assert_eq!(scope["Scope"], "local");
    let endpoint = json!({"NetworkID": id('a'), "EndpointID": id('e'), "Options": null,
        "Interface": {"Address": "10.70.0.9/24", "AddressIPv6": "", "MacAddress": ""}});
    for _ in 0..2 {
        plugin.create_network('a', "10.70.0.0/24", "10.70.0.1/24");
        let made = plugin.ok("NetworkDriver.CreateEndpoint", &endpoint);
        assert_eq!(made["Interface"]["MacAddress"], "02:42:0a:46:00:09");
        assert!(made["Interface"].get("Address").is_none(), "{made}");
    }
    let other = json!({"NetworkID": id('a'), "EndpointID": id('e'), "Interface": {"Address": "10.70.0.10/24"}});
    let told = plugin.refused("NetworkDriver.CreateEndpoint", &other.to_string());
    assert!(told.contains("already"), "{told}");
    let both = json!({"NetworkID": id('a'), "EndpointID": id('e')});
    let joined = plugin.ok("NetworkDriver.Join", &both);
    assert_eq!(
        (&joined["Gateway"], &joined["DisableGatewayService"]),
        (&json!("10.70.0.1"), &json!(false))
    );
    // Restarted, it knows all of it still; and what is gone is no error.
    host.stop_agent(Signal::KILL);
    host.launch();
    eventually(Duration::from_secs(5), "the plugin is there", || {
        UnixStream::connect(&plugin.0).ok()
    });
    assert_eq!(plugin.ok("NetworkDriver.Join", &both), joined);
    for _ in 0..2 {
        plugin.ok("NetworkDriver.EndpointOperInfo", &both);
        plugin.ok("NetworkDriver.RevokeExternalConnectivity", &both);
        plugin.ok("NetworkDriver.Leave", &both);
        plugin.ok("NetworkDriver.DeleteEndpoint", &both);
        plugin.ok(
            "NetworkDriver.DeleteNetwork",
            &json!({"NetworkID": id('a')}),
        );
        plugin.ok(
            "IpamDriver.ReleaseAddress",
            &json!({"PoolID": "10.70.0.0/24", "Address": "10.70.0.9"}),
        );
        plugin.ok("IpamDriver.ReleasePool", &json!({"PoolID": "10.70.0.0/24"}));
    }
}

#[test]
fn a_malformed_call_is_refused_in_the_protocols_form_and_makes_nothing() {
    let host = Host::without_agent();
    let plugin = Plugin(with_plugin(&host));
    for method in [
        "NetworkDriver.CreateNetwork",
        "NetworkDriver.DeleteNetwork",
        "NetworkDriver.CreateEndpoint",
        "NetworkDriver.DeleteEndpoint",
        "NetworkDriver.EndpointOperInfo",
        "NetworkDriver.Join",
        "NetworkDriver.Leave",
        "NetworkDriver.ProgramExternalConnectivity",
        "NetworkDriver.RevokeExternalConnectivity",
        "IpamDriver.RequestPool",
        "IpamDriver.ReleasePool",
        "IpamDriver.RequestAddress",
        "IpamDriver.ReleaseAddress",
    ] {
        for body in ["", "{", "[]", "7", "null", "\u{1}"] {
            plugin.refused(method, body);
        }
    }
    assert_eq!(
        plugin.raw("NetworkDriver.AllocateNetwork", "{}").status,
        404
    );
    assert_eq!(plugin.raw("Nonsense", "{}").status, 404);
    let long = "x".repeat(100);
    for (method, body) in [
        (
            "NetworkDriver.CreateNetwork",
            json!({"NetworkID": "../../etc/passwd"}),
        ),
        (
            "NetworkDriver.CreateNetwork",
            json!({"NetworkID": id('a'), "IPv4Data": [{"Pool": "10.0.0.0/99"}]}),
        ),
        (
            "NetworkDriver.CreateNetwork",
            json!({"NetworkID": id('a'), "IPv4Data": {"Pool": "10.0.0.0/8"}}),
        ),
        (
            "NetworkDriver.CreateNetwork",
            json!({"NetworkID": id('a'), "Options": {"com.docker.network.generic": {"com.docker.network.container_iface_prefix": long}}}),
        ),
        (
            "NetworkDriver.CreateNetwork",
            json!({"NetworkID": id('a'), "Options": {"com.docker.network.generic": {"tap": {"a": 1}}}}),
        ),
        (
            "NetworkDriver.CreateEndpoint",
            json!({"NetworkID": id('a'), "EndpointID": id('e')}),
        ),
        (
            "NetworkDriver.CreateEndpoint",
            json!({"NetworkID": id('a'), "EndpointID": id('e'), "Interface": {"Address": "ten"}}),
        ),
        (
            "NetworkDriver.CreateEndpoint",
            json!({"NetworkID": id('a'), "EndpointID": id('e'), "Options": {"sharks": "1"}}),
        ),
        (
            "NetworkDriver.Join",
            json!({"NetworkID": id('a'), "EndpointID": id('e'), "SandboxKey": "/etc/passwd"}),
        ),
        ("IpamDriver.RequestPool", json!({"Pool": "ten"})),
        (
            "IpamDriver.RequestPool",
            json!({"Pool": "10.0.0.0/24", "SubPool": "10.0.1.0/28"}),
        ),
        (
            "IpamDriver.RequestPool",
            json!({"Options": {"sharks": "1"}}),
        ),
        ("IpamDriver.RequestAddress", json!({"PoolID": "ten"})),
        (
            "IpamDriver.RequestAddress",
            json!({"PoolID": "10.0.0.0/24", "Address": "10.0.1.1"}),
        ),
    ] {
        plugin.refused(method, &body.to_string());
    }
    assert_eq!(host.networks().len(), 3, "the predefined ones");
    let pages = std::fs::read_dir(host.state_dir().join("docker"));
    assert_eq!(pages.into_iter().flatten().count(), 0);
}

/// An engine that was killed gives the addresses of its containers again, and does not always say that they are dead.
#[test]
fn an_address_is_taken_from_what_the_engine_forgot_and_from_no_container() {
    let host = Host::without_agent();
    let plugin = Plugin(with_plugin(&host));
    plugin.create_network('a', "10.70.0.0/24", "10.70.0.1/24");
    let endpoint = |digit: char| json!({"NetworkID": id('a'), "EndpointID": id(digit), "Interface": {"Address": "10.70.0.9/24"}});
    let known = || {
        let network = host.network(&id('a'));
        let ids = network.endpoints.into_iter().map(|endpoint| endpoint.id);
        ids.collect::<Vec<_>>()
    };
    plugin.ok("NetworkDriver.CreateEndpoint", &endpoint('e'));
    plugin.ok("NetworkDriver.CreateEndpoint", &endpoint('f'));
    assert_eq!(known(), [id('f')]);
    let joined = plugin.ok("NetworkDriver.Join", &endpoint('f'));
    let link = joined["InterfaceName"]["SrcName"].as_str().unwrap();
    let container = Netns::new("taken");
    host.netns
        .sh(&format!("ip link set {link} netns {}", container.name()));
    let body = endpoint('e').to_string();
    let told = plugin.refused("NetworkDriver.CreateEndpoint", &body);
    assert!(told.contains("10.70.0.9 is taken"), "{told}");
    assert_eq!(known(), [id('f')]);
    drop(container);
    // The kernel takes links away one namespace after the other, of all that go on the machine.
    let body = endpoint('e').to_string();
    eventually(Duration::from_secs(60), "the address is free", || {
        let reply = plugin.raw("NetworkDriver.CreateEndpoint", &body);
        reply.body.get("Err").is_none().then_some(())
    });
    assert_eq!(known(), [id('e')]);
    plugin.ok("NetworkDriver.DeleteEndpoint", &endpoint('e'));
}

/// The engine asks again then, without saying what, and will never say that it does not want it.
#[test]
fn what_was_made_for_an_engine_that_hung_up_is_undone() {
    let host = Host::without_agent();
    let plugin = Plugin(with_plugin(&host));
    let pool = json!([{"Pool": "10.70.0.0/24", "Gateway": "10.70.0.1/24"}]);
    let body = json!({"NetworkID": id('a'), "IPv4Data": pool}).to_string();
    let head = "POST /NetworkDriver.CreateNetwork HTTP/1.1\r\nHost: plugin";
    let length = body.len();
    let page = host.state_dir().join("docker").join(id('a'));
    let waits_for = |limit: Duration, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && !done() {
            std::thread::yield_now();
        }
        done()
    };
    // The answer may be faster than whoever hangs up; then there is nothing to undo.
    let undone = (0..20).any(|_| {
        let mut caller = UnixStream::connect(&plugin.0).unwrap();
        write!(caller, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        assert!(waits_for(Duration::from_secs(10), &|| page.exists()));
        drop(caller);
        let undone = waits_for(Duration::from_secs(2), &|| host.log().contains("undone"));
        if !undone {
            let call = json!({"NetworkID": id('a')});
            plugin.ok("NetworkDriver.DeleteNetwork", &call);
        }
        undone
    });
    assert!(undone && !page.exists());
    assert_eq!(host.networks().len(), 3, "the predefined ones");
    plugin.create_network('b', "10.70.0.0/24", "10.70.0.1/24");
    plugin.ok(
        "NetworkDriver.DeleteNetwork",
        &json!({"NetworkID": id('b')}),
    );
}

/// The plugin tells a wrong word from a wrong value by a list of its own.
#[test]
fn every_option_of_the_agents_networks_is_known() {
    let host = Host::without_agent();
    let plugin = Plugin(with_plugin(&host));
    let wrong = json!({"name": "n", "options": {"sharks": "1"}});
    let told = host
        .api("POST", "/v1/networks", Some(&wrong))
        .refusal()
        .message;
    let (_, list) = told.split_once("takes ").unwrap();
    let list = list
        .replace("; overlays ", " ")
        .replace("; macvlan, ipvlan ", " ");
    let names: Vec<_> = list.split(' ').collect();
    assert!(names.contains(&"tap") && names.contains(&"vni"), "{told}");
    for name in names {
        let options = json!({"com.docker.network.generic": {name: "?"}});
        let call = json!({"NetworkID": id('a'), "Options": options});
        let told = plugin.refused("NetworkDriver.CreateNetwork", &call.to_string());
        assert!(!told.contains("is unknown"), "{told}");
    }
}

#[test]
fn rounds_of_making_and_removing_leave_nothing() {
    let host = Host::without_agent();
    let plugin = Plugin(with_plugin(&host));
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", host.agent_pid().as_raw_nonzero()))
            .unwrap()
            .count()
    };
    let round = |number: u32| {
        let (digit, other) = if number.is_multiple_of(2) {
            ('a', 'b')
        } else {
            ('b', 'a')
        };
        let part = number % 256;
        plugin.create_network(
            digit,
            &format!("10.70.{part}.0/24"),
            &format!("10.70.{part}.1/24"),
        );
        let endpoint = json!({"NetworkID": id(digit), "EndpointID": id(other), "Interface": {"Address": format!("10.70.{part}.9/24")}});
        plugin.ok("NetworkDriver.CreateEndpoint", &endpoint);
        plugin.ok("NetworkDriver.Join", &endpoint);
        plugin.ok("NetworkDriver.DeleteEndpoint", &endpoint);
        plugin.ok("NetworkDriver.DeleteNetwork", &endpoint);
    };
    round(0);
    let links = host.netns.sh("ip -o link");
    let rules = host.netns.sh("nft -s list ruleset");
    let before = descriptors();
    (1..=rounds()).for_each(round);
    assert_eq!(
        host.netns.sh("ip -o link").lines().count(),
        links.lines().count()
    );
    assert_eq!(host.netns.sh("nft -s list ruleset"), rules);
    eventually(Duration::from_secs(5), "no descriptor is left", || {
        (descriptors() <= before + 4).then_some(())
    });
    assert_eq!(host.networks().len(), 3);
    assert_eq!(
        std::fs::read_dir(host.state_dir().join("docker"))
            .unwrap()
            .count(),
        0
    );
}

/// How many, unless `ROUNDS` says another number: a thousand take a minute and a half.
fn rounds() -> u32 {
    let asked = std::env::var("ROUNDS").ok();
    asked.map_or(100, |rounds| rounds.parse().expect("ROUNDS is a number"))
}

/// It finds the socket among the host's files, and could make the agent do things there.
#[test]
fn the_agents_own_containers_are_not_heard() {
    let host = Host::without_agent();
    let socket = with_plugin(&host);
    host.idle("web", "bridge", &[]);
    let ask = format!(
        "curl -s -d '' --unix-socket {} http://plugin/Plugin.Activate",
        socket.display()
    );
    assert!(host.netns.sh(&ask).contains("NetworkDriver"));
    for nested in ["", "setsid -w "] {
        let asked = host.exec("web", &format!("{nested}{ask}"));
        assert_ne!(asked.status, 0, "{asked:?}");
        assert!(!asked.stdout.contains("NetworkDriver"), "{asked:?}");
    }
    assert!(host.netns.sh(&ask).contains("NetworkDriver"));
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "root's alone: {mode:o}");
}

#[test]
fn a_socket_of_anothers_is_left_alone_and_told_of() {
    let host = Host::without_agent();
    let socket = host.dir().join("p.sock");
    let _other = UnixListener::bind(&socket).unwrap();
    let config = host.dir().join("agent.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"off\"", &format!("{socket:?}"))).unwrap();
    host.launch();
    let told = eventually(Duration::from_secs(5), "the agent tells of it", || {
        let info: agent_api::Info = host.api("GET", "/v1/info", None).ok();
        info.warnings
            .into_iter()
            .find(|line| line.contains("p.sock"))
    });
    assert!(told.contains("another process"), "{told}");
    host.stop_agent(Signal::TERM);
    assert!(socket.exists(), "it is the other's");
}

#[test]
fn the_socket_goes_with_the_agent_and_a_dead_one_is_replaced() {
    let host = Host::without_agent();
    let socket = with_plugin(&host);
    host.stop_agent(Signal::KILL);
    assert!(socket.exists());
    host.launch();
    eventually(Duration::from_secs(5), "the plugin answers", || {
        UnixStream::connect(&socket).ok()
    });
    host.stop_agent(Signal::TERM);
    assert!(!socket.exists());
}
