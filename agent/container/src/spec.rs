//! What a shim is asked to run.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::process::ProcessId;

/// A container, as the agent describes it to the shim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    pub id: String,
    pub hostname: String,
    /// Program and arguments; the program is looked up in the `PATH` of the container's environment.
    pub command: Vec<String>,
    /// `KEY=VALUE`, over the defaults of [`ContainerSpec::environment`].
    pub env: Vec<String>,
    /// Where the command starts; `/` where absent.
    pub workdir: Option<PathBuf>,
    /// The container's root directory, an absolute path; the host's files where absent.
    pub rootfs: Option<PathBuf>,
    /// The host's files, and what the container writes to them in memory of its own.
    pub private_root: bool,
    /// Directories whose content is copied to the container's `/`, one after the other, absolute paths.
    pub copies: Vec<PathBuf>,
    pub binds: Vec<Bind>,
    pub tty: bool,
    pub interactive: bool,
    pub network: SandboxNetwork,
    /// Root inside is an unprivileged user outside: the range `/etc/subuid` gives the user `tapestry`, or 231072 and up.
    pub private_users: bool,
    /// What the command may do, and those executed in the container later.
    pub capabilities: Capabilities,
    /// Show and leave writable all of `/proc` and `/sys`, and `hidden` too.
    pub privileged: bool,
    /// Directories of the host that the container sees empty, absolute paths.
    pub hidden: Vec<PathBuf>,
    pub etc: EtcFiles,
}

/// A file or a directory of the host that the container sees besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// An absolute path of the host.
    pub from: PathBuf,
    /// An absolute path as the container has it; made there where it is missing, in a root of the container's own.
    pub to: PathBuf,
    pub read_only: bool,
}

/// Which network namespace a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxNetwork {
    /// A new one, with `lo` up.
    #[default]
    Private,
    /// The agent's.
    Host,
    /// The one of this process (of a container's init).
    Join(ProcessId),
    /// The one this file stands for (`/run/netns/...`).
    Path(PathBuf),
}

/// Contents of generated files, shown over those of the container's `/etc` where given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EtcFiles {
    pub resolv_conf: Option<String>,
    pub hosts: Option<String>,
    pub hostname: Option<String>,
}

/// Another command in a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    pub command: Vec<String>,
    /// `KEY=VALUE`, over the container's environment.
    pub env: Vec<String>,
    /// The container's own where absent.
    pub workdir: Option<PathBuf>,
    pub tty: bool,
    pub interactive: bool,
}

/// Contents of `spec.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShimSpec {
    Container(Box<ContainerSpec>),
    Exec(ExecSpec),
}

/// An [`ExecRequest`] and the container it goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExecSpec {
    pub(crate) container_init: ProcessId,
    pub(crate) process: ProcessSpec,
}

/// The part that containers and execs share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    pub(crate) command: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<String>,
    pub(crate) workdir: PathBuf,
    pub(crate) tty: bool,
    pub(crate) interactive: bool,
    pub(crate) capabilities: Capabilities,
}

impl ContainerSpec {
    /// The whole environment of the command: `PATH`, `HOSTNAME`, `HOME` and on a terminal `TERM`, then `env` over them.
    pub fn environment(&self) -> Vec<String> {
        let mut env = vec![
            format!("PATH={DEFAULT_PATH}"),
            format!("HOSTNAME={}", self.hostname),
            "HOME=/root".to_owned(),
        ];
        if self.tty {
            env.push("TERM=xterm".to_owned());
        }
        overlay(env, &self.env)
    }

    pub(crate) fn process(&self) -> ProcessSpec {
        ProcessSpec {
            command: self.command.clone(),
            env: self.environment(),
            workdir: self.workdir.clone().unwrap_or_else(|| PathBuf::from("/")),
            tty: self.tty,
            interactive: self.interactive,
            capabilities: self.capabilities,
        }
    }

    pub(crate) fn exec(&self, request: &ExecRequest) -> ProcessSpec {
        let mut env = self.environment();
        if request.tty {
            env = overlay(vec!["TERM=xterm".to_owned()], &env);
        }
        ProcessSpec {
            command: request.command.clone(),
            env: overlay(env, &request.env),
            workdir: request
                .workdir
                .clone()
                .or_else(|| self.workdir.clone())
                .unwrap_or_else(|| PathBuf::from("/")),
            tty: request.tty,
            interactive: request.interactive,
            capabilities: self.capabilities,
        }
    }
}

impl ShimSpec {
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let text = fs::read(dir.join(SPEC_FILE))?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        write_atomically(dir, SPEC_FILE, &serde_json::to_vec(self)?, 0o600)
    }

    pub(crate) fn process(&self) -> ProcessSpec {
        match self {
            Self::Container(spec) => spec.process(),
            Self::Exec(spec) => spec.process.clone(),
        }
    }
}

/// Writes a file so that a reader sees all of it or nothing, whenever the writer dies; what is of processes is void when the host does.
pub(crate) fn write_atomically(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(dir, name, (bytes, mode), |_| Ok(()))
}

/// The same, also whenever the host dies.
pub(crate) fn write_durably(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(dir, name, (bytes, mode), fs::File::sync_all)
}

fn write(
    dir: &Path,
    name: &str,
    (bytes, mode): (&[u8], u32),
    sync: impl FnOnce(&fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let unfinished = dir.join(format!(".{name}.new"));
    let _ = fs::remove_file(&unfinished);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)?;
    io::Write::write_all(&mut file, bytes)?;
    sync(&file)?;
    fs::rename(&unfinished, dir.join(name))
}

/// `base` with the variables of `over` replaced or added; an entry without `=` removes its variable.
fn overlay(base: Vec<String>, over: &[String]) -> Vec<String> {
    let mut env = base;
    for entry in over {
        let key = entry.split('=').next().unwrap_or(entry);
        env.retain(|known| known.split('=').next() != Some(key));
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
    env
}

const SPEC_FILE: &str = "spec.json";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_of_the_caller_wins_over_the_defaults() {
        let spec = ContainerSpec {
            hostname: "box".into(),
            env: vec!["PATH=/x".into(), "A=b=c".into(), "HOME".into()],
            ..ContainerSpec::default()
        };
        assert_eq!(spec.environment(), ["HOSTNAME=box", "PATH=/x", "A=b=c"]);
    }

    #[test]
    fn an_exec_inherits_environment_and_workdir() {
        let spec = ContainerSpec {
            env: vec!["A=1".into(), "B=1".into()],
            workdir: Some("/srv".into()),
            ..ContainerSpec::default()
        };
        let process = spec.exec(&ExecRequest {
            env: vec!["B=2".into()],
            ..ExecRequest::default()
        });
        assert!(process.env.contains(&"A=1".to_owned()));
        assert!(process.env.contains(&"B=2".to_owned()));
        assert_eq!(process.workdir, Path::new("/srv"));
    }

    #[test]
    fn an_exec_may_do_what_the_container_may() {
        let spec = ContainerSpec {
            capabilities: Capabilities::chosen(&[], &["ALL".to_owned()]).unwrap(),
            ..ContainerSpec::default()
        };
        let process = spec.exec(&ExecRequest::default());
        assert_eq!(process.capabilities, spec.capabilities);
        assert_ne!(process.capabilities, Capabilities::default());
    }

    #[test]
    fn a_spec_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let spec = ShimSpec::Container(Box::new(ContainerSpec {
            id: "1".into(),
            network: SandboxNetwork::Path("/run/netns/x".into()),
            ..ContainerSpec::default()
        }));
        spec.write(dir.path()).unwrap();
        assert_eq!(ShimSpec::read(dir.path()).unwrap(), spec);
    }
}
