//! The guardian: a small process that holds the agent's descriptors and starts the agent again.
//!
//! # Theory of operation
//!
//! `tapestry agent` is two processes of one binary. The guardian is the parent: the one that a user, a script or a service
//! manager started and signals. The agent proper is its child, and does all the work. A descriptor that must outlive the agent
//! is given to the guardian as it is made, by name: TAPs, host links, sockets that receive or listen. As long as the guardian
//! has a copy, a TAP keeps its carrier and frames wait in its queue, and clients wait at a socket until somebody accepts them.
//!
//! When the agent dies, the next one begins at once, gets all descriptors back, and goes on where its records say. One that
//! dies again and again is started ever less often. One that ends because it was told to ends the guardian as well, and so does
//! one that could not even begin for the first time: its own words say why.
//!
//! Told by SIGUSR2 or SIGHUP, it lets another agent take the place of the one that runs ([`succession`]).
//!
//! When the guardian dies, the agent ends in order: it would not be started again, and a service manager starts both anew. So
//! that this costs no flow either, the guardian leaves its copies to a service manager that keeps descriptors (sd_notify(3),
//! `FDSTORE=1`); without one, TAPs outlast both, since they are persistent.
//!
//! The guardian reads nothing but [`line`]'s messages, in a thread that can do little else ([`confine`](self::confine)), and never starts
//! itself anew.

mod confine;
mod deaths;
mod held;
mod line;
mod starter;
mod store;
mod succession;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use agent_container::Given;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::signal::unix::SignalKind;

use self::confine::confine;
use self::deaths::Deaths;
pub(crate) use self::held::{Held, Order, Unbegun};
use self::line::{Hearing, Line, Message, Verb};
use self::starter::{Agents, starter};
use crate::service_manager;

/// The argument by which the guardian starts the agent proper.
pub const GUARDED: &str = "--guarded";

/// Why nobody guards the agent.
#[derive(Debug, thiserror::Error)]
#[error("the agent's guardian cannot run: {0}")]
pub struct Guard(#[from] io::Error);

/// Runs this program again with the same arguments and [`GUARDED`], and watches over it until it has been told to stop.
/// Returns its exit code.
pub fn guard() -> Result<u8, Guard> {
    // Agents and containers get back what was given.
    let given = Given::keep_less();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (starter, agents) = starter(given)?;
    let guardian = Guardian::new(agents);
    let handle = runtime.handle().clone();
    let watching = std::thread::Builder::new()
        .name("guardian".to_owned())
        .spawn(move || {
            if let Err(error) = confine() {
                tracing::warn!(%error, "the guardian can do more than it needs");
            }
            runtime.block_on(guardian.watch())
        })?;
    starter.serve(&handle);
    let watched = watching.join();
    Ok(watched.map_err(|_| io::Error::other("it panicked"))??)
}

/// An agent proper, and the line to it.
struct Running {
    child: Child,
    hearing: Hearing,
}

impl Running {
    fn tell(&self, verb: Verb) -> io::Result<()> {
        self.hearing.line.send(verb, "", None)
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().map(u32::cast_signed);
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have died this moment.
            let _ = kill_process(pid, signal);
        }
    }
}

struct Guardian {
    agents: Agents,
    held: BTreeMap<String, OwnedFd>,
    deaths: Deaths,
    /// In a row, each soon after its start.
    short_lives: u32,
    /// An agent has answered once; the one that runs has.
    was_ready: bool,
    is_ready: bool,
    /// The agent was told to stop, or said that it does.
    is_stopping: bool,
}

impl Guardian {
    fn new(agents: Agents) -> Self {
        if let Err(error) = agent_host::raise_open_files() {
            tracing::warn!(%error, "the guardian may run out of descriptors");
        }
        Self {
            agents,
            held: store::received(),
            deaths: Deaths::default(),
            short_lives: 0,
            was_ready: false,
            is_ready: false,
            is_stopping: false,
        }
    }

    async fn watch(mut self) -> io::Result<u8> {
        let mut signals = Signals::catch()?;
        loop {
            let began = Instant::now();
            self.is_ready = false;
            let mut running = self.agents.start()?;
            self.hand_over(&running, Verb::Begin);
            let status = self.accompany(&mut running, &mut signals).await?;
            let failed_to_begin = !self.was_ready && status.code().is_some();
            if self.is_stopping || status.success() || failed_to_begin {
                return Ok(exit_code(status));
            }
            self.note_death(status, began.elapsed());
            self.pause(&mut signals).await;
            if self.is_stopping {
                return Ok(exit_code(status));
            }
        }
    }

    /// Says all descriptors, and that it shall begin.
    fn hand_over(&self, running: &Running, verb: Verb) {
        let line = &running.hearing.line;
        for (name, fd) in &self.held {
            // One that died already is noticed later.
            if line
                .send_patiently(Verb::Hold, name, Some(fd.as_fd()))
                .is_err()
            {
                return;
            }
        }
        let _ = line.send_patiently(verb, &self.deaths.to_string(), None);
    }

    /// Until the end of the agent, or of the one that took its place.
    async fn accompany(
        &mut self,
        running: &mut Running,
        signals: &mut Signals,
    ) -> io::Result<ExitStatus> {
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => if REPLACES.contains(&signal) {
                    if let Some(next) = self.replace(running).await {
                        (*running, is_open) = (next, true);
                    }
                } else {
                    self.is_stopping |= ENDS.contains(&signal);
                    running.signal(signal);
                },
                heard = running.hearing.next(), if is_open => match heard {
                    Some(message) => self.take(message, &running.hearing.line),
                    None => is_open = false,
                },
                status = running.child.wait() => {
                    // Its last words may still be on the line.
                    let line = &running.hearing.line;
                    while let Ok(Some(message)) = line.receive() {
                        self.take(message, line);
                    }
                    return status;
                }
            }
        }
    }

    fn take(&mut self, message: Message, line: &Line) {
        match (message.verb, message.fd) {
            (Verb::Hold, Some(fd)) => {
                store::keep(&message.text, &fd);
                self.held.insert(message.text, fd);
            }
            (Verb::Release, _) => {
                store::forget(&message.text);
                self.held.remove(&message.text);
                let _ = line.send(Verb::Release, "", None);
            }
            (Verb::Ready, _) => {
                (self.was_ready, self.is_ready) = (true, true);
                service_manager::tell("READY=1");
            }
            (Verb::Stopping, _) => {
                self.is_stopping = true;
                service_manager::tell("STOPPING=1");
            }
            _ => {}
        }
    }

    fn note_death(&mut self, status: ExitStatus, lived: Duration) {
        self.deaths.add(status.to_string());
        self.short_lives = match self.is_ready && lived > SHORT_LIFE {
            true => 0,
            false => self.short_lives + 1,
        };
        tracing::error!(%status, deaths = self.deaths.number, held = self.held.len(), "the agent died and is started again");
    }

    /// The first deaths cost no time; whoever dies at once time and again, ever more.
    async fn pause(&mut self, signals: &mut Signals) {
        let Some(doublings) = self.short_lives.checked_sub(AT_ONCE) else {
            return;
        };
        let pause = PAUSE_MIN
            .saturating_mul(1 << doublings.min(8))
            .min(PAUSE_MAX);
        tracing::warn!(
            ?pause,
            "the agent dies soon after each start; the next one waits"
        );
        let waited = tokio::time::sleep(pause);
        tokio::pin!(waited);
        loop {
            tokio::select! {
                () = &mut waited => return,
                signal = signals.next() => if ENDS.contains(&signal) {
                    self.is_stopping = true;
                    return;
                },
            }
        }
    }
}

/// As shells tell it: 128 and the signal's number.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Those that the agent has an answer to.
struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    fn catch() -> io::Result<Self> {
        let all = ENDS
            .into_iter()
            .chain(REPLACES)
            .chain([Signal::USR1, Signal::ALARM]);
        let caught = all.map(|signal| {
            let kind = SignalKind::from_raw(signal.as_raw());
            Ok((signal, tokio::signal::unix::signal(kind)?))
        });
        Ok(Self(caught.collect::<io::Result<_>>()?))
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, caught) in &mut self.0 {
                if caught.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*signal);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

const ENDS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];
/// Those that let another agent take the place of the one that runs.
const REPLACES: [Signal; 2] = [Signal::HUP, Signal::USR2];
/// Who answered and lived for longer did not die of its start.
const SHORT_LIFE: Duration = Duration::from_millis(200);
/// How many short lives in a row are followed by the next at once.
const AT_ONCE: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
