//! What clients ask the shim for.

use rustix::process::{Signal, pidfd_send_signal};
use rustix::termios::{Winsize, tcsetwinsize};

use super::serve::{Phase, Server};
use crate::attach::{Event, Request, Role};

impl Server {
    pub(super) fn answer(&mut self, id: u64, request: Request) {
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
            Phase::Ended {
                code,
                recorded: true,
                ..
            } if role == Role::Watcher => events.push(Event::Exit(code)),
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

    pub(super) fn signal(&self, signo: i32) {
        if let Some(signal) = Signal::from_named_raw(signo) {
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }
}

/// Bytes of standard input each interactive client may have on the way: a pipe's worth.
const STDIN_WINDOW: u32 = 64 * 1024;
