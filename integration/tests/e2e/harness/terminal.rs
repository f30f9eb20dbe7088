//! A person at a terminal: a pseudo-terminal with a command on its other side.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::eventually;
use super::process::as_shells_show;

/// A terminal of 40 rows and 132 columns.
pub(crate) struct Terminal {
    screen: File,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Runs `command` with the terminal as its controlling one.
    pub(crate) fn open(command: Command) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let size = Winsize {
            ws_row: 40,
            ws_col: 132,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let keyboard = || -> OwnedFd {
            open(
                name.as_c_str(),
                OFlags::RDWR | OFlags::NOCTTY,
                Mode::empty(),
            )
            .unwrap()
        };
        // setsid(1) takes the terminal as the controlling one; doing so here would need code between fork and exec.
        let mut session = Command::new("setsid");
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        session.envs(
            command
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        let child = session
            .stdin(keyboard())
            .stdout(keyboard())
            .stderr(keyboard())
            .spawn()
            .unwrap();
        Self {
            screen: screen.into(),
            child,
            seen: String::new(),
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until the screen has shown `text` since the last call.
    pub(crate) fn expect(&mut self, text: &str) {
        eventually(
            Duration::from_secs(20),
            &format!("{text:?} on the terminal"),
            || {
                self.read();
                self.seen.contains(text).then_some(())
            },
        );
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    /// The command's status, once it has ended.
    pub(crate) fn status(mut self) -> i32 {
        let status = eventually(Duration::from_secs(20), "the command ends", || {
            self.read();
            self.child.try_wait().unwrap()
        });
        as_shells_show(status)
    }

    fn read(&mut self) {
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let mut ready = [PollFd::new(&self.screen, PollFlags::IN)];
        if poll(&mut ready, Some(&wait)).unwrap() == 0 {
            return;
        }
        let mut buffer = [0; 4096];
        // EIO once the other side has closed.
        if let Ok(length) = self.screen.read(&mut buffer) {
            self.seen
                .push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
