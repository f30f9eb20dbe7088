//! What a container does not get to see of the kernel and of the host, and what it may see but not change.
//!
//! # Theory of operation
//!
//! Root in a container is the host's root with fewer capabilities, and files know users alone: what is written in `/proc`
//! and `/sys` would be the host's. So the lists of Docker apply (`DefaultSpec` in moby's `daemon/pkg/oci/defaults.go`): some
//! files are covered, others cannot be written to. The directories that the agent names, where it has its own state, are
//! covered as well. Covers are mounts, and a container without SYS_ADMIN takes none away; nor does one that makes itself
//! a user namespace, because the kernel locks the mounts that it brings along (mount_namespaces(7)).
//!
//! There are no device control groups here. In a root directory of its own a container gets the usual devices as mounts
//! of their own, and no other device node opens, whoever makes it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::Refusal;
use super::mounting::{change, hardened, mount_new};
use crate::control::ContainerTask;

pub(super) fn apply(task: &ContainerTask) -> Result<(), Refusal> {
    for path in COVERED {
        cover(Path::new(path)).map_err(|error| Refusal::setup(format!("cover {path}"), error))?;
    }
    // Who can take the protection away, and does so at once, is spared it where nothing that it changes is anybody else's file.
    let sets_kernel = task.private_root && task.process.capabilities.hold_sys_admin();
    for path in READ_ONLY {
        if sets_kernel && path == KERNEL_SETTINGS {
            continue;
        }
        protect(Path::new(path))
            .map_err(|error| Refusal::setup(format!("protect {path}"), error))?;
    }
    for path in &task.hidden {
        cover(path).map_err(|error| Refusal::setup(format!("cover {}", path.display()), error))?;
    }
    restrict(|point| point.starts_with("/sys"), MsFlags::MS_RDONLY)
        .map_err(|error| Refusal::setup("protect /sys", error))?;
    if task.own_root {
        let may_hold_any = |point: &Path| point == Path::new("/dev") || !point.starts_with("/dev");
        restrict(may_hold_any, MsFlags::MS_NODEV)
            .map_err(|error| Refusal::setup("shut devices out of the root directory", error))?;
    }
    Ok(())
}

/// Puts something empty over a file or a directory, if there is one that can be reached.
fn cover(path: &Path) -> io::Result<()> {
    let outcome = match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let flags = hardened() | MsFlags::MS_RDONLY;
            mount_new("tmpfs", path, flags, Some("mode=555"))
        }
        Ok(_) => bind(Path::new("/dev/null"), path),
        Err(error) => Err(error),
    };
    unless_out_of_reach(outcome)
}

/// Leaves a part of `/proc` to be read.
fn protect(path: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | hardened();
    unless_out_of_reach(bind(path, path).and_then(|()| change(path, flags)))
}

/// Adds `flags` to those mounts whose points `applies` chooses.
fn restrict(applies: impl Fn(&Path) -> bool, flags: MsFlags) -> io::Result<()> {
    let table = fs::read("/proc/self/mountinfo")?;
    for line in table.split(|byte| *byte == b'\n') {
        let Some(found) = Mount::parse(line) else {
            continue;
        };
        if !applies(&found.point) {
            continue;
        }
        let all = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | found.flags | flags;
        match change(&found.point, all) {
            // Under another mount, where nobody gets to.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            outcome => unless_out_of_reach(outcome)?,
        }
    }
    Ok(())
}

/// Leaves a mount to be read.
pub(super) fn protect_mount(point: &Path) -> io::Result<()> {
    restrict(|other| other == point, MsFlags::MS_RDONLY)
}

/// Where something is mounted.
pub(super) fn mount_points() -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let lines = table.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(Mount::parse)
        .map(|found| found.point)
        .collect())
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    Ok(mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?)
}

/// What this kernel does not have, and what a user namespace cannot reach, needs no cover.
fn unless_out_of_reach(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|code| OUT_OF_REACH.contains(&code)) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// A line of `/proc/self/mountinfo`, proc_pid_mountinfo(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    /// Those that a remount has to repeat; the kernel keeps how access times are handled by itself.
    flags: MsFlags,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let mut flags = MsFlags::empty();
        for option in options.split(|byte| *byte == b',') {
            flags |= match option {
                b"ro" => MsFlags::MS_RDONLY,
                b"nosuid" => MsFlags::MS_NOSUID,
                b"nodev" => MsFlags::MS_NODEV,
                b"noexec" => MsFlags::MS_NOEXEC,
                _ => MsFlags::empty(),
            };
        }
        Some(Self {
            point: OsString::from_vec(unescaped(point)).into(),
            flags,
        })
    }
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| first == b'\\');
        let digits = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

const OUT_OF_REACH: [i32; 3] = [libc::ENOENT, libc::ENOTDIR, libc::EACCES];
const COVERED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    KERNEL_SETTINGS,
    "/proc/sysrq-trigger",
];
const KERNEL_SETTINGS: &str = "/proc/sys";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_what_a_remount_has_to_repeat() {
        let line = b"36 35 98:0 / /mnt/a\\040b\\134c rw,nosuid,noexec,relatime shared:1 - ext4 /dev/root rw";
        let expected = Mount {
            point: "/mnt/a b\\c".into(),
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        };
        assert_eq!(Mount::parse(line), Some(expected));
        assert_eq!(Mount::parse(b""), None);
        assert_eq!(Mount::parse(b"36 35 98:0 /"), None);
    }

    #[test]
    fn what_looks_like_an_escape_and_is_none_stays() {
        for text in [&b"a\\"[..], b"\\04", b"\\9zz", b"\\777", b""] {
            assert_eq!(unescaped(text), text);
        }
    }
}
