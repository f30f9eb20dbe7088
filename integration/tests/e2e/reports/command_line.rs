//! What a person types and reads.

use std::fs;
use std::time::Duration;

use crate::harness::{Host, Output, eventually};

#[test]
fn a_stopped_container_starts_again_as_it_was() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.70.0.0/24", "lab"])
        .ok();
    let script = "echo begun; exec sleep 1000";
    let options = [
        "--ip",
        "10.70.0.9",
        "-p",
        "8080:80",
        "-h",
        "box",
        "-l",
        "a=b",
    ];
    let head = ["run", "-d", "--name", "web", "--network", "lab"];
    host.tapestry(&[&head[..], &options, &["--", "sh", "-c", script]].concat())
        .ok();
    let first = host.pid("web");
    for verb in ["start", "restart"] {
        if verb == "start" {
            host.tapestry(&["stop", "-t", "1", "web"]).ok();
            assert!(host.container("web").endpoints.is_empty());
            let refused = host.tapestry(&["exec", "web", "--", "true"]);
            assert!(refused.stderr.contains("tapestry start web"), "{refused:?}");
            host.tapestry(&["start", "web"]).ok();
        } else {
            host.tapestry(&["restart", "-t", "1", "web"]).ok();
        }
        assert_ne!(host.pid("web"), first, "{verb}");
        let detail = host.container("web");
        assert_eq!(detail.endpoints.len(), 1, "{detail:?}");
        assert_eq!(host.ipv4("web").to_string(), "10.70.0.9");
        assert_eq!(host.exec("web", "hostname").stdout, "box\n");
        assert!(host.tapestry(&["ps"]).stdout.contains("8080->80/tcp"));
    }
    eventually(Duration::from_secs(5), "each run is in the log", || {
        let log = host.tapestry(&["logs", "web"]).stdout;
        (log == "begun\nbegun\nbegun\n").then_some(())
    });
    let again = host.tapestry(&["start", "web"]);
    assert_eq!(again.status, 1, "{again:?}");
    assert!(again.stderr.contains("started already"), "{again:?}");
}

#[test]
fn a_container_starts_again_on_the_networks_it_was_connected_to() {
    let host = Host::start();
    for (network, subnet) in [
        ("n1", "10.70.1.0/24"),
        ("n2", "10.70.2.0/24"),
        ("n3", "10.70.3.0/24"),
    ] {
        host.tapestry(&["network", "create", "--subnet", subnet, network])
            .ok();
    }
    host.idle("web", "n1", &[]);
    host.tapestry(&["network", "connect", "--ip", "10.70.2.9", "n2", "web"])
        .ok();
    host.tapestry(&["network", "connect", "n3", "web"]).ok();
    host.tapestry(&["network", "disconnect", "n3", "web"]).ok();
    let networks = || {
        let endpoints = host.container("web").endpoints;
        let mut all: Vec<_> = endpoints
            .into_iter()
            .map(|endpoint| endpoint.addresses[0].to_string())
            .collect();
        all.sort();
        all
    };
    let before = networks();
    assert_eq!(before.len(), 2);
    host.tapestry(&["restart", "-t", "1", "web"]).ok();
    assert_eq!(networks(), before);
    host.tapestry(&["stop", "-t", "1", "web"]).ok();
    host.tapestry(&["network", "rm", "n2"]).ok();
    host.tapestry(&["start", "web"]).ok();
    assert_eq!(networks(), before[..1]);
}

#[test]
fn a_container_that_cannot_start_again_stays_ended() {
    let host = Host::start();
    let options = ["--network", "lab", "--ip", "10.70.0.9"];
    host.tapestry(&["network", "create", "--subnet", "10.70.0.0/24", "lab"])
        .ok();
    host.tapestry(
        &[
            &["run", "-d", "--name", "web"],
            &options[..],
            &["--", "true"],
        ]
        .concat(),
    )
    .ok();
    eventually(Duration::from_secs(5), "it has ended", || {
        host.container("web").endpoints.is_empty().then_some(())
    });
    host.idle("other", "lab", &["--ip", "10.70.0.9"]);
    let refused = host.tapestry(&["start", "web"]);
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("10.70.0.9"), "{refused:?}");
    assert!(
        host.tapestry(&["ps", "-a", "-f", "status=exited"])
            .stdout
            .contains("web")
    );
    host.tapestry(&["rm", "-f", "other"]).ok();
    host.tapestry(&["start", "web"]).ok();
}

#[test]
fn containers_survive_a_restart_of_the_agent_and_start_again() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    host.tapestry(&["stop", "-t", "1", "web"]).ok();
    host.stop_agent(rustix::process::Signal::TERM);
    host.launch();
    host.tapestry(&["start", "web"]).ok();
    host.exec("web", "true").ok();
}

#[test]
fn a_label_finds_what_has_it() {
    let host = Host::start();
    host.idle("web", "bridge", &["--label", "tier=front", "-l", "mine"]);
    host.idle("db", "bridge", &["--label", "tier=back"]);
    host.tapestry(&["network", "create", "--label", "site=a", "lab"])
        .ok();
    let names = |arguments: &[&str]| {
        let table = host.tapestry(arguments).ok();
        let names = table.lines().skip(1);
        let names = names.map(|line| line.split("   ").nth(1).unwrap().trim().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&["ps", "--filter", "label=tier=front"]), ["web"]);
    assert_eq!(names(&["ps", "-f", "label=mine"]), ["web"]);
    assert_eq!(names(&["ps", "-f", "name=d", "-f", "label=tier"]), ["db"]);
    assert_eq!(names(&["network", "ls", "-f", "label=site"]), ["lab"]);
    assert_eq!(names(&["network", "ls", "-f", "label=site=b"]), [""; 0]);
    let wrong = host.tapestry(&["ps", "-f", "volume=x"]);
    assert_eq!(wrong.status, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("label") && wrong.stderr.contains("status"));
}

#[test]
fn help_is_a_command_and_the_short_option_of_run_is_the_hostname() {
    let host = Host::start();
    assert!(host.tapestry(&["help"]).ok().contains("network"));
    let page = host.tapestry(&["help", "network", "create"]).ok();
    assert!(page.contains("--subnet"), "{page}");
    one_line(&host.tapestry(&["help", "network", "make"]), "network make");
    let named = host.tapestry(&["run", "--rm", "-h", "foo", "--", "hostname"]);
    assert_eq!(named.ok(), "foo\n");
    assert!(
        host.tapestry(&["run", "--help"])
            .ok()
            .contains("--hostname")
    );
}

#[test]
fn an_image_is_told_to_be_dockers_business() {
    let host = Host::start();
    for image in [
        &["alpine", "sh"][..],
        &["alpine"],
        &["quay.io/a/b:1"],
        &["mine", "sh"],
    ] {
        let refused = host.tapestry(&[&["run", "--rm", "--"], image].concat());
        one_line(&refused, "images are Docker's business");
        assert_eq!(refused.status, 127);
    }
    let refused = host.tapestry(&["run", "--rm", "--", "no-such-command"]);
    assert!(!refused.stderr.contains("Docker"), "{refused:?}");
}

#[test]
fn what_was_got_wrong_is_told_with_what_is_right() {
    let host = Host::start();
    let dir = host.dir().to_str().unwrap();
    one_line(&host.tapestry(&["--socket", dir, "ps"]), "is no socket");
    let create =
        |options: &[&str]| host.tapestry(&[&["network", "create"], options, &["lab"]].concat());
    let options = create(&["-o", "speed=fast"]);
    for option in ["speed", "dns.record", "dns.rebind", "tap ", "overlays"] {
        one_line(&options, option);
    }
    let value = create(&["-o", "dns.rebind=maybe"]);
    for known in ["dns.rebind", "maybe", "block", "allow"] {
        one_line(&value, known);
    }
    one_line(&create(&["--subnet", "10.70.0.0/33"]), "0 to 32 bits");
    one_line(&create(&["--mtu", "100000"]), "576 to 65521");
    let gpus = host.tapestry(&["run", "--gpus", "2", "sh"]);
    one_line(&gpus, "--gpus");
    assert!(!gpus.stderr.contains("publish"), "{gpus:?}");
}

#[test]
fn a_wrong_configuration_is_told_by_line() {
    let host = Host::without_agent();
    for (text, told) in [
        ("# mine\nenginee = \"epoll\"\n", "line 2, \"enginee = "),
        ("[dns]\nresolv_conf = 3\n", "line 2, \"resolv_conf = 3\""),
        ("workers = 100000\n", "workers = 100000 is out of range"),
    ] {
        fs::write(host.dir().join("agent.toml"), text).unwrap();
        let output = host.netns.run(&mut host.agent_command());
        assert_eq!(output.status, 1, "{output:?}");
        let last = output.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(told), "{output:?}");
    }
}

#[track_caller]
fn one_line(output: &Output, thing: &str) {
    let told = output.stderr.trim_end();
    assert_eq!(told.lines().count(), 1, "{output:?}");
    assert!(told.contains(thing), "{thing:?} is not named: {output:?}");
    assert_ne!(output.status, 0, "{output:?}");
}
