//! Commands that end: their status and what they wrote.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// As a shell shows it: 128 and the signal's number for a killed command.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

impl Output {
    /// For a command that may be tried again.
    pub(crate) fn succeeded(&self) -> Option<()> {
        (self.status == 0).then_some(())
    }

    /// The standard output of a command that had to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}: {self:#?}", self.command);
        self.stdout
    }

    /// The standard error of a command that had to fail with `status`.
    #[track_caller]
    pub(crate) fn refused(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}: {self:#?}", self.command);
        self.stderr
    }
}

/// Runs `command` to its end, within a minute.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    run_for(command, Duration::from_secs(60))
}

/// Runs `command` to its end; one that outlives `limit` is killed and fails the test.
///
/// Its output goes to files, so that a grandchild that keeps a descriptor open cannot hold the test up.
#[track_caller]
pub(crate) fn run_for(command: &mut Command, limit: Duration) -> Output {
    let shown = format!("{command:?}");
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "{shown} did not end within {limit:?}\n{}\n{}",
                text(&mut stdout),
                text(&mut stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output {
        status: as_shells_show(status),
        stdout: text(&mut stdout),
        stderr: text(&mut stderr),
        command: shown,
    }
}

pub(super) fn as_shells_show(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap()
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
