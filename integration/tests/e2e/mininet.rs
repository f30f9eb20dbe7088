//! Mininet's own `mn` on tapestry networks, by the classes that are installed for it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Host, Output, fastest, run_for};

/// `mn` in the agent's network namespace. mn kills by name and empties `/tmp`: processes and `/tmp` are its own. The host's
/// directory is `/mnt` there.
fn mn(host: &Host, arguments: &[&str]) -> Output {
    let custom = Path::new(env!("CARGO_MANIFEST_DIR")).join("mininet/tapestry.py");
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", host.netns.path().display()));
    command.args(["unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", OWN_FILES, "mn"]).arg(host.dir());
    command.arg("--custom").arg(custom).args(arguments);
    let socket = host.socket();
    let socket = Path::new("/mnt").join(socket.strip_prefix(host.dir()).unwrap());
    command.env("TAPESTRY_SOCKET", socket).env("HOME", "/tmp");
    run_for(&mut command, Duration::from_secs(60))
}

const OWN_FILES: &str =
    r#"mount --bind "$1" /mnt && mount -t tmpfs tmpfs /tmp && shift && { mn "$@"; exit; }"#;

/// With two hosts at a switch, where mn's command line does what `lines` say.
fn mn_does(host: &Host, link: &str, lines: &str) -> Output {
    mn_does_on(host, "minimal", link, lines)
}

fn mn_does_on(host: &Host, topology: &str, link: &str, lines: &str) -> Output {
    fs::write(host.dir().join("lines"), lines).unwrap();
    let net = ["--switch", "tapestry", "--controller", "none", "--mac"];
    let script = ["--topo", topology, "--link", link, "--pre", "/mnt/lines"];
    mn(host, &[&net[..], &script, &["--test", "none"]].concat())
}

#[track_caller]
fn leaves_nothing(host: &Host) {
    assert_eq!(host.made_networks(), [""; 0]);
}

/// What ping says, of each that ran.
fn summaries(output: &Output) -> Vec<&str> {
    let is_summary = |line: &&str| line.contains("packets transmitted");
    output.stderr.lines().filter(is_summary).collect()
}

#[test]
fn every_host_of_a_tree_reaches_every_other_and_nothing_is_left() {
    let host = Host::start();
    let net = ["--switch", "tapestry", "--link", "tapestry"];
    let test = [
        "--controller",
        "none",
        "--topo",
        "tree,2,2",
        "--test",
        "pingall",
    ];
    let output = mn(&host, &[&net[..], &test].concat());
    assert_eq!(output.status, 0, "{output:?}");
    let told = "Results: 0% dropped (12/12 received)";
    assert!(output.stderr.contains(told), "{output:?}");
    leaves_nothing(&host);
}

#[test]
fn a_link_is_as_its_parameters_say_and_as_they_say_later() {
    let host = Host::start();
    let lines = "h1 ping -n -q -c3 -i0.2 -W2 h2
        py h1.intf().config(loss=100)
        h1 ping -n -q -c2 -i0.2 -W1 h2
        py h1.intf().config()
        h1 ping -n -q -c2 -i0.2 -W2 h2
        link s1 h1 down
        h1 cat /sys/class/net/h1-eth0/flags
        h1 cat /sys/class/net/h1-eth0/address\n";
    let output = mn_does(&host, "tapestry,delay=20ms,bw=50", lines);
    let summaries = summaries(&output);
    let lost: Vec<_> = ["3 received", "0 received", "2 received"].into();
    assert_eq!(summaries.len(), 3, "{output:?}");
    let met = |(summary, lost): (&&str, &&str)| summary.contains(lost);
    assert!(summaries.iter().zip(&lost).all(met), "{output:?}");
    // Both links delay, each in both directions; h1's own frames were not any more, the second time.
    let fastest = fastest(&output.stderr);
    assert!(fastest[0] >= 80.0 && fastest[1] >= 60.0, "{fastest:?}");
    // Not up: the flag IFF_UP is the last bit.
    assert!(output.stderr.contains("0x1002"), "{output:?}");
    assert!(output.stderr.contains("00:00:00:00:00:01"), "{output:?}");
    leaves_nothing(&host);
}

/// Three links on the way, the one between the switches among them, each slow at both ends.
#[test]
fn a_link_between_two_switches_is_as_its_parameters_say() {
    let host = Host::start();
    let lines = "h1 ping -n -q -c3 -i0.2 -W2 h2
        link s1 s2 down
        h1 ping -n -q -c2 -i0.2 -W1 h2
        link s1 s2 up
        h1 ping -n -q -c3 -i0.2 -W2 h2\n";
    let output = mn_does_on(&host, "linear,2", "tapestry,delay=20ms", lines);
    let summaries = summaries(&output);
    assert_eq!(summaries.len(), 3, "{output:?}");
    assert!(summaries[1].contains(" 0 received"), "{output:?}");
    let fastest = fastest(&output.stderr);
    assert!(
        fastest.len() == 2 && fastest.iter().all(|rtt| *rtt >= 120.0),
        "{fastest:?}"
    );
    leaves_nothing(&host);
}

#[test]
fn what_a_killed_mn_left_is_cleaned_and_what_cannot_be_is_told_in_a_line() {
    let host = Host::start();
    let killed = mn_does(&host, "tapestry", "sh kill -9 $PPID\n");
    assert_eq!(killed.status, 137, "{killed:?}");
    // Its hosts' namespaces ended with it, and their endpoints do; nobody else ends a switch.
    host.network("mininet-s1");
    mn(&host, &["--clean"]);
    leaves_nothing(&host);
    let refused = mn_does(&host, "tapestry,dealy=1ms", "");
    let told = "Refused: a tapestry link has no parameter 'dealy'; it has bw,";
    assert!(refused.stderr.contains(told), "{refused:?}");
    leaves_nothing(&host);
    let refused = mn_does(&Host::without_agent(), "tapestry", "");
    assert_eq!(refused.status, 1);
    let line = refused.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("tapestry: no agent at /mnt/"), "{line}");
}
