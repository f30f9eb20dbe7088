//! What labs do on a network: servers, routers and multicast of their own.

mod routers;
mod servers;
mod storms;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Endpoint, Host};

/// A network `lab` of `10.63.0.0/24` and `fd63::/64`; containers get addresses from the lower half.
fn with_network(options: &[&str]) -> Host {
    let host = Host::start();
    let head = ["network", "create", "--subnet", "10.63.0.0/24"];
    let tail = ["--ip-range", "10.63.0.0/25", "--subnet", "fd63::/64", "lab"];
    host.tapestry(&[&head[..], options, &tail].concat()).ok();
    host
}

/// A program that runs in a sandbox until dropped.
struct Running(Child);

impl Running {
    fn start(endpoint: &Endpoint<'_>, command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(endpoint.netns.enter(|| command.spawn()).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

const STEP: Duration = Duration::from_secs(10);
