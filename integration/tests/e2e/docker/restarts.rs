//! Restarts of the agent and of the engine, in any order, under running containers.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::engine::{Docker, IMAGE};
use crate::harness::{HOST_IP, eventually};
use crate::publish::{ask_tcp, tcp_server};

fn with_network(options: &'static [&'static str]) -> Docker {
    let docker = Docker::start_with(options);
    docker.network("web", &[]);
    docker
}

#[test]
fn an_agent_that_is_killed_comes_back_under_running_containers() {
    let docker = with_network(&[]);
    let names: Vec<_> = (0..8).map(|number| format!("c{number}")).collect();
    for name in &names {
        docker.idle(name, "web", &[]);
    }
    docker.idle("published", "web", &["-p", "8080:80"]);
    docker.host.stop_agent(Signal::KILL);
    docker.host.launch();
    docker.idle("new", "web", &[]);
    for name in &names {
        assert!(docker.pings("new", name), "{name}");
        assert!(docker.pings(name, "new"), "{name}");
    }
    let pid = docker.inspect("published", "{{.State.Pid}}");
    let server = tcp_server(
        format!("/proc/{pid}/ns/net").as_ref(),
        (Ipv4Addr::UNSPECIFIED, 80),
    );
    assert_eq!(
        ask_tcp(&docker.host.outside.path(), (HOST_IP, 8080)),
        Some("hello".into())
    );
    server.join().unwrap();
}

#[test]
fn an_engine_that_is_killed_starts_its_containers_again() {
    let docker = with_network(&[]);
    docker.idle("one", "web", &["--restart", "always"]);
    docker.idle("two", "web", &["--restart", "always"]);
    docker.stop(Signal::KILL);
    docker.launch();
    let up = || docker.pings("one", "two").then_some(());
    eventually(Duration::from_secs(20), "both are there again", up);
    let count = || (docker.host.network("web").endpoints.len() == 2).then_some(());
    eventually(
        Duration::from_secs(10),
        "their old endpoints are gone",
        count,
    );
    // The engine that ends in good order, with an agent that comes back after it.
    docker.stop(Signal::TERM);
    docker.host.stop_agent(Signal::TERM);
    docker.host.launch();
    docker.launch();
    eventually(Duration::from_secs(20), "both are there again", up);
    eventually(
        Duration::from_secs(10),
        "their old endpoints are gone",
        count,
    );
}

#[test]
fn containers_that_outlive_their_engine_stay_connected() {
    let docker = with_network(&["--live-restore"]);
    docker.idle("one", "web", &[]);
    docker.idle("two", "web", &[]);
    let address: Ipv4Addr = docker.address("two", "web").parse().unwrap();
    let pid = docker.inspect("one", "{{.State.Pid}}");
    let reaches = || crate::harness::pings(format!("/proc/{pid}/ns/net").as_ref(), address);
    docker.stop(Signal::KILL);
    assert!(reaches());
    docker.host.stop_agent(Signal::KILL);
    docker.host.launch();
    assert!(reaches());
    docker.launch();
    assert!(docker.pings("one", "two"));
    docker.idle("three", "web", &[]);
    assert!(docker.pings("three", "one"));
    docker.docker(&["rm", "-f", "one", "two", "three"]).ok();
    assert_eq!(docker.host.network("web").endpoints, []);
}

/// The engine goes on without the agent, forgets what it is told to forget, and never says so again.
#[test]
fn an_agent_that_is_stopped_holds_nobody_up_and_collects_what_was_forgotten() {
    let docker = with_network(&[]);
    for name in ["kept", "empty"] {
        docker.network(name, &[]);
        docker.await_name(name);
    }
    docker.idle("one", "kept", &[]);
    docker.idle("two", "kept", &[]);
    docker.idle("three", "kept", &[]);
    docker.docker(&["network", "connect", "web", "three"]).ok();
    docker.host.stop_agent(Signal::TERM);
    let began = Instant::now();
    docker.docker(&["volume", "ls"]).ok();
    let elapsed = began.elapsed();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    let run = ["run", "--rm", "--network", "kept", IMAGE, "true"];
    // Each of these is given up by the engine after four attempts, within half a minute.
    std::thread::scope(|scope| {
        scope.spawn(|| docker.docker(&["network", "rm", "empty"]));
        scope.spawn(|| docker.docker(&["kill", "two"]).ok());
        scope.spawn(|| docker.docker(&["network", "disconnect", "web", "three"]));
        let told = docker.docker(&run);
        assert_ne!(told.status, 0);
        assert!(told.stderr.contains("tapestry.sock"), "{told:?}");
    });
    assert!(!docker.docker(&["network", "ls"]).ok().contains("empty"));
    docker.host.launch();
    docker.docker(&run).ok();
    docker.docker(&["start", "two"]).ok();
    assert!(docker.pings("one", "two"));
    let is_there = |name: &str| {
        let networks = docker.host.networks();
        networks.iter().any(|network| network.name == name)
    };
    assert!(is_there("empty"));
    eventually(Duration::from_secs(50), "the network is collected", || {
        (!is_there("empty")).then_some(())
    });
    assert!(is_there("kept") && is_there("web"));
    assert!(docker.pings("two", "one"));
    let names = |network: &str| {
        let endpoints = docker.host.network(network).endpoints.into_iter();
        let mut names: Vec<_> = endpoints.map(|endpoint| endpoint.name).collect();
        names.sort();
        names
    };
    assert_eq!(names("kept"), ["one", "three", "two"]);
    eventually(Duration::from_secs(40), "the endpoint is collected", || {
        names("web").is_empty().then_some(())
    });
}

/// systemd holds the plugin's socket from before either is there, and hands it to the agent.
#[test]
fn an_engine_that_boots_first_waits_for_the_agent() {
    let docker = with_network(&[]);
    for name in ["one", "two"] {
        docker.idle(name, "web", &["--restart", "always"]);
    }
    docker.stop(Signal::TERM);
    docker.host.stop_agent(Signal::TERM);
    let listener = UnixListener::bind(docker.plugin()).unwrap();
    let copy = || OwnedFd::from(listener.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| docker.launch());
        // The engine has called, and nobody answers yet.
        let mut calls = [PollFd::new(&listener, PollFlags::IN)];
        poll(
            &mut calls,
            Some(&Timespec {
                tv_sec: 30,
                tv_nsec: 0,
            }),
        )
        .unwrap();
        docker.host.launch_handed("docker", copy());
    });
    eventually(Duration::from_secs(20), "both are there again", || {
        docker.pings("one", "two").then_some(())
    });
    docker.host.stop_agent(Signal::TERM);
    assert!(docker.plugin().exists(), "it is systemd's");
    docker.host.launch_handed("docker", copy());
    docker.idle("three", "web", &[]);
    assert!(docker.pings("three", "one"));
}
