//! The host's files as the container's own: an overlay of which the upper layer is memory.
//!
//! # Theory of operation
//!
//! An overlay does not look into what is mounted in its lower layer, so the host's further mounts with files of the system (`/usr` or `/var` on a disk of their own) get an
//! overlay each, at the same place. `/run` and `/tmp` are empty, as after a boot; `/proc`, `/sys` and `/dev` come as in any root of
//! a container's own.
//!
//! The upper layers are in one tmpfs, which nobody sees: it is mounted over `/sys`, where the host's tree is left behind soon.
//! Memory, not the disk, because the host's root may not be an overlay's lower layer and hold its upper one as well
//! (Documentation/filesystems/overlayfs.rst, "Sharing and copying layers"), nor lie in one another (ELOOP). So what is to be seen over
//! the host's files is copied. It all goes with the last process of the container.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::Refusal;
use super::masks::mount_points;
use super::mounting::{mount_new, open_directory};

/// Directories that are to be copied, held while the host's tree is in reach.
pub(super) fn open(copies: &[PathBuf]) -> Result<Vec<OwnedFd>, Refusal> {
    let opened = copies.iter().map(|path| {
        open_directory(path)
            .map_err(|error| Refusal::setup(format_args!("copy {}", path.display()), error))
    });
    opened.collect()
}

/// Changes the root to it. Returns the old one, which still covers the new one for those who look up from below.
pub(super) fn enter() -> io::Result<OwnedFd> {
    let old_root = open_directory(Path::new("/"))?;
    let further = further_mounts()?;
    mount_new("tmpfs", SCRATCH, MsFlags::MS_NODEV, Some("mode=700"))?;
    let root = Path::new(SCRATCH).join("root");
    fs::create_dir(&root)?;
    overlay(0, &old_root, &root)?;
    for (number, (point, mounted)) in further.iter().enumerate() {
        let place = root.join(point.strip_prefix("/").unwrap_or(point));
        if place.is_dir() {
            overlay(number + 1, mounted, &place)?;
        }
    }
    rustix::process::fchdir(&open_directory(&root)?)?;
    nix::unistd::pivot_root(".", ".")?;
    std::env::set_current_dir("/")?;
    Ok(old_root)
}

/// Copies what the directories hold to the root that is entered, where `/proc` is.
pub(super) fn copy(copies: &[OwnedFd]) -> Result<(), Refusal> {
    for from in copies {
        let from = PathBuf::from(format!("/proc/self/fd/{}", from.as_raw_fd()));
        copy_into(&from, Path::new("/")).map_err(|error| Refusal::setup("copy files", error))?;
    }
    Ok(())
}

/// Directories that are there stay as they are; everything else is replaced, and belongs to root.
fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !place.is_dir() {
                fs::create_dir(&place)?;
                fs::set_permissions(&place, entry.metadata()?.permissions())?;
            }
            copy_into(&source, &place)?;
            continue;
        }
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &place)?;
        } else if kind.is_file() {
            fs::copy(&source, &place)?;
        }
    }
    Ok(())
}

/// Empty directories for what runs and for everybody, when the old root has gone.
pub(super) fn mount_empty() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_new("tmpfs", "/run", flags, Some("mode=755"))?;
    mount_new("tmpfs", "/tmp", flags, Some("mode=1777"))?;
    fs::create_dir("/run/lock")
}

/// `lower` with an upper layer of its own, at a place.
fn overlay(number: usize, lower: &OwnedFd, place: &Path) -> io::Result<()> {
    let layer = |name: &str| Path::new(SCRATCH).join(format!("{name}{number}"));
    let (upper, work) = (layer("upper"), layer("work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    // The root of an overlay has the mode and the owner of its upper layer.
    let like = rustix::fs::fstat(lower)?;
    rustix::fs::chmod(&upper, rustix::fs::Mode::from_raw_mode(like.st_mode))?;
    let layers = format!(
        "lowerdir=/proc/self/fd/{},upperdir={},workdir={}",
        lower.as_raw_fd(),
        upper.display(),
        work.display()
    );
    mount_new("overlay", place, MsFlags::empty(), Some(&layers))
}

/// The host's mounts with files of the system, those that contain others first.
fn further_mounts() -> io::Result<Vec<(PathBuf, OwnedFd)>> {
    let is_systems = |point: &PathBuf| {
        let mut parts = point.components().skip(1);
        let first = parts.next().map(|part| part.as_os_str().to_owned());
        let is_system = first.is_some_and(|first| SYSTEM.iter().any(|name| first == **name));
        is_system && parts.count() <= 1 && point.is_dir()
    };
    let mut points: Vec<PathBuf> = mount_points()?.into_iter().filter(is_systems).collect();
    points.sort();
    points.dedup();
    points
        .into_iter()
        .map(|point| open_directory(&point).map(|mounted| (point, mounted)))
        .collect()
}

const SCRATCH: &str = "/sys";
/// Directories of the root that systems have their files in.
const SYSTEM: [&str; 12] = [
    "bin", "etc", "home", "lib", "lib64", "nix", "opt", "root", "sbin", "srv", "usr", "var",
];
