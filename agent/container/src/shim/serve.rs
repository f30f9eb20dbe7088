//! The shim's event loop.
//!
//! # Theory of operation
//!
//! One poll(2) over the command's output, its input, its init, and everybody attached; without work it sleeps, and it
//! sets itself a timer only while somebody is waited for. The command is *created*, then *starting* from the first
//! `Start` until init's control socket closes, which means that it was executed, then *started*, then *ended* when init
//! is gone. At the end `exit.json` is written and watchers are told as soon as the log is complete, or somebody holds
//! it up; those who get output are told when all of it went before. The shim leaves when everybody has taken everything, or nobody takes anything any more.
//!
//! Input ends when the last interactive client goes, as `docker run -i` has it. The same makes an exec's terminal hang
//! up, and an exec that nobody started is killed: nobody could ever get at it again.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clients::{Client, STALL_LIMIT};
use super::sandbox::Sandbox;
use super::stdin::StdinQueue;
use super::streams::Output;
use crate::attach::{Event, MAX_PAYLOAD, Message, Role, SOCKET_FILE};
use crate::control::{Control, Reply};
use crate::exit::{ExitRecord, is_being_removed, write_exit};
use crate::log::{LogStream, LogWriter};
use crate::spec::ShimSpec;

pub(super) struct Server {
    dir: PathBuf,
    is_exec: bool,
    pub(super) takes_stdin: bool,
    listener: UnixListener,
    log: Option<LogWriter>,
    pub(super) init_pid: i32,
    child: Child,
    pub(super) pidfd: OwnedFd,
    /// Until the command is executed, or cannot be.
    pub(super) control: Option<Control>,
    outputs: Vec<Output>,
    pub(super) stdin: StdinQueue,
    /// Our end and the command's.
    pub(super) terminal: Option<(OwnedFd, OwnedFd)>,
    clients: Vec<Client>,
    next_client: u64,
    pub(super) had_interactive: bool,
    pub(super) phase: Phase,
    pub(super) was_executed: bool,
    /// Why the command could not be executed.
    pub(super) error: Option<String>,
    /// It ended because somebody removes the container.
    is_removed: bool,
    created: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Created,
    Starting,
    Started,
    /// `quiet_since`: of its output. `recorded`: in `exit.json`, and watchers were told.
    Ended {
        code: i32,
        quiet_since: Instant,
        recorded: bool,
    },
    /// Everybody was told.
    Told {
        code: i32,
        since: Instant,
    },
}

/// Something that poll(2) found ready.
#[derive(Clone, Copy, Debug)]
enum Token {
    Control,
    Output(LogStream),
    Stdin,
    Client(u64),
    Listener,
    Init,
}

impl Server {
    pub(super) fn new(
        dir: PathBuf,
        spec: &ShimSpec,
        listener: UnixListener,
        log: Option<LogWriter>,
        sandbox: Sandbox,
    ) -> Self {
        let ends = sandbox.streams.split();
        Self {
            dir,
            is_exec: matches!(spec, ShimSpec::Exec(_)),
            takes_stdin: spec.process().interactive,
            listener,
            log,
            init_pid: sandbox.init.pid,
            child: sandbox.child,
            pidfd: sandbox.pidfd,
            control: Some(sandbox.control),
            outputs: ends.outputs,
            stdin: StdinQueue::new(ends.stdin),
            terminal: ends.terminal,
            clients: Vec::new(),
            next_client: 0,
            had_interactive: false,
            phase: Phase::Created,
            was_executed: false,
            error: None,
            is_removed: false,
            created: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.is_done() {
            for token in self.wait() {
                self.handle(token);
            }
            self.check_clients();
            self.check_end();
        }
        if self.is_exec {
            let _ = fs::remove_dir_all(&self.dir);
        } else {
            let _ = fs::remove_file(self.dir.join(SOCKET_FILE));
        }
    }

    fn is_done(&self) -> bool {
        match self.phase {
            Phase::Told { since, .. } => {
                self.clients.iter().all(Client::is_flushed) || since.elapsed() >= STALL_LIMIT
            }
            _ => false,
        }
    }

    /// What is ready, in the order to handle it: what init says before its end, output before the end of it.
    fn wait(&self) -> Vec<Token> {
        let (tokens, mut fds) = self.interests();
        let timeout = self
            .timeout()
            .and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => tokens
                .into_iter()
                .zip(&fds)
                .filter(|(_, fd)| !fd.revents().is_empty())
                .map(|(token, _)| token)
                .collect(),
            Err(_) => Vec::new(),
        }
    }

    fn interests(&self) -> (Vec<Token>, Vec<PollFd<'_>>) {
        let mut tokens = Vec::new();
        let mut fds = Vec::new();
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(control) = &self.control {
            add(Token::Control, control.as_fd(), PollFlags::IN);
        }
        if !self.is_held_back() {
            for output in &self.outputs {
                add(
                    Token::Output(output.stream),
                    output.source.as_fd(),
                    PollFlags::IN,
                );
            }
        }
        if let Some(sink) = self.stdin.wants_writing() {
            add(Token::Stdin, sink, PollFlags::OUT);
        }
        for client in &self.clients {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, !client.is_flushed());
            add(Token::Client(client.id), client.as_fd(), flags);
        }
        if self.clients.len() < MAX_CLIENTS {
            add(Token::Listener, self.listener.as_fd(), PollFlags::IN);
        }
        if self.code().is_none() {
            add(Token::Init, self.pidfd.as_fd(), PollFlags::IN);
        }
        (tokens, fds)
    }

    /// `None` while nobody is waited for.
    fn timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Ended { .. } => Some(QUIET_LIMIT / 4),
            Phase::Told { .. } => Some(WATCH_INTERVAL),
            Phase::Created if self.is_exec => Some(WATCH_INTERVAL),
            _ if self.clients.iter().any(Client::is_full) => Some(WATCH_INTERVAL),
            _ => None,
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Control => self.hear_init(),
            Token::Output(stream) => self.read_output(stream),
            Token::Stdin => self.write_stdin(),
            Token::Client(id) => self.serve_client(id),
            Token::Listener => self.accept(),
            Token::Init => self.collect(),
        }
    }

    fn hear_init(&mut self) {
        let Some(control) = &self.control else {
            return;
        };
        match control.receive_reply() {
            Ok(Some((Reply::Failed { text, .. }, _))) => {
                self.tell(&Event::Error(text.clone()));
                self.error = Some(text);
            }
            Ok(Some((Reply::Prepared, _))) => return,
            Ok(None) | Err(_) if self.phase == Phase::Starting => {
                self.phase = Phase::Started;
                self.was_executed = true;
                self.tell(&Event::Started);
            }
            Ok(None) | Err(_) => {}
        }
        self.control = None;
    }

    fn read_output(&mut self, stream: LogStream) {
        if self.is_held_back() {
            return;
        }
        let Some(output) = self.outputs.iter().find(|output| output.stream == stream) else {
            return;
        };
        let mut bytes = vec![0; MAX_PAYLOAD];
        match rustix::io::read(&output.source, &mut bytes) {
            // A terminal whose other end is closed answers EIO.
            Ok(0) | Err(Errno::IO) => {
                self.outputs.retain(|output| output.stream != stream);
                return;
            }
            Ok(length) => bytes.truncate(length),
            Err(_) => return,
        }
        if let Some(log) = &mut self.log {
            log.append(stream, &bytes);
        }
        let now = Instant::now();
        if let Phase::Ended { quiet_since, .. } = &mut self.phase {
            *quiet_since = now;
        }
        let length = bytes.len();
        let message = match stream {
            LogStream::Stdout => Event::Stdout(bytes),
            LogStream::Stderr => Event::Stderr(bytes),
        }
        .to_bytes();
        for client in &mut self.clients {
            client.send_output(&message, length, now);
            client.flush();
        }
    }

    pub(super) fn write_stdin(&mut self) {
        for (id, bytes) in self.stdin.write() {
            if let Some(client) = self.client(id) {
                client.grant(bytes);
            }
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        if let Ok(client) = Client::new(self.next_client, stream) {
            self.next_client += 1;
            self.clients.push(client);
        }
    }

    fn serve_client(&mut self, id: u64) {
        let Some(client) = self.client(id) else {
            return;
        };
        client.flush();
        for request in client.read() {
            self.answer(id, request);
        }
    }

    /// Init is gone, and everything in its PID namespace with it.
    fn collect(&mut self) {
        let code = match self.child.try_wait() {
            Ok(Some(status)) => exit_code(status),
            Ok(None) => return,
            Err(_) => 137,
        };
        self.phase = Phase::Ended {
            code,
            quiet_since: Instant::now(),
            recorded: false,
        };
        // The directory may be gone when it comes to telling.
        self.is_removed = is_being_removed(&self.dir);
        self.stdin.close();
        self.terminal = None;
    }

    fn record(&mut self, code: i32) {
        if !self.is_exec {
            let record = ExitRecord {
                code,
                error: self.error.clone(),
            };
            // With the disk full, those attached still hear it.
            let _ = write_exit(&self.dir, &record);
        }
        for client in &mut self.clients {
            if client.role == Some(Role::Watcher) {
                client.send(&Event::Exit(code));
                client.flush();
            }
        }
    }

    fn check_clients(&mut self) {
        let now = Instant::now();
        for client in &mut self.clients {
            client.check_stall(now);
        }
        let before = self.clients.len();
        self.clients.retain(|client| !client.is_gone());
        if self.clients.len() < before {
            self.notice_departure();
        }
        if self.is_exec && self.phase == Phase::Created {
            let abandoned = self.created.elapsed() >= ABANDONED_LIMIT || self.had_interactive;
            if abandoned && !self.clients.iter().any(Client::is_interactive) {
                self.signal(libc::SIGKILL);
            }
        }
    }

    fn notice_departure(&mut self) {
        if !self.had_interactive || self.clients.iter().any(Client::is_interactive) {
            return;
        }
        if self.terminal.is_none() {
            self.stdin.end();
        } else if self.is_exec {
            self.stdin.close();
            self.outputs.clear();
            self.terminal = None;
        }
    }

    fn check_end(&mut self) {
        let held_back = self.is_held_back();
        let Phase::Ended {
            code,
            quiet_since,
            recorded,
        } = &mut self.phase
        else {
            return;
        };
        if held_back {
            *quiet_since = Instant::now();
        }
        let code = *code;
        // A process that got away (of an exec) may hold the output open for ever.
        let complete = self.outputs.is_empty() || quiet_since.elapsed() >= QUIET_LIMIT;
        let to_record = !*recorded && (complete || held_back);
        *recorded |= to_record;
        if complete {
            self.outputs.clear();
            if let Some(log) = &mut self.log {
                log.finish();
            }
        }
        if to_record {
            self.record(code);
        }
        if complete {
            self.tell_end(code);
        }
    }

    fn tell_end(&mut self, code: i32) {
        self.phase = Phase::Told {
            code,
            since: Instant::now(),
        };
        for client in &mut self.clients {
            if client.role != Some(Role::Watcher) {
                client.tell_skipped();
                if self.is_removed {
                    client.send(&Event::Error(REMOVED.to_owned()));
                }
                client.send(&Event::Exit(code));
            }
            client.flush();
        }
    }

    fn tell(&mut self, event: &Event) {
        for client in &mut self.clients {
            if client.role.is_some() {
                client.send(event);
                client.flush();
            }
        }
    }

    fn is_held_back(&self) -> bool {
        self.clients.iter().any(Client::holds_back)
    }

    fn code(&self) -> Option<i32> {
        match self.phase {
            Phase::Ended { code, .. } | Phase::Told { code, .. } => Some(code),
            _ => None,
        }
    }

    pub(super) fn client(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }
}

/// As shells count.
fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signo| 128 + signo))
        .unwrap_or(137)
}

const REMOVED: &str = "the container was removed by another command";
const MAX_CLIENTS: usize = 64;
/// How long output may be silent after the end before it is taken for complete.
const QUIET_LIMIT: Duration = Duration::from_millis(200);
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long an exec waits for somebody to attach.
const ABANDONED_LIMIT: Duration = Duration::from_secs(60);
