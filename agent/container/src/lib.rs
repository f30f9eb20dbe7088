//! Containers: one command in namespaces of its own, watched over by one small process, its shim.
//!
//! # Theory of operation
//!
//! Three processes take part, and none of them needs the agent to stay alive:
//!
//! - the *agent* calls [`Shims::spawn`], which writes `spec.json` in the container's directory and starts, by its [`nursery`],
//! - the *shim* ([`run_shim`]), one single-threaded process per container and per exec. It owns the command's streams,
//!   serves them at `attach.sock` ([`attach`]), keeps the `log`, and writes `exit.json` when the command ended. It starts
//! - the *init* ([`run_init`]), process 1 of the new PID namespace, which sets up mounts and names, waits for the word to
//!   start, and then *becomes* the command.
//!
//! A container's directory holds:
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `spec.json` | agent | what to run, 0600: the environment may hold secrets |
//! | `ready.json` | shim | [`Processes`]: shim and init, once the namespaces exist |
//! | `attach.sock` | shim | the command's streams, 0660, in the directory's group |
//! | `log`, `log.1` | shim | the output, see [`log`] |
//! | `exit.json` | shim | [`ExitRecord`], when the command ended |
//! | `resolv.conf`, `hosts`, `hostname` | shim, then agent | what the container sees in `/etc`; the agent updates them in place |
//! | `exec/N/` | as above | the same for a command executed later; gone after its end |
//!
//! The order is fixed: namespaces and mounts first (`ready.json`, [`Shims::spawn`] returns), then the agent attaches
//! the network to `/proc/<init>/ns/net`, then [`start`]. Whoever wants the first byte of the output attaches in between.
//!
//! A shim is in a session of its own and holds nothing of the agent's, but it is in the agent's control group: a service
//! manager has to stop the agent alone (systemd: `KillMode=process`).
//!
//! Nothing outlives its purpose: init dies with the shim (parent death signal), and with init dies, by the kernel's
//! doing, everything in the PID namespace, its mounts and its network namespace. (A command that executes a setuid
//! program in its place loses the death signal; then a killed shim leaves it running, and the agent, which finds a live
//! init without a shim, has to [`signal`] it.)
//!
//! A container here is a set of namespaces, not a jail: without a user namespace of its own its root is the host's, with
//! fewer capabilities ([`Capabilities`]) and parts of `/proc` and `/sys` covered. On the host's files that is not enough to
//! keep it from becoming the host's root; in a root directory of its own it is, as far as the kernel holds.

mod capabilities;
mod control;
mod exit;
mod given;
mod init;
mod lineage;
mod nursery;
mod process;
mod running;
mod shim;
mod shims;
mod spec;
mod sys;
mod tail;
mod wait;

pub mod attach;
pub mod log;

pub use attach::SOCKET_FILE;
pub use capabilities::{Capabilities, UnknownCapability};
pub use exit::{ExitRecord, note_removal, read_exit};
pub use given::Given;
pub use init::run_init;
pub use lineage::PidNamespace;
pub use nursery::run_nursery;
pub use process::ProcessId;
pub use running::{Processes, SignalContainer, StartContainer, processes, signal, start};
pub use shim::run_shim;
pub use shims::{Shims, SpawnContainer};
pub use spec::{Bind, ContainerSpec, EtcFiles, ExecRequest, SandboxNetwork};
pub use tail::Tail;
pub use wait::wait;

/// Ends a process at once; as a number, which is how signals go through specifications and the attach socket.
pub const SIGKILL: i32 = libc::SIGKILL;
/// Asks a process to end.
pub const SIGTERM: i32 = libc::SIGTERM;
