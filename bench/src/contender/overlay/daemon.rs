//! A program that carries a host's frames, with the folder that is its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::underlay::Host;
use crate::command::Background;
use crate::counters::has_link;
use crate::interrupt::eventually;
use crate::trouble::Trouble;

/// Dropping it ends it.
// Fields drop in order: the process before its files.
pub(super) struct Daemon {
    process: Background,
    _folder: Folder,
}

impl Daemon {
    /// Starts `command` on `host` and waits until it has made `link`.
    pub(super) fn start(
        command: &mut Command,
        host: &Host,
        link: &str,
        folder: Folder,
    ) -> Result<Self, Trouble> {
        let log = folder.at("log");
        let process = host.netns.enter(|| Background::start(command, &log))??;
        let mut daemon = Self {
            process,
            _folder: folder,
        };
        let name = command.get_program().to_string_lossy().into_owned();
        eventually(
            Duration::from_secs(5),
            &format!("{name} makes {link}"),
            || {
                if daemon.process.has_ended() {
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    return Err(Trouble::Command {
                        command: name.clone(),
                        reason: said.lines().last().unwrap_or("ended").to_owned(),
                    });
                }
                Ok(has_link(&host.netns, link)?.then_some(()))
            },
        )?;
        Ok(daemon)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// A scratch directory. Dropping it removes it.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Result<Self, Trouble> {
        let made = TempDir::with_prefix("tsybench-");
        made.map(Self).map_err(Trouble::io("no scratch directory"))
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Trouble> {
        let path = self.at(name);
        let parent = path.parent().unwrap_or(self.0.path());
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(Trouble::io(path.display().to_string()))
    }
}
