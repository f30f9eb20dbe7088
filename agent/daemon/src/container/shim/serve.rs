//! The shim's event loop.
//!
//! # Theory of operation
//!
//! One poll(2) over the command's output, its input, its init, and everybody attached; without work it sleeps, and it
//! sets itself a timer only while somebody is waited for. The command is *created*, then *starting* from the first
//! `Start` until init's control socket closes, which means that it was executed, then *started*, then *ended* when init
//! is gone. At the end `exit.json` is written and watchers are told at once; those who get output are told when all
//! of it went before. The shim leaves when everybody has taken everything, or nobody takes anything any more.
//!
//! Input ends when the last interactive client goes, as `docker run -i` has it. The same makes an exec's terminal hang
//! up, and an exec that nobody started is killed: nobody could ever get at it again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::termios::{Winsize, tcsetwinsize};

use super::clients::{Client, STALL_LIMIT};
use super::sandbox::{Sandbox, Streams};
use super::stdin::StdinQueue;
use crate::container::attach::{Event, MAX_PAYLOAD, Message, Request, Role, SOCKET_FILE};
use crate::container::control::{Control, Reply};
use crate::container::exit::{ExitRecord, write_exit};
use crate::container::log::{LogStream, LogWriter};
use crate::container::spec::ShimSpec;

pub(super) struct Server {
    dir: PathBuf,
    is_exec: bool,
    takes_stdin: bool,
    listener: UnixListener,
    log: Option<LogWriter>,
    init_pid: i32,
    child: Child,
    pidfd: OwnedFd,
    /// Until the command is executed, or cannot be.
    control: Option<Control>,
    outputs: Vec<Output>,
    stdin: StdinQueue,
    /// Our end and the command's.
    terminal: Option<(OwnedFd, OwnedFd)>,
    clients: Vec<Client>,
    next_client: u64,
    had_interactive: bool,
    phase: Phase,
    was_executed: bool,
    /// Why the command could not be executed.
    error: Option<String>,
    created: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Starting,
    Started,
    /// `quiet_since`: of its output.
    Ended {
        code: i32,
        quiet_since: Instant,
    },
    /// Everybody was told.
    Told {
        code: i32,
        since: Instant,
    },
}

struct Output {
    stream: LogStream,
    source: OwnedFd,
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
        let (outputs, sink, terminal) = split(sandbox.streams);
        for output in &outputs {
            let _ = ioctl_fionbio(&output.source, true);
        }
        if let Some(sink) = &sink {
            let _ = ioctl_fionbio(sink, true);
        }
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
            outputs,
            stdin: StdinQueue::new(sink),
            terminal,
            clients: Vec::new(),
            next_client: 0,
            had_interactive: false,
            phase: Phase::Created,
            was_executed: false,
            error: None,
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

    fn write_stdin(&mut self) {
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

    fn answer(&mut self, id: u64, request: Request) {
        let Some(client) = self.client(id) else {
            return;
        };
        match (client.role, request) {
            (None, Request::Attach(role)) => self.attach(id, role),
            (None, _) | (_, Request::Attach(_)) => client.cut_off(),
            (_, Request::Stdin(bytes)) if !client.spend(bytes.len()) => client.cut_off(),
            (_, Request::Stdin(bytes)) => {
                self.stdin.push(id, bytes);
                self.write_stdin();
            }
            (_, Request::StdinEof) => self.end_stdin(),
            (_, Request::Resize { rows, columns }) => self.resize(rows, columns),
            (_, Request::Signal(signo)) => self.signal(signo),
            (_, Request::Start) => self.start(),
        }
    }

    fn attach(&mut self, id: u64, role: Role) {
        let mut events = vec![Event::Ready {
            init_pid: self.init_pid,
        }];
        if self.was_executed {
            events.push(Event::Started);
        }
        if let Some(error) = &self.error {
            events.push(Event::Error(error.clone()));
        }
        match self.phase {
            Phase::Told { code, .. } => events.push(Event::Exit(code)),
            Phase::Ended { code, .. } if role == Role::Watcher => events.push(Event::Exit(code)),
            _ => {}
        }
        let reads = role == Role::Interactive && self.takes_stdin && self.stdin.is_open();
        self.had_interactive |= role == Role::Interactive;
        let Some(client) = self.client(id) else {
            return;
        };
        client.role = Some(role);
        for event in events {
            client.send(&event);
        }
        if reads {
            client.grant(STDIN_WINDOW);
        }
    }

    fn start(&mut self) {
        if self.phase == Phase::Created
            && let Some(control) = &self.control
            && control.send_start().is_ok()
        {
            self.phase = Phase::Starting;
        }
    }

    fn end_stdin(&mut self) {
        // A terminal has no end but hanging up.
        if self.terminal.is_none() {
            self.stdin.end();
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Some((ours, _)) = &self.terminal {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = tcsetwinsize(ours, size);
        }
    }

    fn signal(&self, signo: i32) {
        if let Some(signal) = Signal::from_named_raw(signo) {
            let _ = pidfd_send_signal(&self.pidfd, signal);
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
        };
        if !self.is_exec {
            let record = ExitRecord {
                code,
                error: self.error.clone(),
            };
            // With the disk full, those attached still hear it.
            let _ = write_exit(&self.dir, &record);
        }
        self.stdin.close();
        self.terminal = None;
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
        let Phase::Ended { code, quiet_since } = &mut self.phase else {
            return;
        };
        if held_back {
            *quiet_since = Instant::now();
        }
        // A process that got away (of an exec) may hold the output open for ever.
        if !self.outputs.is_empty() && quiet_since.elapsed() < QUIET_LIMIT {
            return;
        }
        let code = *code;
        self.outputs.clear();
        if let Some(log) = &mut self.log {
            log.finish();
        }
        self.phase = Phase::Told {
            code,
            since: Instant::now(),
        };
        for client in &mut self.clients {
            if client.role != Some(Role::Watcher) {
                client.tell_skipped();
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

    fn client(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }
}

type Split = (Vec<Output>, Option<OwnedFd>, Option<(OwnedFd, OwnedFd)>);

fn split(streams: Streams) -> Split {
    match streams {
        Streams::Terminal { ours, theirs } => {
            let output = duplicate(ours.as_fd()).map(|source| Output {
                stream: LogStream::Stdout,
                source,
            });
            let sink = duplicate(ours.as_fd()).ok();
            (output.into_iter().collect(), sink, Some((ours, theirs)))
        }
        Streams::Pipes {
            stdin,
            stdout,
            stderr,
        } => {
            let outputs = vec![
                Output {
                    stream: LogStream::Stdout,
                    source: stdout,
                },
                Output {
                    stream: LogStream::Stderr,
                    source: stderr,
                },
            ];
            (outputs, stdin, None)
        }
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}

/// As shells count.
fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signo| 128 + signo))
        .unwrap_or(137)
}

const MAX_CLIENTS: usize = 64;
/// Bytes of standard input each interactive client may have on the way: a pipe's worth.
const STDIN_WINDOW: u32 = 64 * 1024;
/// How long output may be silent after the end before it is taken for complete.
const QUIET_LIMIT: Duration = Duration::from_millis(200);
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long an exec waits for somebody to attach.
const ABANDONED_LIMIT: Duration = Duration::from_secs(60);
