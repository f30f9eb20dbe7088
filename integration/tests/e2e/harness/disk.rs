//! Disks that run full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::run;

/// A file system of its own for the agent's state, which can be filled.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={DISK}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(at))
        .ok();
        Self(at.to_owned())
    }

    /// Runs `act` while there is room for so many pages and no more.
    pub(crate) fn with_room<T>(&self, pages: u64, act: impl FnOnce() -> T) -> T {
        let path = self.0.join("ballast");
        let mut ballast = File::create(&path).unwrap();
        while ballast.write_all(&[1; 4096]).is_ok() {}
        let length = ballast.metadata().unwrap().len() / PAGE * PAGE;
        ballast
            .set_len(length.saturating_sub(pages * PAGE))
            .unwrap();
        let outcome = act();
        fs::remove_file(path).unwrap();
        outcome
    }
}

impl SmallDisk {
    pub(crate) fn clear(&self) {
        for entry in fs::read_dir(&self.0).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The agent may still have files open there.
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

/// Room for the store and some change.
const DISK: &str = "8m";
const PAGE: u64 = 4096;
