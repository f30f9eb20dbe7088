//! A process that this agent started, or the one before it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// It is known by a descriptor, so it is never taken for another one.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
    /// Where it is this agent's own, whoever waits for it must be this agent too.
    child: Option<Child>,
}

impl Process {
    pub(crate) fn of_child(child: Child) -> io::Result<Self> {
        Ok(Self {
            pidfd: pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?,
            child: Some(child),
        })
    }

    /// The process with that id, if its command line is what it should be.
    pub(crate) fn left_behind(pid: Pid, is_right: impl FnOnce(&[u8]) -> bool) -> Option<Self> {
        // First the descriptor: what is read then is of the same process, or of none.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let left = Self { pidfd, child: None };
        (is_right(&command_line) && !left.ends_within(Duration::ZERO)).then_some(left)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => child.try_wait().ok()?.map(|status| status.to_string()),
            None => self
                .ends_within(Duration::ZERO)
                .then(|| "it was an earlier agent's".to_owned()),
        }
    }

    /// Asks it to end, and kills it where it has not within `patience`.
    pub(crate) fn end(mut self, patience: Duration) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        if !self.ends_within(patience) {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            self.ends_within(patience);
        }
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A limit of some seconds always fits.
            let left = Timespec::try_from(left).unwrap_or_default();
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&left)) {
                Ok(0) => return false,
                Err(rustix::io::Errno::INTR) => {}
                _ => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn sleeper() -> (Child, Pid) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        // The kernel says that a program runs before it shows its command line.
        let deadline = Instant::now() + SOON;
        let line = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
        while std::fs::read(&line).unwrap().is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        (child, pid)
    }

    #[test]
    fn what_was_left_behind_is_taken_by_its_command_line_and_ended() {
        let (mut child, pid) = sleeper();
        assert!(Process::left_behind(pid, |line| line == b"sleep\0999\0").is_none());
        let mut left = Process::left_behind(pid, |line| line == b"sleep\x001000\0").unwrap();
        assert_eq!(left.ended(), None);
        left.end(SOON);
        assert!(!child.wait().unwrap().success());
        assert!(Process::left_behind(pid, |_| true).is_none());
    }

    #[test]
    fn a_child_tells_how_it_ended() {
        let (child, pid) = sleeper();
        let mut process = Process::of_child(child).unwrap();
        assert_eq!(process.ended(), None);
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        assert!(process.ends_within(SOON));
        assert!(process.ended().unwrap().contains('9'));
    }
}
