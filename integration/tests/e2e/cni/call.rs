//! One call of the plugin, as a runtime makes it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Host, Mounts, Netns, Output, binary};

/// One call of the plugin.
pub(crate) struct Call<'n> {
    pub(super) container: &'n str,
    pub(super) netns: String,
    pub(super) ifname: String,
    pub(super) args: &'n str,
    pub(super) config: Value,
}

impl<'n> Call<'n> {
    pub(crate) fn add(netns: &Netns, container: &'n str) -> Self {
        Self {
            container,
            netns: netns.path().to_str().unwrap().to_owned(),
            ifname: "eth0".to_owned(),
            args: "",
            config: json!({"cniVersion": "1.1.0", "name": "red", "type": "tapestry"}),
        }
    }

    pub(super) fn args(self, args: &'n str) -> Self {
        Self { args, ..self }
    }

    pub(super) fn with(mut self, member: &str, value: Value) -> Self {
        self.config[member] = value;
        self
    }

    pub(crate) fn make(&self, host: &Host, command: &str) -> Output {
        let config = host.dir().join("cni.json");
        fs::write(&config, self.config.to_string()).unwrap();
        // A runtime gives no arguments, and the configuration on standard input.
        let mut call = Command::new("sh");
        call.args(["-c", r#"exec "$0" <"$1""#])
            .arg(binary())
            .arg(config)
            .env("TAPESTRY_SOCKET", host.socket())
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", self.container)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", &self.ifname)
            .env("CNI_ARGS", self.args)
            .env("CNI_PATH", format!("{}:/usr/lib/cni", host.dir().display()));
        host.netns.run(&mut call)
    }
}

pub(super) fn with_network() -> Host {
    let host = Host::start();
    make_network(&host);
    host
}

/// The same, with an agent that sees what an engine mounts.
pub(super) fn with_network_in(host: &Host, mounts: &Mounts) {
    host.launch_in(mounts);
    make_network(host);
}

fn make_network(host: &Host) {
    host.tapestry(&["network", "create", "--subnet", "10.63.0.0/24", "red"])
        .ok();
}

#[track_caller]
pub(super) fn answer(output: &Output) -> Value {
    assert_eq!(output.status, 0, "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// What a call printed that had to fail: always a document on standard output.
#[track_caller]
pub(super) fn failure(output: &Output) -> Value {
    assert_eq!(output.status, 1, "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}
