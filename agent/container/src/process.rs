//! Processes by identity: a PID alone names another process once it is reused.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, for as long as the host is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks after boot at which it started: field 22 of `/proc/<pid>/stat`, proc(5).
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this PID now.
    pub fn of(pid: i32) -> io::Result<Self> {
        let (_, start_time) = stat(pid)?;
        Ok(Self { pid, start_time })
    }

    /// Whether it still runs. A zombie does not.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_ok_and(|(state, start_time)| {
            start_time == self.start_time && !matches!(state, 'Z' | 'X')
        })
    }

    /// A descriptor that can only mean this process. Error: `NotFound` when it is gone.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the process is gone");
        let pid = Pid::from_raw(self.pid).ok_or_else(gone)?;
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Err(gone()),
            opened => opened?,
        };
        if self.is_alive() {
            Ok(pidfd)
        } else {
            Err(gone())
        }
    }

    /// Sends a signal to this process and no other. Error: `NotFound` when it is gone.
    pub fn signal(&self, signo: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signo)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such signal"))?;
        Ok(pidfd_send_signal(self.open()?, signal)?)
    }
}

fn stat(pid: i32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "odd /proc/pid/stat"))
}

/// State (field 3) and start time (field 22). The name before them may hold anything, a parenthesis too.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4 9 0 0 0 0 0 0 0 20 0 1 0 4242 8 9";
        assert_eq!(parse_stat(text), Some(('S', 4242)));
    }

    #[test]
    fn a_reused_pid_is_not_the_process() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let other = ProcessId {
            start_time: me.start_time + 1,
            ..me
        };
        assert!(!other.is_alive());
        assert_eq!(other.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
