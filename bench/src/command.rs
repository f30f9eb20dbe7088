//! Programs: run to their end, or kept until they are dropped.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process;
use crate::trouble::Trouble;

/// Runs `command` to its end and gives its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, Trouble> {
    run_with(command, Stdio::null())
}

/// The same, with something on its standard input.
pub(crate) fn run_with(command: &mut Command, input: impl Into<Stdio>) -> Result<String, Trouble> {
    let shown = show(command);
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = spawn(command)?
        .wait_with_output()
        .map_err(Trouble::io(shown.clone()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let reason = if said.is_empty() {
            output.status.to_string()
        } else {
            last_line(&said)
        };
        return Err(Trouble::Command {
            command: shown,
            reason,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `ip` with arguments as one would type them.
pub(crate) fn ip(arguments: &str) -> Result<String, Trouble> {
    run(Command::new("ip").args(arguments.split_whitespace()))
}

/// Many `ip` commands, one a line, by one process; inside the namespace of that name where one is given.
pub(crate) fn ip_batch(netns: Option<&str>, lines: &str) -> Result<(), Trouble> {
    let mut file = tempfile::NamedTempFile::new().map_err(Trouble::io("no scratch file"))?;
    file.write_all(lines.as_bytes())
        .map_err(Trouble::io("cannot write a scratch file"))?;
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command.arg("-batch").arg(file.path());
    run(&mut command).map(drop)
}

/// Starts `command` out of reach of the terminal's Ctrl-C: we end it ourselves.
pub(crate) fn spawn(command: &mut Command) -> Result<Child, Trouble> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(0);
    command.spawn().map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Trouble::NotInstalled { program };
        }
        Trouble::Io {
            what: format!("cannot start {program}"),
            source,
        }
    })
}

/// Whether `program` can be started by its name.
pub(crate) fn require(program: &str) -> Result<(), Trouble> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    found.then_some(()).ok_or_else(|| Trouble::NotInstalled {
        program: program.to_owned(),
    })
}

/// A program that runs beside us. Dropping it asks it to end, then makes it.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
}

impl Background {
    /// Starts `command` with its output in the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self, Trouble> {
        let open = || {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(log)
                .map_err(Trouble::io(log.display().to_string()))
        };
        // Some programs end at the end of their input: the pipe stays open.
        command
            .stdin(Stdio::piped())
            .stdout(open()?)
            .stderr(open()?);
        Ok(Self::new(spawn(command)?))
    }

    pub(crate) fn new(child: Child) -> Self {
        Self { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Ends it and gives the CPU seconds it has used.
    pub(crate) fn finish(mut self) -> f64 {
        self.end()
    }

    fn end(&mut self) -> f64 {
        // Before it is waited for: then the kernel forgets.
        let used = process::cpu_s(self.child.id()).unwrap_or(0.0);
        if self.has_ended() {
            return used;
        }
        // A stopped process does not see the other signal.
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        used
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}

fn show(command: &Command) -> String {
    let arguments = command.get_args().map(|word| word.to_string_lossy());
    let program = command.get_program().to_string_lossy();
    std::iter::once(program)
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

/// How long a program may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(5);
