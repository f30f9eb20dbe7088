//! The kinds of mount(2) that an init makes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};

pub(super) fn mount_new(
    kind: &str,
    point: impl AsRef<Path>,
    flags: MsFlags,
    data: Option<&str>,
) -> io::Result<()> {
    Ok(mount(Some(kind), point.as_ref(), Some(kind), flags, data)?)
}

pub(super) fn change(point: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(
        None::<&str>,
        point,
        None::<&str>,
        flags,
        None::<&str>,
    )?)
}

/// To find it again when something else is mounted over it.
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?)
}

pub(super) fn hardened() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}
