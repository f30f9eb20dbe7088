//! What the agent keeps of its privileges, and what containers have nevertheless.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_api::Info;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Host, eventually};

#[test]
fn threads_that_see_frames_have_no_capabilities_and_a_filter_of_system_calls() {
    let host = Host::start();
    for name in ["one", "two"] {
        host.idle(name, "bridge", &[]);
    }
    let ping = ["exec", "one", "--", "ping", "-i", "0.01", "-q", "two"];
    let mut pinging = host.spawn(&ping);
    let threads = |name: &str| threads(&host, name);
    let workers: Vec<_> = ["switch-0", "switch-1"].map(threads).concat();
    assert!(!workers.is_empty());
    let none = "0000000000000000";
    for worker in &workers {
        assert_eq!(field(worker, "CapEff"), none);
        assert_eq!(field(worker, "CapPrm"), none);
        assert_eq!(field(worker, "NoNewPrivs"), "1");
        assert_eq!(field(worker, "Seccomp"), "2");
    }
    for beside in ["switch-ager", "switch-balance"].map(threads).concat() {
        assert_eq!(field(&beside, "CapEff"), none);
    }
    let journal = threads("journal");
    assert_eq!(field(&journal[0], "CapEff"), "0000000000000002");
    assert!(pinging.try_wait().unwrap().is_none());
    pinging.kill().unwrap();
    pinging.wait().unwrap();
    host.exec("one", "ping -c 3 -i 0.01 two").ok();

    let inside = host.exec("one", "cat /proc/self/status").ok();
    assert_eq!(field(&inside, "NoNewPrivs"), "0", "sudo works in there");
    assert_eq!(field(&inside, "CapEff"), "00000000a80425fb", "Docker's set");
    let every = field(&fs::read_to_string("/proc/self/status").unwrap(), "CapBnd").to_owned();
    host.idle("all", "bridge", &["--privileged"]);
    let inside = host.exec("all", "cat /proc/self/status").ok();
    assert_eq!(field(&inside, "CapEff"), every);
    assert_eq!(field(&inside, "Seccomp"), "0");
}

#[test]
fn the_thread_that_answers_comes_before_others_and_containers_do_not() {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    let nice_of = |task: &str| {
        let agent = host.agent_pid().as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{agent}/task/{task}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(16).unwrap().parse::<i32>()
    };
    let answering = host.agent_pid().as_raw_nonzero().to_string();
    let tasks = fs::read_dir(format!("/proc/{answering}/task")).unwrap();
    let mut preferred = Vec::new();
    for task in tasks {
        let task = task.unwrap().file_name().into_string().unwrap();
        // A thread that was idle for long may end just now.
        if nice_of(&task).is_ok_and(|nice| nice < 0) {
            preferred.push(task);
        }
    }
    assert_eq!(preferred, [answering]);
    let inside = host.tapestry(&["run", "--rm", "--", "nice"]).ok();
    assert_eq!(
        (inside.trim(), host.exec("one", "nice").ok().trim()),
        ("0", "0")
    );
}

#[test]
fn the_agent_leaves_no_core_and_containers_have_the_limits_that_it_was_given() {
    let host = Host::without_agent();
    host.launch_with(|agent| {
        let mut limited = Command::new("prlimit");
        limited.args(["--core=8192:1048576", "--"]);
        limited.arg(agent.get_program()).args(agent.get_args());
        let log = fs::File::options()
            .append(true)
            .open(host.dir().join("agent.log"));
        let log = log.unwrap();
        limited
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        *agent = limited;
    });
    let limit = |limits: &str| -> Vec<String> {
        let mut lines = limits.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max core file size"));
        let words = line.unwrap().split_whitespace();
        words.map(str::to_owned).collect()
    };
    let agent = PathBuf::from(format!("/proc/{}", host.agent_pid().as_raw_nonzero()));
    let of_agent = fs::read_to_string(agent.join("limits")).unwrap();
    assert_eq!(limit(&of_agent), ["0", "1048576", "bytes"]);
    let given = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let score = fs::read_to_string(agent.join("oom_score_adj")).unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = u64::from_str_radix(field(&own, "CapEff"), 16).unwrap();
    // Without the capability nobody lowers it.
    let lowered = if own & 1 << SYS_RESOURCE == 0 {
        &given
    } else {
        "-500\n"
    };
    assert_eq!(score, *lowered);

    host.idle("one", "bridge", &[]);
    for inside in [
        host.exec("one", "cat /proc/1/limits /proc/1/oom_score_adj")
            .ok(),
        host.exec("one", "cat /proc/self/limits /proc/self/oom_score_adj")
            .ok(),
    ] {
        assert_eq!(limit(&inside), ["8192", "1048576", "bytes"]);
        assert_eq!(inside.lines().last(), Some(given.trim()));
    }
}

/// Its first thread starts agents, which have all that it was given; the one that hears the agent has nothing.
#[test]
fn the_guardian_hears_the_agent_with_no_right_and_few_system_calls() {
    let host = Host::start();
    let guardian = host.guardian_pid().as_raw_nonzero();
    let hearing = || {
        let all = threads_of(host.guardian_pid(), "guardian");
        assert_eq!(all.len(), 1);
        all[0].clone()
    };
    let confined = |status: &str| {
        for rights in ["CapEff", "CapPrm"] {
            assert_eq!(field(status, rights), "0000000000000000");
        }
        assert_eq!(field(status, "NoNewPrivs"), "1");
        assert_eq!(field(status, "Seccomp"), "2");
    };
    confined(&hearing());
    let limits = fs::read_to_string(format!("/proc/{guardian}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4], "0", "{core}");
    // It does all that a guardian does nevertheless.
    host.kill_agent_proper();
    host.tapestry(&["agent", "--replace"]).ok();
    host.kill_agent_proper();
    confined(&hearing());
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let agent = host.agent_pid().as_raw_nonzero();
    let agent = fs::read_to_string(format!("/proc/{agent}/status")).unwrap();
    assert_eq!(field(&agent, "CapEff"), field(&own, "CapEff"));
    assert_eq!(field(&agent, "Seccomp"), field(&own, "Seccomp"));
    assert_eq!(field(&agent, "NoNewPrivs"), field(&own, "NoNewPrivs"));
    let info: Info = host.api("GET", "/v1/info", None).ok();
    assert_eq!(info.deaths, 2);
    assert!(info.last_death.unwrap().contains("SIGKILL"));
    let said = host.tapestry(&["doctor"]).stdout;
    assert!(said.contains("agent's deaths: 2, the last by"), "{said}");
}

/// With the limit lifted again, what keeps it from leaving one is that it is not dumpable.
#[test]
fn an_agent_that_crashes_writes_its_memory_nowhere() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if !pattern.starts_with("core") {
        println!("cores go elsewhere on this machine: {pattern}");
        return;
    }
    let host = Host::without_agent();
    host.launch_with(|agent| {
        agent.current_dir(host.dir());
    });
    let mut other = Command::new("sleep")
        .arg("1000")
        .current_dir(host.dir())
        .spawn()
        .unwrap();
    let pids = [
        host.agent_pid(),
        host.guardian_pid(),
        Pid::from_child(&other),
    ];
    for pid in pids {
        let mut lift = Command::new("prlimit");
        lift.arg(format!("--pid={}", pid.as_raw_nonzero()))
            .arg("--core=unlimited:unlimited");
        crate::harness::run(&mut lift).ok();
    }
    let cores = || {
        let files = fs::read_dir(host.dir()).unwrap().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("core")).count()
    };
    for pid in pids {
        kill_process(pid, Signal::SEGV).unwrap();
    }
    other.wait().unwrap();
    eventually(Duration::from_secs(5), "another program leaves one", || {
        (cores() > 0).then_some(())
    });
    host.stop_agent(Signal::KILL);
    assert_eq!(cores(), 1);
    host.launch();
}

/// What `status` says of the agent's threads whose names begin so.
fn threads(host: &Host, name: &str) -> Vec<String> {
    threads_of(host.agent_pid(), name)
}

fn threads_of(process: Pid, name: &str) -> Vec<String> {
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    let tasks = fs::read_dir(tasks).unwrap().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    texts
        .filter(|text| field(text, "Name").starts_with(name))
        .collect()
}

#[track_caller]
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap().trim()
}

/// Its number, capabilities(7).
const SYS_RESOURCE: u32 = 24;
