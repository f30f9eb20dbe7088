//! The shim of one command: a small single-threaded process that outlives the agent.
//!
//! # Theory of operation
//!
//! In order: cut what ties it to its parent (session, limits, inherited descriptors, ignored signals), bind `attach.sock`, make
//! the namespaces and the init ([`sandbox`]), say so (`ready.json`, and one line of JSON on standard output), then serve
//! ([`serve`]) until the command has ended and everybody knows. What fails before that is told in the same line. An agent
//! that dies before it has heard that line takes the shim along.

mod clients;
mod failure;
mod init;
mod requests;
mod sandbox;
mod serve;
mod stdin;
mod streams;
mod users;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::set_parent_process_death_signal;
use tokio::signal::unix::SignalKind;

use crate::attach;
use crate::given::Given;
use crate::log::LogWriter;
use crate::process::ProcessId;
use crate::running::{Greeting, Processes, READY_FILE};
use crate::spec::{ShimSpec, write_atomically};
use failure::{MakeContainer, because};
use serve::Server;

/// The program of `tapestry shim DIR`: runs what `DIR/spec.json` asks for, and returns when it has ended. Has to be
/// called before the process has a second thread, from which the kernel would refuse the namespaces.
pub fn run_shim(dir: &Path) -> ExitCode {
    // Until it has said what it is, it is nothing without its parent.
    let _ = set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // A parent that died before that has told nobody, and the next agent takes away what there is of the container.
    if is_alone() {
        return ExitCode::FAILURE;
    }
    cut_ties();
    match prepare(dir) {
        // Nobody would ever find out about it; its init ends with it.
        Ok((_, ready)) if !greet(&Greeting::Ready(ready)) => ExitCode::FAILURE,
        Ok((server, _)) => {
            server.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            greet(&Greeting::Failed(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn prepare(dir: &Path) -> Result<(Server, Processes), MakeContainer> {
    let dir = fs::canonicalize(dir).map_err(because("find the directory"))?;
    std::env::set_current_dir("/").map_err(because("leave the directory"))?;
    let spec = ShimSpec::read(&dir).map_err(because("read spec.json"))?;
    let listener = listen(&dir).map_err(because("listen at attach.sock"))?;
    let log = match &spec {
        ShimSpec::Container(_) => {
            Some(LogWriter::open(&dir.join("log")).map_err(because("open the log"))?)
        }
        ShimSpec::Exec(_) => None,
    };
    let sandbox = sandbox::make(&dir, &spec)?;
    let ready = Processes {
        shim: own_process().map_err(because("find itself in /proc"))?,
        init: sandbox.init,
    };
    let text = serde_json::to_vec(&ready).map_err(because("write ready.json"))?;
    write_atomically(&dir, READY_FILE, &text, 0o640).map_err(because("write ready.json"))?;
    Ok((Server::new(dir, &spec, listener, log, sandbox), ready))
}

/// Who may enter the directory by its group may attach.
fn listen(dir: &Path) -> io::Result<UnixListener> {
    let path = dir.join(attach::SOCKET_FILE);
    let _ = fs::remove_file(&path);
    let listener = attach::bind(&path)?;
    let group = fs::metadata(dir)?.gid();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
    // Not being allowed to give it away is no reason to fail: the owner can still attach.
    let _ = rustix::fs::chown(&path, None, Some(rustix::fs::Gid::from_raw(group)));
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn cut_ties() {
    Given::take_back();
    close_inherited();
    unignore_signals();
    let mut withheld = SigSet::empty();
    for signal in TERMINAL_SIGNALS {
        withheld.add(signal);
    }
    let _ = withheld.thread_block();
    // Fails where a shell made it a group of its own, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

/// What is neither a standard stream nor closed on exec came by a mistake of somebody above, and would be held open for
/// the command's lifetime.
fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let fds: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in fds {
        let _ = nix::unistd::close(fd);
    }
}

/// Ignored signals stay ignored over exec, and a shell ignores some in what it starts in the background. A handled
/// signal does not: exec gives it its default action.
fn unignore_signals() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    // Rust ignores SIGPIPE itself, and restores it on exec; 32 and 33 are the C library's own.
    let signos: Vec<i32> = (1..=64)
        .filter(|signo| ignored & (1 << (signo - 1)) != 0)
        .filter(|signo| !matches!(*signo, libc::SIGPIPE | 32 | 33))
        .collect();
    if signos.is_empty() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
    else {
        return;
    };
    let _context = runtime.enter();
    for signo in signos {
        let _ = tokio::signal::unix::signal(SignalKind::from_raw(signo));
    }
}

/// Whether nobody is at the other end of standard output, where the parent listens.
fn is_alone() -> bool {
    let stdout = io::stdout();
    let mut listened = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec::default();
    let polled = poll(&mut listened, Some(&at_once));
    polled.is_ok() && listened[0].revents().contains(PollFlags::ERR)
}

/// Tells the parent, if there still is one, and lets go of its pipe, which tells it that this is all.
fn greet(greeting: &Greeting) -> bool {
    let text = serde_json::to_vec(greeting);
    let heard = text.is_ok_and(|text| rustix::io::write(io::stdout(), &text).is_ok());
    let _ = set_parent_process_death_signal(None);
    if let Ok(null) = open_null() {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    heard
}

fn open_null() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn own_process() -> io::Result<ProcessId> {
    ProcessId::of(rustix::process::getpid().as_raw_nonzero().get())
}

const TERMINAL_SIGNALS: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];
