//! The binary against an agent that gives prepared answers, and against none.

mod fake_agent;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

use fake_agent::{FakeAgent, completed, tapestry};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn network_ls_prints_the_table_of_a_fresh_agent() {
    let agent = FakeAgent::start(&[(
        "GET /v1/networks",
        200,
        r#"[{"id":"1111111111111111111111111111111111111111111111111111111111111111","name":"bridge","driver":"bridge","scope":"local"},
            {"id":"2222222222222222222222222222222222222222222222222222222222222222","name":"host","driver":"host","scope":"local"},
            {"id":"3333333333333333333333333333333333333333333333333333333333333333","name":"none","driver":"null","scope":"local"}]"#,
    )]);
    let output = agent.tapestry(&["network", "ls"]);
    insta::assert_snapshot!(stdout(&output), @r"
    NETWORK ID     NAME      DRIVER    SCOPE
    111111111111   bridge    bridge    local
    222222222222   host      host      local
    333333333333   none      null      local
    ");
    let json: serde_json::Value =
        serde_json::from_slice(&agent.tapestry(&["network", "ls", "--json"]).stdout).unwrap();
    assert_eq!(json[2]["driver"], "null");
}

#[test]
fn network_create_prints_the_whole_id() {
    let agent = FakeAgent::start(&[(
        "POST /v1/networks",
        201,
        r#"{"id":"44444444","name":"lab","driver":"bridge","scope":"local","subnets":[]}"#,
    )]);
    let output = agent.tapestry(&[
        "network",
        "create",
        "--subnet",
        "10.9.0.0/16",
        "-o",
        "a=b",
        "lab",
    ]);
    assert_eq!(stdout(&output), "44444444\n");
    let asked = agent.asked().remove(0);
    assert!(asked.contains(r#""subnets":["10.9.0.0/16"]"#), "{asked}");
    assert!(asked.contains(r#""options":{"a":"b"}"#), "{asked}");
}

#[test]
fn removal_goes_on_after_a_failure_and_tells_it() {
    let agent = FakeAgent::start(&[("DELETE /v1/networks/b", 204, "")]);
    let output = agent.tapestry(&["network", "rm", "a", "b"]);
    assert_eq!(stdout(&output), "b\n");
    assert_eq!(stderr(&output), "tapestry: no such thing\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn prune_without_an_answer_removes_nothing() {
    let agent = FakeAgent::start(&[("POST /v1/networks/prune", 200, r#"{"networks":["lab"]}"#)]);
    let output = agent.tapestry(&["network", "prune"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(agent.asked().is_empty());
    let output = agent.tapestry(&["network", "prune", "-f"]);
    assert_eq!(stdout(&output), "Deleted Networks:\nlab\n");
}

#[test]
fn refused_run_exits_with_125() {
    let agent = FakeAgent::start(&[(
        "POST /v1/containers?hold=true",
        409,
        r#"{"kind":"conflict","message":"the name web is taken; remove it with: tapestry rm web"}"#,
    )]);
    let output = agent.tapestry(&["run", "--name", "web", "--", "true"]);
    assert_eq!(
        stderr(&output),
        "tapestry: the name web is taken; remove it with: tapestry rm web\n"
    );
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn detached_run_prints_the_id_and_removes_what_does_not_start() {
    let created = r#"{"id":"5555","name":"web","attach":"/nowhere"}"#;
    let works: &[fake_agent::Answer] = Box::leak(Box::new([
        ("POST /v1/containers?hold=true", 201, created),
        ("POST /v1/containers/5555/start", 204, ""),
    ]));
    let agent = FakeAgent::start(works);
    let output = agent.tapestry(&["run", "-d", "--", "sleep", "9"]);
    assert_eq!(stdout(&output), "5555\n");
    assert_eq!(output.status.code(), Some(0));

    let agent = FakeAgent::start(&works[..1]);
    let output = agent.tapestry(&["run", "-d", "--rm", "--", "sleep", "9"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        agent.asked().last().unwrap(),
        "DELETE /v1/containers/5555?force=true"
    );
}

#[test]
fn terminal_is_asked_of_standard_input() {
    let agent = FakeAgent::start(&[]);
    let output = agent.tapestry(&["run", "-it", "--", "sh"]);
    assert!(stderr(&output).starts_with("tapestry: the input device is not a TTY"));
    assert_eq!(output.status.code(), Some(1));
    assert!(agent.asked().is_empty());
}

#[test]
fn logs_go_to_the_stream_they_came_from() {
    let agent = FakeAgent::start(&[(
        "GET /v1/containers/web/logs?follow=false&tail=2",
        200,
        "{\"time_s\":1.25,\"stream\":\"stdout\",\"text\":\"out\\n\"}\n\
         {\"time_s\":2.5,\"stream\":\"stderr\",\"hex\":\"6572720a\"}\n",
    )]);
    let output = agent.tapestry(&["logs", "--tail", "2", "web"]);
    assert_eq!(
        (stdout(&output), stderr(&output)),
        ("out\n".into(), "err\n".into())
    );
}

#[test]
fn inspect_prints_an_array_of_what_it_found() {
    let agent = FakeAgent::start(&[]);
    let output = agent.tapestry(&["inspect", "nobody"]);
    assert_eq!(stdout(&output), "[]\n");
    assert_eq!(
        stderr(&output),
        "tapestry: no such thing; no network is called nobody either; see: tapestry ps -a, tapestry network ls\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn missing_socket_says_how_to_start_an_agent() {
    let output = tapestry(Path::new("/nonexistent/agent.sock"), &["ps"]);
    assert_eq!(
        stderr(&output),
        "tapestry: no agent at /nonexistent/agent.sock; start one with: tapestry agent --socket /nonexistent/agent.sock\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn stale_socket_says_that_its_agent_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let shown = socket.display();
    let output = tapestry(&socket, &["network", "ls"]);
    assert_eq!(
        stderr(&output),
        format!(
            "tapestry: the socket {shown} was left behind by an agent that is gone; \
             start one with: tapestry agent --socket {shown}\n"
        )
    );
}

#[test]
fn answer_of_something_else_is_one_line() {
    let agent = FakeAgent::start(&[("GET /v1/containers", 200, "<html>\nhello</html>")]);
    let output = agent.tapestry(&["ps"]);
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("does not answer GET /v1/containers as version"),
        "{said}"
    );
}

#[test]
fn wrong_use_is_one_line_and_exits_with_2() {
    let output = tapestry(Path::new("/x"), &["run", "--nam", "a", "--", "ls"]);
    assert_eq!(
        stderr(&output),
        "tapestry: unexpected argument '--nam' found; a similar argument exists: '--name'; see 'tapestry run --help'\n"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn manual_has_a_page_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let output = tapestry(
        Path::new("/x"),
        &["man", "--dir", dir.path().to_str().unwrap()],
    );
    assert_eq!(output.status.code(), Some(0));
    for page in [
        "tapestry",
        "tapestry-run",
        "tapestry-network",
        "tapestry-network-create",
    ] {
        assert!(dir.path().join(format!("{page}.1")).exists(), "{page}");
    }
    assert!(!dir.path().join("tapestry-shim.1").exists());
    let printed = stdout(&tapestry(Path::new("/x"), &["man"]));
    assert!(
        printed.contains("tapestry\\-network\\-create")
            || printed.contains("tapestry-network-create")
    );
}

#[test]
fn completions_come_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = tapestry(Path::new("/x"), &["completions", shell]);
        let asks = format!("TAPESTRY_COMPLETE=\"{shell}\"");
        let script = stdout(&output).replace("=fish", "=\"fish\"");
        assert!(script.contains(&asks), "{script}");
    }
}

#[test]
fn names_of_networks_and_containers_complete() {
    let agent = FakeAgent::start(&[
        (
            "GET /v1/networks",
            200,
            r#"[{"id":"1","name":"bridge","driver":"bridge","scope":"local"},
                {"id":"2","name":"blue","driver":"overlay","scope":"global"}]"#,
        ),
        (
            "GET /v1/containers",
            200,
            r#"[{"id":"3","name":"web","command":["sh"],"state":{"status":"running","pid":9},"created_s":0,"since_s":0,"publish":[],"networks":["blue"]},
                {"id":"4","name":"db","command":["sh"],"state":{"status":"exited","code":0},"created_s":0,"since_s":0,"publish":[],"networks":[]}]"#,
        ),
    ]);
    let names = |line: &str| completed(&agent.socket(), line);
    assert_eq!(names("tapestry network rm b"), ["bridge", "blue"]);
    assert_eq!(names("tapestry network connect bl"), ["blue"]);
    assert_eq!(names("tapestry network connect blue w"), ["web"]);
    assert_eq!(names("tapestry run --network bl"), ["blue"]);
    assert_eq!(
        names("tapestry run --network container:"),
        ["container:web", "container:db"]
    );
    assert_eq!(names("tapestry run --network=bl"), ["--network=blue"]);
    assert_eq!(names("tapestry rm web d"), ["db"]);
    let both = names("tapestry inspect ");
    assert!(
        ["web", "blue"]
            .iter()
            .all(|name| both.contains(&(*name).to_owned())),
        "{both:?}"
    );
    assert_eq!(names("tapestry network create b"), Vec::<String>::new());
    let socket = agent.socket();
    let line = format!("tapestry --socket {} logs w", socket.display());
    assert_eq!(completed(Path::new("/nowhere"), &line), ["web"]);
}

#[test]
fn completion_waits_for_no_agent_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let begin = std::time::Instant::now();
    for socket in [socket.as_path(), Path::new("/nowhere")] {
        assert_eq!(completed(socket, "tapestry stop w"), Vec::<String>::new());
    }
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}

#[test]
fn doctor_prints_a_line_or_an_object_for_each_check() {
    let agent = FakeAgent::start(&[(
        "GET /v1/info",
        200,
        r#"{"version":"0.0.1","pid":7,"state_dir":"/s","engine":"epoll","engine_reason":"asked for","workers":1,
            "warnings":["nft is missing; install nftables"]}"#,
    )]);
    let text = stdout(&agent.tapestry(&["doctor"]));
    for line in text.lines() {
        let level = line.split("  ").next().unwrap();
        assert!(["ok", "warn", "fail"].contains(&level), "{line}");
    }
    assert!(
        text.contains("agent: nft is missing; install nftables"),
        "{text}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&agent.tapestry(&["doctor", "--json"]).stdout).unwrap();
    assert!(
        json.as_array()
            .unwrap()
            .iter()
            .all(|check| check["level"].is_string())
    );
}
