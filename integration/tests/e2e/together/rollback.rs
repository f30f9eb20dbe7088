//! What fails leaves nothing, and tells all of it.

use std::collections::BTreeMap;
use std::process::Command;

use agent_api::{EndpointCreate, EndpointDetail, EndpointSettings};
use rustix::process::Signal;
use serde_json::to_value;

use crate::harness::{Host, Netns, Reply, SmallDisk};

#[test]
fn an_endpoint_whose_record_cannot_be_kept_leaves_nothing() {
    let host = Host::without_agent();
    let disk = SmallDisk::mount(&host.state_dir());
    let sandbox = Netns::new("sandbox");
    let mut left = Vec::new();
    let mut refusals = 0;
    // The record is written before the port is made and after: with how much room either fails, the store knows.
    for pages in 0..PAGES_TRIED {
        launch_with_network(&host);
        let before = Trace::of(&host, &sandbox);
        let outcome = disk.with_room(pages, || attach(&host, &sandbox));
        let when = format!("{}, with room for {pages} pages", outcome.status);
        if (200..300).contains(&outcome.status) {
            detach(&host, outcome);
        } else {
            refusals += 1;
            let message = outcome.body["message"].as_str().unwrap();
            assert!(message.contains("state.redb"), "{message}");
        }
        let after = Trace::of(&host, &sandbox);
        // An agent that is new knows what was kept, and no more.
        host.stop_agent(Signal::TERM);
        host.launch();
        for (now, when) in [
            (after, when.clone()),
            (
                Trace::of(&host, &sandbox),
                format!("{when}, after a restart"),
            ),
        ] {
            if now != before {
                left.push(format!("{when}: {}", now.beside(&before)));
            }
        }
        detach_all(&host);
        host.stop_agent(Signal::TERM);
        disk.clear();
    }
    println!("{refusals} of {PAGES_TRIED} were refused");
    assert!(left.is_empty(), "{left:#?}");
    assert!(
        (1..PAGES_TRIED).contains(&refusals),
        "{refusals}: that is no disk that runs full"
    );
    launch_with_network(&host);
}

#[test]
fn once_there_is_room_again_the_same_endpoint_is_made_at_the_same_address() {
    let host = Host::without_agent();
    let disk = SmallDisk::mount(&host.state_dir());
    let sandbox = Netns::new("sandbox");
    launch_with_network(&host);
    let refused = disk.with_room(0, || attach(&host, &sandbox));
    assert_eq!(refused.status, 500, "the disk was not full: {refused:?}");
    let made: EndpointDetail = attach(&host, &sandbox).ok();
    assert_eq!(made.addresses[0].to_string(), format!("{ADDRESS}/24"));
    detach_all(&host);
}

#[test]
fn a_network_that_does_not_go_as_it_should_tells_both_reasons_and_by_its_operation() {
    let host = brittle();
    host.tapestry(&["network", "create", "lab"]).ok();
    let refused = host.failing(|| host.api("DELETE", "/v1/networks/lab", None));
    assert!(refused.status >= 400, "{refused:?}");
    let message = refused.body["message"].as_str().unwrap();
    let lines = message.lines().count();
    for told in ["\"lab\"", "remov", NFT_SAYS, "state.redb"] {
        assert!(message.contains(told), "nothing of {told:?} in: {message}");
    }
    assert_eq!(lines, 1, "{message}");
}

#[test]
fn prune_tells_which_networks_it_could_not_remove_and_why() {
    let host = brittle();
    for name in ["one", "two"] {
        host.tapestry(&["network", "create", name]).ok();
    }
    let pruned = host.failing(|| host.tapestry(&["network", "prune", "--force"]));
    assert_ne!(pruned.status, 0, "{pruned:?}");
    for told in ["\"one\"", "\"two\"", NFT_SAYS] {
        assert!(
            pruned.stderr.contains(told),
            "nothing of {told:?}: {pruned:?}"
        );
    }
}

/// Attaches `sandbox` at [`ADDRESS`]; its record fills a page or more.
fn attach(host: &Host, sandbox: &Netns) -> Reply {
    let create = EndpointCreate {
        network: "lab".into(),
        name: "one".into(),
        sandbox: Some(sandbox.path()),
        settings: EndpointSettings {
            ip: Some(ADDRESS.parse().unwrap()),
            aliases: (0..ALIASES).map(|n| format!("{:a>40}{n}", "")).collect(),
            ..EndpointSettings::default()
        },
        ..EndpointCreate::default()
    };
    host.api("POST", "/v1/endpoints", Some(&to_value(create).unwrap()))
}

fn launch_with_network(host: &Host) {
    host.launch();
    host.tapestry(&["network", "create", "--subnet", "10.66.0.0/24", "lab"])
        .ok();
}

fn detach(host: &Host, made: Reply) {
    let made: EndpointDetail = made.ok();
    let path = format!("/v1/endpoints/{}", made.id);
    let gone = host.api("DELETE", &path, None);
    assert!(gone.status < 300, "{gone:?}");
}

fn detach_all(host: &Host) {
    let endpoints: Vec<EndpointDetail> = host.api("GET", "/v1/endpoints", None).ok();
    for endpoint in endpoints {
        host.api("DELETE", &format!("/v1/endpoints/{}", endpoint.id), None);
    }
}

/// What an endpoint shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    endpoints: Vec<EndpointDetail>,
    /// Of the network, by kind.
    ports: BTreeMap<String, usize>,
    /// In the sandbox.
    links: Vec<String>,
}

impl Trace {
    fn of(host: &Host, sandbox: &Netns) -> Self {
        let mut ports = BTreeMap::new();
        for port in host.ports("lab") {
            *ports.entry(port.kind.to_string()).or_default() += 1;
        }
        let links = sandbox.sh("ip -o link show");
        let names = links.lines().filter_map(|line| line.split(": ").nth(1));
        Self {
            endpoints: host.api("GET", "/v1/endpoints", None).ok(),
            ports,
            links: names.map(str::to_owned).collect(),
        }
    }

    fn beside(&self, before: &Self) -> String {
        format!(
            "{} endpoints, ports {:?} (before: {:?}), links {:?} (before: {:?})",
            self.endpoints.len(),
            self.ports,
            before.ports,
            self.links,
            before.links
        )
    }
}

/// A host whose packet filter and disk can be made to fail.
struct Brittle(Host);

/// An agent that is told of a file's limit instead of being killed by it, and that finds the test's own `nft` first.
fn brittle() -> Brittle {
    let host = Host::without_agent();
    host.own_nft();
    host.launch_with(|command| {
        // It can go on writing its log, for it writes that to no file.
        let log = host.dir().join("log");
        let script = "trap '' XFSZ; mkfifo \"$0\"; (cat \"$0\" >&2 &); exec \"$@\" >\"$0\" 2>&1";
        let mut patient = Command::new("sh");
        patient.args(["-c", script]).arg(log);
        patient.arg(command.get_program()).args(command.get_args());
        patient.env("PATH", host.own_path());
        *command = patient;
    });
    Brittle(host)
}

impl std::ops::Deref for Brittle {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.0
    }
}

impl Brittle {
    /// Runs `act` while nft refuses everything and no file can be written.
    fn failing<T>(&self, act: impl FnOnce() -> T) -> T {
        let nft = self.0.dir().join("nft");
        let agent = self.0.agent_pid().as_raw_nonzero();
        let path = nft.display();
        let limit = |size: &str| {
            self.0
                .netns
                .sh(&format!("prlimit --pid {agent} --fsize={size}"));
        };
        self.0.netns.sh(&format!(
            "rm {path}; printf '#!/bin/sh\\necho \"Error: {NFT_SAYS}\" >&2\\nexit 1\\n' >{path}; chmod +x {path}"
        ));
        limit("0:unlimited");
        let outcome = act();
        limit("unlimited:unlimited");
        self.0.netns.sh(&format!(
            "rm {path}; ln -s $(PATH=${{PATH#*:}} command -v nft) {path}"
        ));
        outcome
    }
}

const ADDRESS: &str = "10.66.0.77";
const ALIASES: usize = 60;
const NFT_SAYS: &str = "the filter is out of order";
const PAGES_TRIED: u64 = 8;
