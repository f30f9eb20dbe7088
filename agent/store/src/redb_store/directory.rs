//! The directory of the state: made, kept private, and one agent's at a time.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::OpenStore;

/// Made where absent, for root alone. Others are shut out of a directory that is ours, which one is that has our file or
/// nothing; a group that the host's administrator has let in stays.
pub(super) fn prepare(state_dir: &Path, path: &Path) -> io::Result<()> {
    make_private(state_dir)?;
    let mode = fs::metadata(state_dir)?.permissions().mode();
    let is_open = mode & 0o007 != 0;
    let is_ours = || Ok::<_, io::Error>(path.exists() || fs::read_dir(state_dir)?.next().is_none());
    if is_open && is_ours()? {
        fs::set_permissions(state_dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Writes a file that was not there, or that nobody needs any more, for root alone.
pub(super) fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    options.mode(0o600).open(path)
}

/// Names that were made or changed in the directory survive a power loss then.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// `None` where the file system has no such locks.
pub(super) fn lock(state_dir: &Path) -> Result<Option<fs::File>, OpenStore> {
    let Ok(dir) = fs::File::open(state_dir) else {
        return Ok(None);
    };
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(dir)),
        Err(Errno::WOULDBLOCK) => Err(OpenStore::InUse {
            dir: state_dir.to_owned(),
            process: locked_by(state_dir),
        }),
        Err(_) => Ok(None),
    }
}

/// The process that has it locked, as `/proc/locks` tells (proc_locks(5)).
fn locked_by(path: &Path) -> Option<i32> {
    let inode = format!(":{}", fs::metadata(path).ok()?.ino());
    fs::read_to_string("/proc/locks")
        .ok()?
        .lines()
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(4);
            let (pid, file) = (fields.next()?, fields.next()?);
            file.ends_with(&inode).then(|| pid.parse().ok())?
        })
}
