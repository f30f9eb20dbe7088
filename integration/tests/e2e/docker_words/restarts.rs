//! `--restart`.

use std::time::{Duration, Instant};

use agent_api::ContainerState;
use rustix::process::{Signal, kill_process};

use super::one_line;
use crate::harness::{Host, eventually};

#[test]
fn a_container_that_fails_is_started_again_as_often_as_was_said() {
    let host = Host::start();
    let script = "echo ran; exit 3";
    let options = ["run", "-d", "--name", "job", "--restart", "on-failure:2"];
    host.tapestry(&[&options[..], &["--", "sh", "-c", script]].concat())
        .ok();
    eventually(Duration::from_secs(10), "three runs, and no more", || {
        let ended = host.container("job");
        let is_over =
            ended.summary.state == ContainerState::Exited { code: 3 } && !ended.summary.restarting;
        (is_over && ended.restarts == 2).then_some(())
    });
    assert_eq!(host.tapestry(&["logs", "job"]).ok(), "ran\nran\nran\n");
    // Who follows the log follows all runs; who waits for the command waits for its first end.
    let script = "sleep 0.3; echo ran; exit 4";
    let options = ["run", "--name", "watched", "--restart", "on-failure:1"];
    let attached = host.tapestry(&[&options[..], &["--", "sh", "-c", script]].concat());
    assert_eq!((attached.status, &*attached.stdout), (4, "ran\n"));
    assert_eq!(host.tapestry(&["logs", "-f", "watched"]).ok(), "ran\nran\n");
    one_line(
        &host.tapestry(&["run", "--rm", "--restart", "always", "true"]),
        "'--restart <POLICY>'",
    );
    one_line(
        &host.tapestry(&["run", "--restart", "sometimes", "true"]),
        "unless-stopped",
    );

    // One that never ran is no case for it.
    let missing = [
        "run",
        "-d",
        "--name",
        "missing",
        "--restart",
        "always",
        "--",
        "/no/such/command",
    ];
    assert_eq!(host.tapestry(&missing).status, 127);
    let state = host.container("missing");
    assert!(
        !state.summary.restarting && state.restarts == 0,
        "{state:?}"
    );

    // While it waits it is to be seen, and whoever stops it then ends that.
    let options = [
        "run",
        "-d",
        "--name",
        "loop",
        "--restart",
        "always",
        "--",
        "false",
    ];
    host.tapestry(&options).ok();
    eventually(Duration::from_secs(20), "it waits for a while", || {
        let rows = host.tapestry(&["ps", "--filter", "status=restarting"]).ok();
        (rows.contains("Restarting (1)") && host.container("loop").restarts > 3).then_some(())
    });
    host.tapestry(&["stop", "loop"]).ok();
    let stopped = host.container("loop");
    assert!(!stopped.summary.restarting, "{stopped:?}");
    assert!(!host.tapestry(&["ps"]).ok().contains("loop"));
}

#[test]
fn what_should_run_runs_again_after_its_end_and_after_a_restart_of_the_agent() {
    let host = Host::start();
    let policies = [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("stopped", "unless-stopped"),
        ("plain", "no"),
    ];
    for (name, policy) in policies {
        host.idle(name, "bridge", &["--restart", policy]);
    }
    let first = host.pid("always");
    let address = host.ipv4("always");
    kill_process(first, Signal::KILL).unwrap();
    let second = eventually(Duration::from_secs(5), "it runs again", || {
        let running = host.container("always").summary.state;
        matches!(running, ContainerState::Running { pid } if pid != first.as_raw_nonzero().get())
            .then(|| host.pid("always"))
    });
    assert_eq!(host.ipv4("always"), address);
    assert_eq!(host.container("always").restarts, 1);
    host.tapestry(&["stop", "-t", "0", "stopped"]).ok();
    host.tapestry(&["stop", "-t", "0", "always"]).ok();

    // The agent and every command die, as at a loss of power.
    let pids = ["unless", "plain"].map(|name| host.pid(name));
    host.stop_agent(Signal::KILL);
    for pid in pids {
        kill_process(pid, Signal::KILL).unwrap();
    }
    host.launch();
    for name in ["always", "unless"] {
        eventually(Duration::from_secs(5), name, || {
            let state = host.container(name).summary.state;
            matches!(state, ContainerState::Running { .. }).then_some(())
        });
        host.exec(name, "ping -c1 -W2 172.17.0.1").ok();
    }
    assert_ne!(host.pid("always"), second);
    for name in ["stopped", "plain"] {
        let state = host.container(name).summary.state;
        assert!(
            matches!(state, ContainerState::Exited { .. }),
            "{name}: {state:?}"
        );
    }
    // One that was stopped and came back with the agent is not taken for stopped any more.
    let third = host.pid("always");
    kill_process(third, Signal::KILL).unwrap();
    eventually(Duration::from_secs(5), "it runs once more", || {
        let state = host.container("always").summary.state;
        let pid = third.as_raw_nonzero().get();
        matches!(state, ContainerState::Running { pid: now } if now != pid).then_some(())
    });
    // What is removed stays removed.
    host.tapestry(&["rm", "-f", "unless"]).ok();
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert!(!host.is_known("unless"));
    }
}

#[test]
fn a_stop_and_a_removal_are_final_whenever_they_come() {
    let host = Host::start();
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    for name in &names {
        let options = ["run", "-d", "--name", name, "--restart", "always"];
        host.tapestry(&[&options[..], &["--", "sleep", "0.05"]].concat())
            .ok();
    }
    std::thread::scope(|scope| {
        for (number, name) in names.iter().enumerate() {
            let host = &host;
            scope.spawn(move || {
                // Each at another moment of runs and pauses.
                std::thread::sleep(Duration::from_millis(61) * u32::try_from(number).unwrap());
                let verb: &[&str] = match number % 2 {
                    0 => &["stop", "-t", "0"],
                    _ => &["rm", "-f"],
                };
                host.tapestry(&[verb, &[name.as_str()]].concat()).ok();
            });
        }
    });
    let seen = || {
        let containers = host.containers().into_iter();
        let seen = containers.map(|container| {
            let is_over = matches!(container.state, ContainerState::Exited { .. });
            (
                container.name.clone(),
                is_over && !container.restarting,
                container.since_s,
            )
        });
        seen.collect::<Vec<_>>()
    };
    let before = seen();
    assert!(before.iter().all(|(_, is_over, _)| *is_over), "{before:?}");
    assert_eq!(before.len(), 5, "{before:?}");
    // Longer than any of their pauses is by now.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(seen(), before);
    assert!(host.network("bridge").endpoints.is_empty());
}
