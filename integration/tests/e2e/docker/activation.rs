//! The plugin's socket in a service manager's hands, as `tapestry.socket` has it: `systemd-socket-activate` plays its part.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::engine::Docker;
use crate::harness::{eventually, request};

/// Listens for the agent, and becomes it at the first call.
struct Held {
    process: Child,
}

impl Held {
    fn new(docker: &Docker) -> Self {
        let socket = "/run/docker/plugins/tapestry.sock";
        let log = File::options()
            .create(true)
            .append(true)
            .open(docker.dir().join("activation.log"))
            .unwrap();
        let program = Path::new("systemd-socket-activate");
        let mut command: Command = docker.host.in_mounts(program);
        let agent = docker.host.agent_command();
        command
            .arg(format!("--listen={socket}"))
            .arg("--fdname=docker")
            .arg(agent.get_program())
            .args(agent.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = docker.host.netns.enter(|| command.spawn()).unwrap();
        let held = docker.dir().join("run/plugins/tapestry.sock");
        eventually(Duration::from_secs(10), "the socket is there", || {
            held.exists().then_some(())
        });
        Self { process }
    }

    /// The agent ends; the file stays, as a service manager's would.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn runs(docker: &Docker) -> bool {
    request(&docker.host.socket(), "GET", "/v1/version", None).is_ok()
}

/// Without the unit, dockerd waits for a minute at its start, and leaves these containers stopped for good.
#[test]
fn an_engine_that_boots_before_the_agent_starts_it_and_all_containers() {
    let docker = Docker::start_alone();
    let held = Held::new(&docker);
    assert!(!runs(&docker));
    docker.network("web", &[]);
    assert!(runs(&docker), "the call has started the agent");
    docker.idle("one", "web", &["--restart", "always"]);
    docker.idle("two", "web", &["--restart", "always"]);
    assert!(docker.pings("one", "two"));

    // The machine goes down, and comes up with the socket first.
    docker.stop(Signal::KILL);
    held.stop();
    let held = Held::new(&docker);
    assert!(!runs(&docker));
    docker.comes_back();
    docker.docker(&["rm", "-f", "one", "two"]).ok();
    docker.docker(&["network", "rm", "web"]).ok();
    held.stop();
}
