//! Calls the plugin as netavark 2.1.0 does (`src/network/plugin.rs`, `exec_plugin_common`): by its path, the command and the
//! namespace as arguments, everything else as JSON on a pipe that is closed then, standard error inherited, the whole of standard
//! output read before the status.
//!
//! Netavark itself takes minutes to build. Where `NETAVARK` names the binary (`cargo install --locked netavark`), the same tests
//! go through it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Host, binary};

pub(super) struct Caller<'h> {
    host: &'h Host,
    /// As podman's `netavark_plugin_dirs`.
    plugins: PathBuf,
    netavark: Option<PathBuf>,
}

/// One container on one network.
#[derive(Clone)]
pub(super) struct Attachment {
    network: Value,
    container: String,
    options: Value,
    ports: Value,
}

type Answer = Result<Value, String>;

impl<'h> Caller<'h> {
    pub(super) fn new(host: &'h Host) -> Self {
        let plugins = host.dir().join("netavark");
        fs::create_dir(&plugins).unwrap();
        symlink(binary(), plugins.join(DRIVER)).unwrap();
        let netavark = std::env::var_os("NETAVARK").map(PathBuf::from);
        Self {
            host,
            plugins,
            netavark,
        }
    }

    /// Without netavark between, for calls that it does not make.
    pub(super) fn direct(host: &'h Host) -> Self {
        Self {
            netavark: None,
            ..Self::new(host)
        }
    }

    /// `podman network create -d tapestry`: what podman keeps of the network.
    pub(super) fn create(&self, network: &Value) -> Answer {
        if self.netavark.is_none() {
            return self.call(&["create"], network);
        }
        let input = json!({"network": network, "used": {"interfaces": [], "names": {}, "subnets": []},
            "options": {"subnet_pools": [], "default_interface_name": "nv", "check_used_subnets": false}});
        self.call(&["create"], &input)
    }

    /// What the plugin says of itself, which it is asked by people alone.
    pub(super) fn info(&self) -> Value {
        let mut command = Command::new(self.plugins.join(DRIVER));
        parsed(&self.host.netns.run(command.arg("info")).ok())
    }

    /// The status block of the container's network.
    pub(super) fn setup(&self, netns: &Path, attachment: &Attachment) -> Answer {
        let answer = self.attach("setup", netns, attachment)?;
        let name = attachment.network["name"].as_str().unwrap();
        Ok(match self.netavark {
            Some(_) => answer[name].clone(),
            None => answer,
        })
    }

    pub(super) fn teardown(&self, netns: &Path, attachment: &Attachment) -> Answer {
        self.attach("teardown", netns, attachment)
    }

    fn attach(&self, command: &str, netns: &Path, attachment: &Attachment) -> Answer {
        let Attachment {
            network,
            container,
            options,
            ports,
        } = attachment;
        let name = network["name"].as_str().unwrap();
        let input = match self.netavark {
            Some(_) => json!({"networks": {name: options}, "network_info": {name: network}}),
            None => json!({"network": network, "network_options": options}),
        };
        let mut input = input;
        input["container_id"] = json!(id(container));
        input["container_name"] = json!(container);
        input["port_mappings"] = ports.clone();
        self.call(&[command, netns.to_str().unwrap()], &input)
    }

    /// What is printed, or the message of the failure.
    pub(super) fn call(&self, arguments: &[&str], input: &Value) -> Answer {
        let mut command = match &self.netavark {
            Some(netavark) => {
                let mut command = Command::new(netavark);
                command.arg("--plugin-directory").arg(&self.plugins);
                command.arg("--config").arg(self.host.dir().join("run"));
                command
            }
            None => Command::new(self.plugins.join(DRIVER)),
        };
        command
            .args(arguments)
            .env("TAPESTRY_SOCKET", self.host.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = self.host.netns.enter(|| command.spawn()).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        match stdin.write_all(input.to_string().as_bytes()) {
            // What is refused by its arguments is not read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        if output.status.success() {
            let nothing = printed.trim().is_empty();
            return Ok(if nothing {
                Value::Null
            } else {
                parsed(&printed)
            });
        }
        assert_eq!(output.status.code(), Some(1), "{printed}");
        let failure = parsed(&printed);
        Err(failure["error"].as_str().unwrap().to_owned())
    }
}

impl Attachment {
    pub(super) fn new(network: &Value, container: &str) -> Self {
        Self {
            network: network.clone(),
            container: container.to_owned(),
            options: json!({"interface_name": "eth0", "aliases": [&id(container)[..12]]}),
            ports: json!([]),
        }
    }

    /// With one of the options of this container on this network.
    pub(super) fn option(mut self, name: &str, value: Value) -> Self {
        self.options[name] = value;
        self
    }

    pub(super) fn ports(self, ports: Value) -> Self {
        Self { ports, ..self }
    }
}

/// A network as podman hands it to `create`.
pub(super) fn network(name: &str, more: Value) -> Value {
    let mut network = json!({"name": name, "id": id(name), "driver": DRIVER, "dns_enabled": true, "internal": false,
        "ipv6_enabled": false, "labels": {}, "options": {}, "ipam_options": {}});
    let Value::Object(more) = more else {
        panic!("{more} is no object");
    };
    network.as_object_mut().unwrap().extend(more);
    network
}

/// An id as podman's, of 64 hexadecimal digits, that goes with the name.
pub(super) fn id(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0<64}")
}

fn parsed(printed: &str) -> Value {
    serde_json::from_str(printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

const DRIVER: &str = "tapestry";
