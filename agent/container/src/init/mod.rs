//! Process 1 of a container (or an executed process) until it becomes the command.
//!
//! # Theory of operation
//!
//! Started by the shim in the PID namespace it is for, with [`Control`] as standard input. It enters or makes the other
//! namespaces, arranges what the command sees ([`mounts`]), opens the terminal *inside* (so that `tty` finds it), says
//! that it is prepared, waits for the word to start, and executes the command in its own place. It dies with the shim:
//! by the closed socket before the start, by the parent death signal after.
//!
//! The death signal is set last, because the kernel forgets it whenever credentials change.

mod command;
mod masks;
mod mounting;
mod mounts;
mod private_root;
mod user_namespaces;

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use rustix::fs::Mode;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::control::{ContainerTask, Control, ExecTask, Reply, Task};
use crate::spec::ProcessSpec;

/// The program of `tapestry init`: the shim starts it, and nobody else has a use for it.
pub fn run_init() -> ExitCode {
    let Ok(control) = Control::from_stdin() else {
        return ExitCode::FAILURE;
    };
    let refusal = match run(&control) {
        Ok(never_executed) => return never_executed,
        Err(refusal) => refusal,
    };
    let reply = Reply::Failed {
        code: refusal.code,
        text: refusal.text,
    };
    let _ = control.send_reply(&reply, &[]);
    ExitCode::from(refusal.code)
}

/// Why there will be no command: the exit code and one line.
#[derive(Debug)]
struct Refusal {
    code: u8,
    text: String,
}

impl Refusal {
    /// Setting up failed, as docker run tells it.
    fn setup(what: impl Display, error: impl Display) -> Self {
        Self {
            code: 125,
            text: format!("cannot {what}: {error}"),
        }
    }
}

/// Standard input, output and error, in this order.
type Stdio = [OwnedFd; 3];

fn run(control: &Control) -> Result<ExitCode, Refusal> {
    let (task, fds) = control
        .receive_task()
        .map_err(|error| Refusal::setup("receive the task", error))?;
    let mut fds = fds.into_iter();
    // What is made for the container is for everybody in it.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    match task {
        Task::HoldUsers => hold_users(control),
        Task::Container(task) => {
            let stdio = take_stdio(&task.process, &mut fds)?;
            enter_new(&task)?;
            mounts::arrange(&task, &mut fds)?;
            become_command(control, &task.process, stdio)
        }
        Task::Exec(task) => {
            let stdio = take_stdio(&task.process, &mut fds)?;
            stay_opaque()?;
            join(&task, &take(&mut fds)?)?;
            stay_opaque()?;
            become_command(control, &task.process, stdio)
        }
    }
}

fn hold_users(control: &Control) -> Result<ExitCode, Refusal> {
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|error| Refusal::setup("make a user namespace", error))?;
    prepared(control, &[])?;
    let _ = control.receive_start();
    Ok(ExitCode::SUCCESS)
}

fn enter_new(task: &ContainerTask) -> Result<(), Refusal> {
    let mut namespaces =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    if task.new_network {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    forget_groups();
    unshare(namespaces).map_err(|error| Refusal::setup("make namespaces", error))?;
    if task.new_network {
        set_loopback_up().map_err(|error| Refusal::setup("set lo up", error))?;
    }
    nix::unistd::sethostname(&task.hostname)
        .map_err(|error| Refusal::setup("set the hostname", error))
}

fn join(task: &ExecTask, container_init: &OwnedFd) -> Result<(), Refusal> {
    let namespaces = CloneFlags::from_bits_truncate(task.namespaces);
    setns(container_init, namespaces)
        .map_err(|error| Refusal::setup("join the container's namespaces", error))?;
    if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
        let root = (Uid::from_raw(0), Gid::from_raw(0));
        nix::unistd::setresgid(root.1, root.1, root.1)
            .and_then(|()| nix::unistd::setresuid(root.0, root.0, root.0))
            .map_err(|error| Refusal::setup("become the container's root", error))?;
    }
    forget_groups();
    Ok(())
}

/// Those inside see this process at once, and it still is this program with all rights: they could write to the file
/// behind its `/proc/PID/exe`, the agent's own. Nobody without SYS_PTRACE on the host looks into it until it executes the
/// command. A change of user undoes this.
fn stay_opaque() -> Result<(), Refusal> {
    nix::sys::prctl::set_dumpable(false)
        .map_err(|error| Refusal::setup("keep others out of this process", error))
}

/// Groups of the agent's caller are not the command's. Where groups are fixed (a user namespace made without
/// privilege) they stay.
fn forget_groups() {
    let _ = nix::unistd::setgroups(&[]);
}

fn become_command(
    control: &Control,
    process: &ProcessSpec,
    stdio: Option<Stdio>,
) -> Result<ExitCode, Refusal> {
    let terminal = process
        .tty
        .then(open_terminal)
        .transpose()
        .map_err(|error| Refusal::setup("open a terminal", error))?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| Refusal::setup("set the parent death signal", error))?;
    let stdio = match (stdio, terminal) {
        (Some(stdio), _) => {
            prepared(control, &[])?;
            stdio
        }
        (None, Some((shim_end, command_end))) => {
            prepared(control, &[shim_end.as_fd(), command_end.as_fd()])?;
            let again = || {
                command_end
                    .try_clone()
                    .map_err(|error| Refusal::setup("share the terminal", error))
            };
            [again()?, again()?, again()?]
        }
        (None, None) => return Err(Refusal::setup("find the streams", "none were given")),
    };
    match control.receive_start() {
        Ok(true) => {
            confine(process)?;
            Err(command::execute(process, stdio))
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

/// The last step, and the filter first: it takes a capability to load it.
fn confine(process: &ProcessSpec) -> Result<(), Refusal> {
    if !process.capabilities.hold_sys_admin() {
        user_namespaces::forbid()
            .map_err(|error| Refusal::setup("forbid user namespaces", error))?;
    }
    let kept = process.capabilities.keep_only();
    kept.map_err(|error| Refusal::setup("give up capabilities", error))
}

fn prepared(control: &Control, fds: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), Refusal> {
    control
        .send_reply(&Reply::Prepared, fds)
        .map_err(|error| Refusal::setup("report to the shim", error))
}

/// The shim's end and the command's end of a new terminal.
fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let shim_end = openpt(flags)?;
    unlockpt(&shim_end)?;
    let command_end = ioctl_tiocgptpeer(&shim_end, flags)?;
    Ok((shim_end, command_end))
}

/// `lo` is interface 1 of every network namespace.
fn set_loopback_up() -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = 1;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.send(&bytes, 0)?;
    let (reply, _) = socket.recv_from_full()?;
    let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match reply.payload {
        NetlinkPayload::Error(answer) if answer.code.is_some() => Err(answer.to_io()),
        _ => Ok(()),
    }
}

fn take_stdio(
    process: &ProcessSpec,
    fds: &mut impl Iterator<Item = OwnedFd>,
) -> Result<Option<Stdio>, Refusal> {
    if process.tty {
        return Ok(None);
    }
    Ok(Some([take(fds)?, take(fds)?, take(fds)?]))
}

fn take(fds: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd, Refusal> {
    fds.next()
        .ok_or_else(|| Refusal::setup("receive the task", "a descriptor is missing"))
}
