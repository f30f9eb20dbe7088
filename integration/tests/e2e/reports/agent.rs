//! The agent as a daemon: started twice, stopped, told wrong things.

use std::fs::{self, File};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, Uid, kill_process};
use rustix::thread::set_thread_uid;

use crate::harness::{Host, Netns, Output, binary, child_of, eventually};

#[test]
fn a_second_agent_in_a_network_namespace_is_refused_by_name() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    let rules = host.netns.sh("nft -s list ruleset");
    let second = host.netns.run(&mut another_agent(&host, "b"));
    let refusal = refusal(&second);
    let pid = host.agent_pid().as_raw_nonzero();
    for part in [&format!("process {pid}"), host.socket().to_str().unwrap()] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert_eq!(host.netns.sh("nft -s list ruleset"), rules);
    assert!(!host.dir().join("b.sock").exists() && !host.dir().join("b").exists());
    host.exec("web", "ping -n -c1 -W2 198.51.100.2").ok();
    let found = host.tapestry(&["doctor"]).stdout;
    assert!(found.contains("other agents: none"), "{found}");
}

#[test]
fn an_agent_that_was_killed_keeps_none_from_starting() {
    let host = Host::start();
    for _ in 0..3 {
        host.kill_both();
        // It is dying while the next one starts.
        let mut next = start(&host, &mut another_agent(&host, "b"));
        eventually(Duration::from_secs(10), "the next one answers", || {
            assert_eq!(next.try_wait().unwrap(), None);
            host.dir().join("b.sock").exists().then_some(())
        });
        kill_process(Pid::from_child(&next), Signal::TERM).unwrap();
        next.wait().unwrap();
        host.stop_agent(Signal::KILL);
        host.launch();
    }
}

#[test]
fn two_namespaces_cannot_share_a_state_directory() {
    let host = Host::start();
    let elsewhere = Netns::new("else");
    let other_socket = host.dir().join("b.sock");
    let mut second = Command::new(binary());
    second
        .arg("agent")
        .arg("--socket")
        .arg(&other_socket)
        .arg("--state-dir")
        .arg(host.state_dir());
    let refused = refusal(&elsewhere.run(&mut second));
    let pid = host.agent_pid().as_raw_nonzero();
    assert!(refused.contains(&format!("process {pid}")), "{refused}");
    assert!(
        refused.contains(host.state_dir().to_str().unwrap()),
        "{refused}"
    );
}

/// Any local user can take a name.
#[test]
fn another_user_cannot_keep_the_agent_from_starting() {
    let host = Host::without_agent();
    let address = SocketAddr::from_abstract_name("tapestry-agent").unwrap();
    // The user of one thread, which ends with the closure.
    let squatter = host.netns.enter(|| {
        set_thread_uid(Uid::from_raw(65_534)).unwrap();
        UnixListener::bind_addr(&address).unwrap()
    });
    host.launch();
    assert!(host.log().contains("no agent"), "{}", host.log());
    drop(squatter);
}

#[test]
fn only_a_socket_that_nobody_serves_is_taken_over() {
    let host = Host::without_agent();
    let precious = host.dir().join("precious.txt");
    fs::write(&precious, "of value\n").unwrap();
    let link = host.dir().join("link.sock");
    std::os::unix::fs::symlink(&precious, &link).unwrap();
    let folder = host.dir().join("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&precious, &link, &folder] {
        let mut agent = Command::new(binary());
        agent.arg("agent").arg("--socket").arg(path);
        agent.arg("--state-dir").arg(host.dir().join("unused"));
        let refused = refusal(&host.netns.run(&mut agent));
        assert!(refused.contains(path.to_str().unwrap()), "{refused}");
        assert!(refused.contains("is no socket"), "{refused}");
    }
    assert_eq!(fs::read_to_string(&precious).unwrap(), "of value\n");
    assert!(link.is_symlink() && folder.is_dir());
    assert!(!host.dir().join("unused").exists(), "nothing was begun");
    drop(UnixListener::bind(host.socket()).unwrap());
    host.launch();
}

#[test]
fn an_agent_that_stops_leaves_what_is_not_its_socket() {
    let host = Host::start();
    fs::remove_file(host.socket()).unwrap();
    fs::write(host.socket(), "of value\n").unwrap();
    host.stop_agent(Signal::TERM);
    assert_eq!(fs::read_to_string(host.socket()).unwrap(), "of value\n");
    fs::remove_file(host.socket()).unwrap();
    host.launch();
}

#[test]
fn a_signal_that_means_nothing_is_told_and_changes_nothing() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::ALARM, "SIGALRM"),
    ] {
        kill_process(host.agent_pid(), signal).unwrap();
        let line = format!("ignored; the configuration is read at a start only signal=\"{name}\"");
        logged(&host, &line);
    }
    host.exec("web", "ping -n -c1 -W2 198.51.100.2").ok();
}

#[test]
fn the_end_of_an_agent_is_told() {
    let host = Host::start();
    for (signal, name) in [
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
    ] {
        host.stop_agent(signal);
        let line = format!("agent stops; containers go on signal=\"{name}\"");
        logged(&host, &line);
        logged(&host, "agent stopped");
        host.launch();
    }
}

/// A log that is not taken any more, as on a disk that is full, is no reason to refuse anything.
#[test]
fn an_agent_that_cannot_write_its_log_goes_on() {
    let host = Host::without_agent();
    let full = File::options().write(true).open("/dev/full").unwrap();
    host.launch_with(|command| {
        command.stderr(full);
    });
    host.tapestry(&["network", "create", "mynet"]).ok();
    host.tapestry(&["run", "--rm", "--network", "mynet", "--", "true"])
        .ok();
}

#[test]
fn what_is_made_and_removed_is_told() {
    let host = Host::start();
    host.tapestry(&["network", "create", "mynet"]).ok();
    host.idle("web", "mynet", &[]);
    host.tapestry(&["network", "disconnect", "mynet", "web"])
        .ok();
    host.tapestry(&["network", "connect", "mynet", "web"]).ok();
    host.tapestry(&["rm", "-f", "web"]).ok();
    drop(host.endpoint("mynet", "guest"));
    host.tapestry(&["run", "--rm", "--name", "once", "--", "true"])
        .ok();
    host.tapestry(&["network", "rm", "mynet"]).ok();
    for line in [
        "network made network=\"mynet\" id=",
        "container made container=\"web\" id=",
        "container started container=\"web\" id=",
        "disconnected container=\"web\" network=\"mynet\"",
        " connected container=\"web\" network=\"mynet\"",
        "endpoint made endpoint=\"guest\" id=",
        "endpoint removed id=",
        "container ended container=\"web\" code=137",
        "container removed container=\"web\" id=",
        "container ended container=\"once\" code=0",
        "container removed container=\"once\" id=",
        "network removed network=\"mynet\" id=",
    ] {
        logged(&host, line);
    }
}

#[test]
fn a_token_stays_off_the_command_line() {
    let host = Host::start();
    let script = "printf '%s\\n' TPSTRY-1-00-11-22 | exec \"$0\" cluster join - 192.0.2.200";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(binary())
        .env("TAPESTRY_SOCKET", host.socket());
    // The agent read it, and says what is wrong with it.
    let refused = host.netns.run(&mut shell).refused(1);
    assert!(refused.contains("token"), "{refused}");
    let nothing = host.tapestry(&["cluster", "join", "-", "192.0.2.200"]);
    assert!(nothing.refused(2).contains("holds no token"));
}

/// The agent makes all else for its own user alone.
#[test]
fn a_directory_made_for_the_socket_is_open_to_its_group() {
    let host = Host::without_agent();
    let socket = host.dir().join("run/tapestry/agent.sock");
    let mut agent = Command::new(binary());
    agent
        .arg("agent")
        .arg("--socket")
        .arg(&socket)
        .arg("--state-dir")
        .arg(host.dir().join("b"));
    let mut agent = start(&host, &mut agent);
    eventually(Duration::from_secs(10), "it listens", || {
        socket.exists().then_some(())
    });
    for dir in socket.ancestors().skip(1).take(2) {
        let mode = fs::metadata(dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{}", dir.display());
    }
    let found = host
        .netns
        .run(Command::new(binary()).args(["doctor", "--socket", "/no/such"]));
    let proper = child_of(Pid::from_child(&agent)).unwrap();
    let holder = format!(
        "process {} at {}",
        proper.as_raw_nonzero(),
        socket.display()
    );
    assert!(found.stdout.contains(&holder), "{found:?}");
    kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
    agent.wait().unwrap();
}

/// Waits for a line of the agent's log with `text` in it.
fn logged(host: &Host, text: &str) {
    eventually(Duration::from_secs(5), text, || {
        host.log().contains(text).then_some(())
    });
}

/// An agent with a socket and a state directory of its own.
fn another_agent(host: &Host, name: &str) -> Command {
    let mut agent = Command::new(binary());
    agent
        .arg("agent")
        .arg("--socket")
        .arg(host.dir().join(format!("{name}.sock")))
        .arg("--state-dir")
        .arg(host.dir().join(name));
    agent
}

fn start(host: &Host, agent: &mut Command) -> Child {
    let log = File::create(host.dir().join("another.log")).unwrap();
    agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    host.netns.enter(|| agent.spawn()).unwrap()
}

/// The last line of an agent that did not start.
#[track_caller]
fn refusal(output: &Output) -> String {
    assert_eq!(output.status, 1, "{output:?}");
    output.stderr.lines().last().unwrap_or_default().to_owned()
}
