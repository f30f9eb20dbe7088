//! `run` and `exec` as a person or a script has them in hand: terminals, streams, signals, exit status.

use std::io::{Read, Write};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Host, eventually};

#[test]
fn run_with_a_terminal_is_a_real_terminal_of_the_same_size() {
    let host = Host::start();
    let mut terminal = host.terminal(&["run", "-i", "-t", "--rm", "--", "sh"]);
    terminal.type_in("tty && stty size\n");
    terminal.expect("/dev/pts/");
    terminal.expect("40 132");
    terminal.type_in("exit 7\n");
    assert_eq!(terminal.status(), 7);
}

#[test]
fn control_c_reaches_the_command_not_the_client() {
    let host = Host::start();
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let mut terminal = host.terminal(&["run", "-i", "-t", "--rm", "--", "sh", "-c", script]);
    terminal.expect("ready");
    terminal.type_in("\u{3}");
    terminal.expect("caught");
    assert_eq!(terminal.status(), 5);
}

#[test]
fn control_d_ends_a_shell() {
    let host = Host::start();
    let mut terminal = host.terminal(&["run", "-i", "-t", "--rm", "--", "sh"]);
    terminal.type_in("echo rea''dy\n");
    terminal.expect("ready");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.status(), 0);
    assert!(host.containers().is_empty());
}

#[test]
fn exec_with_a_terminal_joins_the_container() {
    let host = Host::start();
    host.idle("web", "bridge", &["--hostname", "loom"]);
    let mut terminal = host.terminal(&["exec", "-i", "-t", "web", "--", "sh"]);
    terminal.type_in("hostname; cat /proc/1/comm\n");
    terminal.expect("loom");
    terminal.expect("sleep");
    terminal.type_in("exit 3\n");
    assert_eq!(terminal.status(), 3);
    assert!(host.is_known("web"));
}

#[test]
fn exit_statuses_are_the_commands_own() {
    let host = Host::start();
    for status in [0, 1, 42, 255] {
        let script = format!("exit {status}");
        assert_eq!(
            host.tapestry(&["run", "--rm", "--", "sh", "-c", &script])
                .status,
            status
        );
    }
    assert_eq!(
        host.tapestry(&["run", "--rm", "--", "sh", "-c", "kill -9 $$ & wait"])
            .status,
        0,
        "PID 1 is safe from itself"
    );
    host.idle("web", "bridge", &[]);
    assert_eq!(host.exec("web", "exit 42").status, 42);
    assert_eq!(host.exec("web", "kill -9 $$").status, 137);
}

#[test]
fn streams_are_kept_apart_and_whole() {
    let host = Host::start();
    let output = host.tapestry(&["run", "--rm", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    let output = host.tapestry(&[
        "run",
        "--rm",
        "--",
        "sh",
        "-c",
        "head -c 3000000 /dev/zero | tr '\\0' x",
    ]);
    assert_eq!((output.status, output.stdout.len()), (0, 3_000_000));
}

#[test]
fn standard_input_is_passed_on_with_i() {
    let host = Host::start();
    let mut child = host.spawn(&["run", "-i", "--rm", "--", "sh", "-c", "cat | wc -c"]);
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&[b'x'; 1_000_000]).unwrap());
    let mut counted = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut counted)
        .unwrap();
    writer.join().unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), counted.trim()),
        (Some(0), "1000000")
    );
}

#[test]
fn environment_directory_and_hostname_are_as_asked() {
    let host = Host::start();
    let options = [
        "run",
        "--rm",
        "-e",
        "COLOUR=indigo",
        "-w",
        "/usr/share",
        "--hostname",
        "loom",
        "--",
    ];
    let command = ["sh", "-c", "echo $COLOUR; pwd; hostname"];
    assert_eq!(
        host.tapestry(&[&options[..], &command].concat()).ok(),
        "indigo\n/usr/share\nloom\n"
    );
}

#[test]
fn signals_to_the_client_reach_the_command() {
    let host = Host::start();
    for (signal, name, status) in [
        (Signal::TERM, "TERM", 21),
        (Signal::HUP, "HUP", 22),
        (Signal::INT, "INT", 23),
    ] {
        let script =
            format!("trap 'exit {status}' {name}; echo ready; while :; do sleep 0.1; done");
        let mut child = host.spawn(&["run", "--rm", "--", "sh", "-c", &script]);
        let mut ready = [0; 6];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = eventually(Duration::from_secs(10), name, || child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(status), "{name}");
    }
}

#[test]
fn rm_cleans_up_when_the_command_is_killed() {
    let host = Host::start();
    let mut child = host.spawn(&["run", "--rm", "--name", "victim", "--", "sleep", "1000"]);
    eventually(Duration::from_secs(5), "victim runs", || {
        host.is_known("victim").then_some(())
    });
    eventually(Duration::from_secs(5), "victim runs", || {
        host.tapestry(&["ps"])
            .stdout
            .contains("victim")
            .then_some(())
    });
    kill_process(host.pid("victim"), Signal::KILL).unwrap();
    let ended = eventually(Duration::from_secs(10), "the client ends", || {
        child.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(137));
    eventually(Duration::from_secs(5), "victim is removed", || {
        (!host.is_known("victim")).then_some(())
    });
    assert!(host.ports("bridge").iter().all(|port| port.kind != "tap"));
}

#[test]
fn rm_cleans_up_when_the_client_is_killed() {
    let host = Host::start();
    let mut child = host.spawn(&["run", "--rm", "--name", "orphan", "--", "sleep", "1000"]);
    eventually(Duration::from_secs(5), "orphan runs", || {
        host.tapestry(&["ps"])
            .stdout
            .contains("orphan")
            .then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    host.tapestry(&["stop", "orphan"]).ok();
    eventually(Duration::from_secs(5), "orphan is removed", || {
        (!host.is_known("orphan")).then_some(())
    });
}

#[test]
fn logs_keep_what_a_detached_container_wrote() {
    let host = Host::start();
    host.tapestry(&[
        "run",
        "-d",
        "--name",
        "chatty",
        "--",
        "sh",
        "-c",
        "echo one; echo two >&2; sleep 1000",
    ])
    .ok();
    eventually(Duration::from_secs(5), "both lines in the log", || {
        let output = host.tapestry(&["logs", "chatty"]);
        (output.stdout == "one\n" && output.stderr == "two\n").then_some(())
    });
}

#[test]
fn stop_asks_first_and_kills_later() {
    let host = Host::start();
    host.tapestry(&[
        "run",
        "-d",
        "--name",
        "polite",
        "--",
        "sh",
        "-c",
        "trap 'exit 0' TERM; while :; do sleep 0.1; done",
    ])
    .ok();
    host.tapestry(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "--",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 0.1; done",
    ])
    .ok();
    host.tapestry(&["stop", "polite"]).ok();
    host.tapestry(&["stop", "-t", "1", "deaf"]).ok();
    let listed = host.tapestry(&["ps"]).ok();
    assert!(
        !listed.contains("polite") && !listed.contains("deaf"),
        "{listed}"
    );
    assert!(
        host.is_known("polite") && host.is_known("deaf"),
        "stopped, not removed"
    );
}

#[test]
fn zombies_of_a_container_are_reaped() {
    let host = Host::start();
    let script = "for i in 1 2 3 4 5; do (sleep 0.1 & exec true); done; tail -f /dev/null";
    host.tapestry(&["run", "-d", "--name", "parent", "--", "sh", "-c", script])
        .ok();
    let mut states = String::new();
    eventually(Duration::from_secs(10), "they are reaped", || {
        states = host
            .exec("parent", "cat /proc/[0-9]*/stat 2>/dev/null || true")
            .ok();
        let reaped = states.contains("(tail)") && !states.contains("(sleep)");
        reaped.then_some(())
    });
    let zombies = states.lines().filter(|line| line.contains(") Z ")).count();
    assert_eq!(zombies, 0, "{states}");
}

#[test]
fn stop_tells_at_a_terminal_what_it_waits_for() {
    let host = Host::start();
    host.idle("deaf", "bridge", &[]);
    let mut terminal = host.terminal(&["stop", "-t", "2", "deaf"]);
    terminal.expect("deaf got SIGTERM and has not ended yet; it gets SIGKILL in 1 s");
    assert_eq!(terminal.status(), 0);
}

#[test]
fn top_is_a_screen_at_a_terminal_and_text_elsewhere() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    host.idle("web", "lab", &[]);
    let mut terminal = host.terminal(&["top"]);
    // The other screen, which is left at the end.
    terminal.expect("\u{1b}[?1049h");
    terminal.expect("[networks]");
    terminal.type_in("2");
    terminal.expect("[ports]");
    terminal.type_in("/web\r");
    terminal.expect("filter: web");
    terminal.expect("bit/s");
    terminal.type_in("\r");
    terminal.expect("of lab");
    terminal.type_in("q");
    terminal.expect("\u{1b}[?1049l");
    assert_eq!(terminal.status(), 0);

    let once = host.tapestry(&["top", "lab"]).ok();
    let lines: Vec<_> = once.lines().collect();
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{once}"
    );
    assert!(
        !once.contains('\u{1b}') && once.contains("of lab"),
        "{once}"
    );
    let owners: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("lab "))
        .collect();
    assert_eq!(owners.len(), 3, "gateway, host and web: {once}");
    let refused = host.tapestry(&["top", "nonet"]).refused(1);
    assert!(refused.contains("no network \"nonet\""), "{refused}");
}
