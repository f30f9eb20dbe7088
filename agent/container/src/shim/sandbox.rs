//! Making the namespaces and the init in them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::failure::{MakeContainer, because};
use super::init::spawn_init;
use super::streams::{Streams, make_streams};
use super::users::UserRange;
use crate::control::{ContainerTask, Control, ExecTask, Reply, Task};
use crate::process::ProcessId;
use crate::spec::{ContainerSpec, EtcFiles, ExecSpec, ProcessSpec, SandboxNetwork, ShimSpec};

/// A prepared init, and the shim's ends of its streams.
pub(super) struct Sandbox {
    pub(super) init: ProcessId,
    pub(super) child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) control: Control,
    pub(super) streams: Streams,
}

pub(super) fn make(dir: &Path, spec: &ShimSpec) -> Result<Sandbox, MakeContainer> {
    match spec {
        ShimSpec::Container(spec) => make_container(dir, spec),
        ShimSpec::Exec(spec) => make_exec(spec),
    }
}

fn make_container(dir: &Path, spec: &ContainerSpec) -> Result<Sandbox, MakeContainer> {
    let users = spec.private_users.then(UserRange::of_host);
    let process = spec.process();
    let (streams, mut fds) = make_streams(&process, users)?;
    let task = gather(dir, spec, process, &mut fds)?;
    enter_network(&spec.network)?;
    if let Some(users) = users {
        users.enter()?;
    }
    unshare(CloneFlags::CLONE_NEWPID).map_err(because("make a PID namespace"))?;
    start_init(users.is_some(), &Task::Container(task), &fds, streams)
}

fn make_exec(spec: &ExecSpec) -> Result<Sandbox, MakeContainer> {
    let container_init = spec
        .container_init
        .open()
        .map_err(because("find the container's init"))?;
    let namespaces = differing_namespaces(spec.container_init.pid)
        .map_err(because("read the container's namespaces"))?;
    let owner = if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
        root_of(spec.container_init.pid)
    } else {
        None
    };
    let (streams, mut fds) = make_streams(&spec.process, owner)?;
    setns(&container_init, CloneFlags::CLONE_NEWPID)
        .map_err(because("join the container's PID namespace"))?;
    fds.push(container_init);
    let task = Task::Exec(ExecTask {
        process: spec.process.clone(),
        namespaces: namespaces.bits(),
    });
    start_init(false, &task, &fds, streams)
}

fn start_init(
    own_users: bool,
    task: &Task,
    fds: &[OwnedFd],
    streams: Option<Streams>,
) -> Result<Sandbox, MakeContainer> {
    let (mut child, control) = spawn_init(own_users)?;
    match prepare_init(&child, &control, task, fds, streams) {
        Ok((init, pidfd, streams)) => Ok(Sandbox {
            init,
            child,
            pidfd,
            control,
            streams,
        }),
        Err(why) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(why)
        }
    }
}

fn prepare_init(
    child: &Child,
    control: &Control,
    task: &Task,
    fds: &[OwnedFd],
    streams: Option<Streams>,
) -> Result<(ProcessId, OwnedFd, Streams), MakeContainer> {
    let pid = i32::try_from(child.id()).map_err(because("read the init's PID"))?;
    let init = ProcessId::of(pid).map_err(because("find the init in /proc"))?;
    let pidfd = init.open().map_err(because("watch the init"))?;
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    control
        .send_task(task, &fds)
        .map_err(because("reach the init"))?;
    let terminal = match control.receive_reply() {
        Ok(Some((Reply::Prepared, fds))) => fds,
        Ok(Some((Reply::Failed { text, .. }, _))) => return Err(MakeContainer::Init(text)),
        _ => return Err(MakeContainer::InitDied),
    };
    let mut terminal = terminal.into_iter();
    let streams = match (streams, terminal.next(), terminal.next()) {
        (Some(pipes), _, _) => pipes,
        (None, Some(ours), Some(theirs)) => Streams::Terminal { ours, theirs },
        _ => return Err(MakeContainer::NoTerminal),
    };
    Ok((init, pidfd, streams))
}

/// Takes, while the host's privileges last, the mounts init is going to need.
fn gather(
    dir: &Path,
    spec: &ContainerSpec,
    process: ProcessSpec,
    fds: &mut Vec<OwnedFd>,
) -> Result<ContainerTask, MakeContainer> {
    let mut devices = Vec::new();
    let own_root = spec.rootfs.is_some() || spec.private_root;
    if let Some(root) = &spec.rootfs {
        let what = format!("use {} as root directory", root.display());
        fds.push(take_mount(root, OpenTreeFlags::AT_RECURSIVE).map_err(because(&what))?);
    }
    if own_root {
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            fds.push(
                take_mount(&path, OpenTreeFlags::empty())
                    .map_err(because(&format!("use {}", path.display())))?,
            );
            devices.push(name.to_owned());
        }
    }
    let mut etc = Vec::new();
    for (name, text) in generated(&spec.etc) {
        let path = dir.join(name);
        let mount = fs::write(&path, text)
            .and_then(|()| take_mount(&path, OpenTreeFlags::empty()))
            .map_err(because(&format!("write {}", path.display())))?;
        fds.push(mount);
        etc.push(name.to_owned());
    }
    for bind in &spec.binds {
        let what = format!("use {}", bind.from.display());
        fds.push(take_mount(&bind.from, OpenTreeFlags::AT_RECURSIVE).map_err(because(&what))?);
    }
    Ok(ContainerTask {
        private_root: spec.private_root,
        copies: spec.copies.clone(),
        binds: spec.binds.clone(),
        privileged: spec.privileged,
        hidden: hidden_inside(spec)?,
        process,
        hostname: spec.hostname.clone(),
        new_network: spec.network == SandboxNetwork::Private,
        new_sys: spec.network != SandboxNetwork::Host,
        own_root,
        devices,
        etc,
    })
}

/// What is to be hidden, as the container names it: with a root directory of its own only what lies in there.
fn hidden_inside(spec: &ContainerSpec) -> Result<Vec<PathBuf>, MakeContainer> {
    let resolved = |path: &PathBuf| fs::canonicalize(path);
    let mut inside = Vec::new();
    let root = spec.rootfs.as_ref().map(resolved).transpose();
    let root = root.map_err(because("resolve the root directory"))?;
    for path in spec.hidden.iter().filter_map(|path| resolved(path).ok()) {
        let Some(root) = &root else {
            inside.push(path);
            continue;
        };
        match path.strip_prefix(root) {
            Ok(rest) if rest.as_os_str().is_empty() && !spec.privileged => {
                return Err(MakeContainer::AgentsOwn(root.clone()));
            }
            Ok(rest) => inside.push(Path::new("/").join(rest)),
            Err(_) => {}
        }
    }
    for bind in &spec.binds {
        let Ok(from) = fs::canonicalize(&bind.from) else {
            continue;
        };
        for path in spec.hidden.iter().filter_map(|path| resolved(path).ok()) {
            if let Ok(rest) = path.strip_prefix(&from) {
                inside.push(bind.to.join(rest));
            }
        }
    }
    Ok(inside)
}

fn generated(etc: &EtcFiles) -> impl Iterator<Item = (&'static str, &String)> {
    [
        ("resolv.conf", &etc.resolv_conf),
        ("hosts", &etc.hosts),
        ("hostname", &etc.hostname),
    ]
    .into_iter()
    .filter_map(|(name, text)| Some((name, text.as_ref()?)))
}

fn take_mount(path: &Path, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    let flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, flags)?)
}

/// Joining takes place here, since it takes privileges over a namespace that may be the host's.
fn enter_network(network: &SandboxNetwork) -> Result<(), MakeContainer> {
    let file = match network {
        SandboxNetwork::Private | SandboxNetwork::Host => return Ok(()),
        SandboxNetwork::Path(path) => {
            File::open(path).map_err(because(&format!("open {}", path.display())))?
        }
        SandboxNetwork::Join(process) => {
            let file = File::open(format!("/proc/{}/ns/net", process.pid));
            if !process.is_alive() {
                return Err(MakeContainer::NoNetwork);
            }
            file.map_err(because("open the other container's network"))?
        }
    };
    setns(file, CloneFlags::CLONE_NEWNET).map_err(because("join the network namespace"))
}

/// Those of the process that this one is not in, as joining one's own user namespace is an error.
fn differing_namespaces(pid: i32) -> io::Result<CloneFlags> {
    let mut flags = CloneFlags::empty();
    for (name, flag) in NAMESPACES {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{name}"))?;
        let ours = fs::read_link(format!("/proc/self/ns/{name}"))?;
        if theirs != ours {
            flags |= flag;
        }
    }
    Ok(flags)
}

/// The user outside that is root in the process' user namespace.
fn root_of(pid: i32) -> Option<UserRange> {
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
    let mut fields = map.lines().next()?.split_ascii_whitespace().skip(1);
    Some(UserRange {
        first: fields.next()?.parse().ok()?,
        count: fields.next()?.parse().ok()?,
    })
}

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const NAMESPACES: [(&str, CloneFlags); 5] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("net", CloneFlags::CLONE_NEWNET),
];
