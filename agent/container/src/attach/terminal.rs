//! This process' terminal and signals.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// Standard input's terminal in raw mode, until dropped.
pub(super) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    pub(super) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Rows and columns, where any of the standard streams is a terminal.
pub(super) fn terminal_size() -> Option<(u16, u16)> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
        .into_iter()
        .filter(|fd| isatty(fd))
        .find_map(|fd| tcgetwinsize(fd).ok())
        .map(|size| (size.ws_row, size.ws_col))
}

/// Signals to this process, as something to poll: each one is a byte. Works whatever threads there are.
pub(super) struct SignalPipe {
    receiver: UnixStream,
}

impl SignalPipe {
    /// Takes over the signals a session passes on. Their default action does not come back.
    pub(super) fn open() -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let mut streams = Vec::new();
        {
            let _context = runtime.enter();
            for signo in PASSED_SIGNALS {
                streams.push((signo, signal(SignalKind::from_raw(signo))?));
            }
        }
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let tasks: Vec<_> = streams
                    .into_iter()
                    .filter_map(|(signo, mut stream)| {
                        let mut sender = sender.try_clone().ok()?;
                        let byte = u8::try_from(signo).ok()?;
                        Some(runtime.spawn(async move {
                            while stream.recv().await.is_some() {
                                if matches!(sender.write(&[byte]), Err(error)
                                    if error.kind() != io::ErrorKind::WouldBlock)
                                {
                                    return;
                                }
                            }
                        }))
                    })
                    .collect();
                runtime.block_on(async {
                    for task in tasks {
                        let _ = task.await;
                    }
                });
            })?;
        Ok(Self { receiver })
    }

    /// Those that came since.
    pub(super) fn take(&self) -> Vec<i32> {
        let mut signos = [0; 64];
        match (&self.receiver).read(&mut signos) {
            Ok(length) => signos[..length].iter().copied().map(i32::from).collect(),
            Err(_) => Vec::new(),
        }
    }
}

impl AsFd for SignalPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

const PASSED_SIGNALS: [i32; 7] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];
