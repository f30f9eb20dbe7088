//! The agent at its limits: whoever is one too many is told so, and everybody else goes on.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Host, Netns, eventually, run};

const STEP: Duration = Duration::from_secs(20);
/// As `agent/daemon/src/api_server/` has them.
const WAITERS_MAX: usize = 512;
const CONNECTIONS_MAX: usize = 1024;

#[test]
fn clients_that_wait_for_a_container_keep_nobody_from_asking() {
    let host = Host::start();
    let stubborn = ["--", "sh", "-c", "trap '' TERM; sleep 1000"];
    let head = ["run", "-d", "--name", "stubborn"];
    host.tapestry(&[&head[..], &stubborn[..]].concat()).ok();
    let body = r#"{"timeout_s":600}"#;
    let stop = format!(
        "POST /v1/containers/stubborn/stop HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let follow = "GET /v1/containers/stubborn/logs?follow=true HTTP/1.1\r\nhost: x\r\n\r\n";
    let waiting: Vec<UnixStream> = (0..WAITERS_MAX)
        .map(|number| said(&host, if number % 2 == 0 { &stop } else { follow }))
        .collect();
    for one_more in [&stop, follow] {
        let refused = eventually(STEP, "there are too many", || {
            let answer = answer_of(&said(&host, one_more), Duration::from_secs(1));
            answer.contains("507").then_some(answer)
        });
        let why =
            format!("{WAITERS_MAX} clients wait for containers to end or follow logs already");
        assert!(refused.contains(&why), "{refused}");
    }
    assert!(host.is_known("stubborn"));
    host.tapestry(&["rm", "--force", "stubborn"]).ok();
    drop(waiting);
    host.idle("other", "bridge", &[]);
    host.tapestry(&["stop", "--time", "0", "other"]).ok();
}

#[test]
fn clients_that_say_nothing_are_let_go_and_one_too_many_is_told() {
    let host = Host::start();
    // One that does not say all is told.
    let slow = "POST /v1/networks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let slow = said(&host, slow);
    let silent: Vec<UnixStream> = (1..CONNECTIONS_MAX).map(|_| said(&host, "GET /")).collect();
    let refused = eventually(STEP, "there are too many", || {
        let answer = answer_of(&said(&host, ""), Duration::from_secs(1));
        answer.contains("507").then_some(answer)
    });
    let why = format!("{CONNECTIONS_MAX} clients are connected to the agent already");
    assert!(refused.contains(&why), "{refused}");
    eventually(STEP, "the silent ones are let go", || {
        let asked = host.try_api("GET", "/v1/version", None);
        asked.ok().filter(|reply| reply.status == 200)
    });
    let answer = answer_of(&slow, STEP);
    assert!(answer.contains("the body did not come within"), "{answer}");
    drop(silent);
}

#[test]
fn an_agent_that_may_open_no_more_files_says_so_and_goes_on() {
    let host = Host::start();
    let pid = host.agent_pid().as_raw_nonzero();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count();
    let may_open = |files: usize| {
        let limit = format!("--nofile={files}:");
        run(Command::new("prlimit").args(["--pid", &pid.to_string(), &limit])).ok();
    };
    may_open(open + 64 + 12);
    let mut attached = Vec::new();
    let refused = (0..32).find_map(|number| {
        let name = format!("more{number}");
        let netns = Netns::new(&name);
        let output = attach(&host, &name, &netns);
        attached.push(netns);
        (!output.contains("\"id\"")).then_some(output)
    });
    let refused = refused.expect("a refusal");
    for part in ["files open", "raise LimitNOFILE"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Whoever asks is answered, and what is attached goes on.
    assert_eq!(host.networks().len(), 3);
    assert!(one.netns.pings(two.ipv4()));
    may_open(open + 10_000);
    let netns = Netns::new("last");
    let output = attach(&host, "last", &netns);
    assert!(output.contains("\"id\""), "{output}");
    drop((attached, netns));
    eventually(STEP, "their endpoints are gone", || {
        (host.network("bridge").endpoints.len() == 2).then_some(())
    });
}

/// What the API says.
fn attach(host: &Host, name: &str, netns: &Netns) -> String {
    let body = format!(
        r#"{{"network":"bridge","name":{name:?},"sandbox":{:?}}}"#,
        netns.path()
    );
    let request = format!(
        "POST /v1/endpoints HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    answer_of(&said(host, &request), STEP)
}

/// A connection on which so much was said.
fn said(host: &Host, text: &str) -> UnixStream {
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    // One that is refused may be closed already.
    let _ = stream.write_all(text.as_bytes());
    stream
}

/// All that comes within `limit` of each other.
fn answer_of(mut stream: &UnixStream, limit: Duration) -> String {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&answer);
        if text.trim_end().ends_with('}') {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
