//! The kinds of mount(2) that an init makes.

use std::io;
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

pub(super) fn hardened() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}
