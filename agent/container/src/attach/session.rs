//! A foreground session: this process' terminal and signals become the command's.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use thiserror::Error;

use super::codec::{DecodeMessage, Decoder, Event, MAX_PAYLOAD, Message, Request, Role};
use super::connect;
use super::terminal::{RawTerminal, SignalPipe, terminal_size};
use crate::exit::read_exit;

/// How the command was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// It has a terminal.
    pub tty: bool,
    /// It reads this process' standard input.
    pub interactive: bool,
}

/// Attached to a command, which may not be executed yet.
#[derive(Debug)]
pub struct Session {
    socket: PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    options: SessionOptions,
    /// Bytes of standard input the shim is ready to take.
    window: u64,
    stdin_open: bool,
    /// SIGINT and SIGTERM passed on so far.
    interrupts: u32,
}

#[derive(Debug, Error)]
pub enum AttachSession {
    #[error("cannot attach at {socket}: {error}")]
    Connect { socket: PathBuf, error: io::Error },
    #[error("the input is not a terminal, which -i with -t needs")]
    NotATerminal,
    #[error("cannot set the terminal up: {0}")]
    Terminal(io::Error),
    #[error("cannot read the standard input: {0}")]
    Input(io::Error),
    /// `BrokenPipe` where the reader of this process' output left; the command still runs.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    #[error("the container's shim speaks another language: {0}")]
    Protocol(#[from] DecodeMessage),
    #[error("the container's shim died, and its command with it")]
    Lost,
    /// This process was told to end by that signal; the command on its terminal still runs.
    #[error("ended by signal {0}")]
    Signal(i32),
}

impl Session {
    /// Attaches, before the command is started so that nothing of its output is missed.
    pub fn open(socket: &Path, options: SessionOptions) -> Result<Self, AttachSession> {
        if options.tty && options.interactive && !rustix::termios::isatty(io::stdin()) {
            return Err(AttachSession::NotATerminal);
        }
        let stream =
            connect(socket, Role::Interactive).map_err(|error| AttachSession::Connect {
                socket: socket.to_owned(),
                error,
            })?;
        let mut session = Self {
            socket: socket.to_owned(),
            stream,
            decoder: Decoder::default(),
            options,
            window: 0,
            stdin_open: options.interactive,
            interrupts: 0,
        };
        // Before the start, so that the first thing drawn fits.
        session.send_size();
        Ok(session)
    }

    /// Has the command executed, as an exec's caller does; a container's caller asks the agent.
    pub fn start(&mut self) {
        self.send(&Request::Start);
    }

    /// Carries input, output and signals until the command ends, and returns its exit code (126 and 127 with a line on
    /// standard error). Blocks the thread. The terminal is as before afterwards, whatever happens.
    ///
    /// On a terminal (`tty` and `interactive`) this process' signals are its own, and end the session
    /// ([`AttachSession::Signal`]); otherwise INT, TERM, HUP, QUIT, USR1 and USR2 go to the command, and the third INT or
    /// TERM kills it.
    pub fn run(mut self) -> Result<i32, AttachSession> {
        let signals = SignalPipe::open().map_err(AttachSession::Terminal)?;
        let on_terminal = self.options.tty && self.options.interactive;
        let _raw = on_terminal
            .then(RawTerminal::enter)
            .transpose()
            .map_err(AttachSession::Terminal)?;
        self.send_size();
        loop {
            let ready = self.wait(&signals).map_err(AttachSession::Input)?;
            if ready.signals {
                for signo in signals.take() {
                    self.pass_signal(signo)?;
                }
            }
            if ready.stdin {
                self.forward_stdin()?;
            }
            if ready.stream
                && let Some(code) = self.receive()?
            {
                return Ok(code);
            }
        }
    }

    fn wait(&self, signals: &SignalPipe) -> io::Result<Ready> {
        let stdin = io::stdin();
        let mut fds = vec![readable(self.stream.as_fd()), readable(signals.as_fd())];
        if self.stdin_open && self.window > 0 {
            fds.push(readable(stdin.as_fd()));
        }
        match poll(&mut fds, None) {
            Err(Errno::INTR) => return Ok(Ready::default()),
            outcome => outcome?,
        };
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready {
            stream: is_ready(0),
            signals: is_ready(1),
            stdin: is_ready(2),
        })
    }

    fn pass_signal(&mut self, signo: i32) -> Result<(), AttachSession> {
        if signo == libc::SIGWINCH {
            self.send_size();
            return Ok(());
        }
        if self.options.tty {
            return Err(AttachSession::Signal(signo));
        }
        if matches!(signo, libc::SIGINT | libc::SIGTERM) {
            self.interrupts += 1;
        }
        let passed = if self.interrupts >= INTERRUPTS_TO_KILL {
            libc::SIGKILL
        } else {
            signo
        };
        self.send(&Request::Signal(passed));
        Ok(())
    }

    fn forward_stdin(&mut self) -> Result<(), AttachSession> {
        let limit =
            usize::try_from(self.window).map_or(MAX_PAYLOAD, |window| window.min(MAX_PAYLOAD));
        let mut buffer = vec![0; limit];
        match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(0) => {
                self.stdin_open = false;
                self.send(&Request::StdinEof);
            }
            Ok(length) => {
                buffer.truncate(length);
                let sent = u64::try_from(length).unwrap_or(u64::MAX);
                self.window = self.window.saturating_sub(sent);
                self.send(&Request::Stdin(buffer));
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal whose other end closed.
            Err(Errno::IO) => self.stdin_open = false,
            Err(error) => return Err(AttachSession::Input(error.into())),
        }
        Ok(())
    }

    /// The exit code, once it came.
    fn receive(&mut self) -> Result<Option<i32>, AttachSession> {
        let mut buffer = [0; MAX_PAYLOAD];
        match self.stream.read(&mut buffer) {
            Ok(0) => return self.code_left_behind().map(Some),
            Ok(length) => self.decoder.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(_) => return self.code_left_behind().map(Some),
        }
        while let Some(event) = self.decoder.decode::<Event>()? {
            match event {
                Event::Stdout(bytes) => write_all(io::stdout().as_fd(), &bytes)?,
                Event::Stderr(bytes) => write_all(io::stderr().as_fd(), &bytes)?,
                Event::Window(bytes) => self.window += u64::from(bytes),
                Event::Skipped(bytes) => self.tell(&format!(
                    "{bytes} bytes of output skipped here: read too slowly; see `tapestry logs`"
                )),
                Event::Error(text) => self.tell(&text),
                Event::Exit(code) => return Ok(Some(code)),
                Event::Ready { .. } | Event::Started => {}
            }
        }
        Ok(None)
    }

    /// The shim went without saying how it ended: so it died, or cut this session off at its own end.
    fn code_left_behind(&self) -> Result<i32, AttachSession> {
        let dir = self.socket.parent().unwrap_or(Path::new("."));
        match read_exit(dir) {
            Ok(Some(record)) => Ok(record.code),
            _ => Err(AttachSession::Lost),
        }
    }

    fn send_size(&mut self) {
        if self.options.tty
            && let Some((rows, columns)) = terminal_size()
        {
            self.send(&Request::Resize { rows, columns });
        }
    }

    /// Failure to send shows at the next read, where what came before it is still to be had.
    fn send(&mut self, request: &Request) {
        let _ = self.stream.write_all(&request.to_bytes());
    }

    fn tell(&self, text: &str) {
        let end = if self.options.tty { "\r\n" } else { "\n" };
        let _ = write!(io::stderr(), "tapestry: {text}{end}");
    }
}

#[derive(Default)]
struct Ready {
    stream: bool,
    signals: bool,
    stdin: bool,
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// Unbuffered, and also right where the descriptor is shared with a program that made it non-blocking.
fn write_all(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), AttachSession> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(fd, rest) {
            Ok(length) => rest = &rest[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                let _ = poll(&mut fds, None);
            }
            Err(error) => return Err(AttachSession::Output(error.into())),
        }
    }
    Ok(())
}

const INTERRUPTS_TO_KILL: u32 = 3;
