//! The agent as a plugin that Docker itself keeps: `make docker-plugin`, and Kathara on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::engine::{Docker, IMAGE};
use crate::harness::{binary, eventually, run, run_for};

/// An engine without an agent, whose plugin is called [`PLUGIN`].
fn with_plugin() -> Docker {
    let docker = Docker::start_alone();
    let folder = docker.dir().join("plugin");
    run(Command::new(repository().join("scripts/docker-plugin"))
        .arg(binary())
        .arg(&folder))
    .ok();
    // In place of the machine's `/run`: the engine's own socket, and the agent's.
    let run = docker.dir().join("host");
    fs::create_dir(&run).unwrap();
    fs::hard_link(docker.dir().join("sock"), run.join("docker.sock")).unwrap();
    let source = format!("run.source={}", run.display());
    docker
        .docker(&["plugin", "create", PLUGIN, folder.to_str().unwrap()])
        .ok();
    docker.docker(&["plugin", "set", PLUGIN, &source]).ok();
    docker.docker(&["plugin", "enable", PLUGIN]).ok();
    docker
}

#[test]
fn a_managed_plugin_gives_networks_and_its_containers_outlive_it() {
    let docker = with_plugin();
    let create = ["network", "create", "-d", PLUGIN];
    docker.docker(&[&create[..], &["web"]].concat()).ok();
    docker.idle("one", "web", &[]);
    docker.idle("two", "web", &[]);
    let reached = |what: &str| {
        eventually(Duration::from_secs(20), what, || {
            docker.pings("one", "two").then_some(())
        });
    };
    reached("a name of a container, from Docker's events");
    let own_addresses = [&create[..], &["--ipam-driver", PLUGIN, "own"]].concat();
    docker.docker(&own_addresses).ok();
    let shown = docker
        .docker(&["run", "--rm", "--network", "own", IMAGE, "ip", "address"])
        .ok();
    assert!(shown.contains("inet 172."), "{shown}");

    // The command on the host asks the agent in the plugin.
    let agent = docker.dir().join("host/tapestry/agent.sock");
    let listed = run(Command::new(binary())
        .args(["network", "ls"])
        .env("TAPESTRY_SOCKET", &agent))
    .ok();
    for network in ["web", "own"] {
        assert!(listed.contains(network), "{listed}");
    }

    let refused = docker.docker(&["plugin", "disable", PLUGIN]).refused(1);
    assert!(refused.contains("in use"), "{refused}");
    docker.docker(&["plugin", "disable", "-f", PLUGIN]).ok();
    docker.docker(&["exec", "one", "true"]).ok();
    docker.docker(&["plugin", "enable", PLUGIN]).ok();
    reached("the network after the plugin was away");

    docker.docker(&["rm", "-f", "one", "two"]).ok();
    docker.docker(&["network", "rm", "web", "own"]).ok();
    docker.docker(&["plugin", "disable", PLUGIN]).ok();
    docker.docker(&["plugin", "rm", PLUGIN]).ok();
    let mut links = Command::new("ip");
    let left = docker.host.netns.run(links.args(["-o", "link"])).ok();
    assert!(!left.contains("tsy") && !left.contains("tap"), "{left}");
}

/// Docker starts its plugins before the containers that need them.
#[test]
fn an_engine_that_is_killed_brings_its_managed_plugin_and_all_containers_back() {
    let docker = with_plugin();
    docker
        .docker(&["network", "create", "-d", PLUGIN, "web"])
        .ok();
    docker.idle("one", "web", &["--restart", "always"]);
    docker.idle("two", "web", &["--restart", "always"]);
    docker.stop(Signal::KILL);
    docker.comes_back();
    docker.docker(&["rm", "-f", "one", "two"]).ok();
    docker.docker(&["network", "rm", "web"]).ok();
    docker.docker(&["plugin", "disable", PLUGIN]).ok();
}

/// PyPI's Kathara, unmodified, against a dockerd of the script's own.
#[test]
fn katharas_labs_run_on_the_managed_plugin_and_are_wiped() {
    let mut script = Command::new(repository().join("scripts/kathara"));
    script
        .env("TAPESTRY", binary())
        .env_remove("TAPESTRY_SOCKET");
    let shown = run_for(&mut script, Duration::from_secs(240)).ok();
    for line in [
        "ttl=62",
        "02:00:00:00:00:11",
        "ttl=61",
        "proto ospf",
        "state blocking",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// With its tag: by less, the engine finds no driver.
const PLUGIN: &str = "tapestry-plugin:latest";
