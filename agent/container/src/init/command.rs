//! Becoming the command.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::SigSet;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::{Refusal, Stdio};
use crate::spec::ProcessSpec;

/// Does not return where the command is executed. Exit codes and words are those of `docker run`: 127 where there is no
/// such program, 126 where it cannot be executed.
pub(super) fn execute(process: &ProcessSpec, stdio: Stdio) -> Refusal {
    match prepare(process, &stdio) {
        Ok(mut command) => {
            drop(stdio);
            let name = process.command.first().map_or("", String::as_str);
            refusal(name, &command.exec())
        }
        Err(refusal) => refusal,
    }
}

fn prepare(process: &ProcessSpec, stdio: &Stdio) -> Result<Command, Refusal> {
    take_streams(process.tty, stdio).map_err(|error| Refusal::setup("set the streams", error))?;
    enter_workdir(&process.workdir)?;
    let (name, arguments) = process.command.split_first().ok_or_else(|| Refusal {
        code: 127,
        text: "no command".to_owned(),
    })?;
    let path = process
        .env
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or("");
    let program = look_up(name, path)?;
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).env_clear();
    for entry in &process.env {
        if let Some((key, value)) = entry.split_once('=') {
            command.env(key, value);
        }
    }
    let _ = SigSet::all().thread_unblock();
    Ok(command)
}

fn take_streams(tty: bool, stdio: &Stdio) -> io::Result<()> {
    rustix::process::setsid()?;
    if tty {
        rustix::process::ioctl_tiocsctty(stdio[0].as_fd())?;
    }
    rustix::stdio::dup2_stdin(&stdio[0])?;
    rustix::stdio::dup2_stdout(&stdio[1])?;
    rustix::stdio::dup2_stderr(&stdio[2])?;
    Ok(())
}

fn enter_workdir(workdir: &Path) -> Result<(), Refusal> {
    std::env::set_current_dir(workdir).map_err(|error| Refusal {
        code: 127,
        text: format!(
            "chdir to working directory {:?}: {}",
            workdir.display().to_string(),
            describe(&error)
        ),
    })
}

/// The path to execute: the name itself where it has a slash, else the first executable file of that name in `path`.
fn look_up(name: &str, path: &str) -> Result<PathBuf, Refusal> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let mut denied = false;
    let directories = path.split(':').filter(|_| !name.is_empty());
    for directory in directories {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(directory).join(name);
        if !candidate.is_file() {
            continue;
        }
        match accessat(CWD, &candidate, Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return Err(Refusal {
            code: 126,
            text: format!("exec: {name:?}: permission denied"),
        });
    }
    Err(Refusal {
        code: 127,
        text: format!("exec: {name:?}: executable file not found in $PATH"),
    })
}

fn refusal(name: &str, error: &io::Error) -> Refusal {
    let code = if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    Refusal {
        code,
        text: format!("exec: {name:?}: {}", describe(error)),
    }
}

/// The kernel's words in lower case, without the number.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path_with(name: &str, mode: u32) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let path = format!("/nowhere:{}", dir.path().display());
        (dir, path)
    }

    #[test]
    fn a_program_is_found_in_the_commands_own_path() {
        let (dir, path) = path_with("tool", 0o755);
        assert_eq!(look_up("tool", &path).unwrap(), dir.path().join("tool"));
        assert_eq!(look_up("./tool", &path).unwrap(), Path::new("./tool"));
    }

    #[test]
    fn a_missing_program_is_127_and_a_denied_one_126() {
        let (_dir, path) = path_with("tool", 0o644);
        assert_eq!(look_up("tool", &path).unwrap_err().code, 126);
        let missing = look_up("other", &path).unwrap_err();
        assert_eq!(missing.code, 127);
        assert_eq!(
            missing.text,
            "exec: \"other\": executable file not found in $PATH"
        );
        assert_eq!(look_up("", &path).unwrap_err().code, 127);
    }
}
