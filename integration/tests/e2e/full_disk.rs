//! A disk that runs full under the agent, and one that takes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Host, Output, SmallDisk, eventually, pings};

#[test]
fn on_a_full_disk_no_answer_is_contradicted_and_what_runs_goes_on() {
    let host = Host::without_agent();
    let disk = SmallDisk::mount(&host.state_dir());
    host.launch();
    host.tapestry(&["network", "create", "lab"]).ok();
    for name in ["a", "b"] {
        host.idle(name, "lab", &[]);
    }
    for n in 0..4 {
        let name = format!("over{n}");
        host.tapestry(&["run", "--name", &name, "--", "true"]).ok();
    }
    let (sandbox, peer) = (host.sandbox("a"), host.ipv4("b"));
    // More than the state file has room for in itself.
    let much = format!("text={}", "x".repeat(120_000));
    let mut refused = 0;
    for pages in 0..4 {
        let before = Listed::of(&host);
        let over = format!("over{pages}");
        let (made, network, removed) = disk.with_room(pages, || {
            assert_eq!(Listed::of(&host), before, "reads go on");
            assert!(pings(&sandbox, peer), "forwarding goes on");
            (
                host.tapestry(&[
                    "run", "-d", "--name", "new", "-e", &much, "--", "sleep", "1000",
                ]),
                host.tapestry(&["network", "create", "--label", &much, "other"]),
                host.tapestry(&["rm", &over]),
            )
        });
        refused += [&made, &network, &removed]
            .map(|outcome| u32::from(told(outcome)))
            .iter()
            .sum::<u32>();
        // What was said is so, and stays so when everything is read from the disk again.
        let is_so = |when: &str| {
            let listed = Listed::of(&host);
            let has = |names: &BTreeSet<String>, name: &str| names.contains(name);
            assert_eq!(has(&listed.containers, "new"), made.status == 0, "{when}");
            assert_eq!(
                has(&listed.networks, "other"),
                network.status == 0,
                "{when}"
            );
            assert_eq!(
                has(&listed.containers, &over),
                removed.status != 0,
                "{when}"
            );
        };
        is_so("at once");
        host.stop_agent(Signal::KILL);
        // An agent that starts while there is no room finds all of it, too.
        disk.with_room(0, || {
            host.launch();
            is_so(&format!("on a full disk, after room for {pages} pages"));
            eventually(Duration::from_secs(5), "frames are forwarded", || {
                pings(&sandbox, peer).then_some(())
            });
        });
        // The next act works by itself.
        host.tapestry(&["rm", "-f", "new", &over]);
        host.tapestry(&["network", "rm", "other"]);
        host.tapestry(&["run", "--rm", "--", "true"]).ok();
    }
    println!("{refused} of 12 acts were refused");
    assert!(refused > 0, "that is no disk that runs full");
    assert!(pings(&sandbox, peer));
    // Before their directories go with the disk.
    host.tapestry(&["rm", "-f", "a", "b"]).ok();
}

#[test]
fn what_cannot_be_written_is_not_done_and_works_by_itself_later() {
    let host = Host::without_agent();
    host.launch_with(|command| {
        // An agent that is told of a file's limit instead of being killed by it; it writes its log to no file.
        let log = host.dir().join("log");
        let script = "trap '' XFSZ; mkfifo \"$0\"; (cat \"$0\" >&2 &); exec \"$@\" >\"$0\" 2>&1";
        let mut patient = std::process::Command::new("sh");
        patient.args(["-c", script]).arg(log);
        patient.arg(command.get_program()).args(command.get_args());
        *command = patient;
    });
    host.tapestry(&["network", "create", "lab"]).ok();
    host.tapestry(&["network", "create", "more"]).ok();
    host.idle("kept", "lab", &["--restart", "always"]);
    host.tapestry(&["network", "connect", "more", "kept"]).ok();
    host.tapestry(&["run", "--name", "over", "--", "true"]).ok();
    let endpoint = host.endpoint("lab", "theirs");
    let path = format!("/v1/endpoints/{}", endpoint.detail.id);
    let acts: [&[&str]; 4] = [
        &["rm", "over"],
        &["network", "disconnect", "more", "kept"],
        &["stop", "-t", "0", "kept"],
        &["network", "create", "other"],
    ];
    let state = |host: &Host| {
        let endpoints: Vec<agent_api::EndpointDetail> = host.api("GET", "/v1/endpoints", None).ok();
        let endpoints: BTreeSet<_> = endpoints.into_iter().map(|endpoint| endpoint.id).collect();
        (Listed::of(host), endpoints)
    };
    let before = state(&host);
    limit(&host, "0:unlimited");
    for act in acts {
        let refused = host.tapestry(act);
        assert!(told(&refused), "{act:?}: {refused:?}");
    }
    let refused = host.api("DELETE", &path, None);
    assert!(refused.status >= 500, "{refused:?}");
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.contains("state.redb"), "{message}");
    assert_eq!(state(&host), before);
    assert!(
        endpoint.netns.pings(host.ipv4("kept")),
        "forwarding goes on"
    );
    limit(&host, "unlimited:unlimited");
    for act in acts {
        host.tapestry(act).ok();
    }
    assert_eq!(host.api("DELETE", &path, None).status, 200);
}

fn limit(host: &Host, size: &str) {
    let agent = host.agent_pid().as_raw_nonzero();
    host.netns
        .sh(&format!("prlimit --pid {agent} --fsize={size}"));
}

/// Whether it was refused, in one line that says by what.
fn told(outcome: &Output) -> bool {
    if outcome.status == 0 {
        return false;
    }
    let said = outcome.stderr.trim();
    assert_eq!(said.lines().count(), 1, "{said}");
    let words = ["state.redb", "o space left", "no room", "File too large"];
    assert!(words.iter().any(|word| said.contains(word)), "{said}");
    assert!(!said.contains("panic"), "{said}");
    true
}

/// What everybody may see by name.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    networks: BTreeSet<String>,
    containers: BTreeSet<String>,
}

impl Listed {
    fn of(host: &Host) -> Self {
        let networks = host.networks().into_iter().map(|network| network.name);
        let containers = host.containers().into_iter().map(|known| known.name);
        Self {
            networks: networks.collect(),
            containers: containers.collect(),
        }
    }
}
