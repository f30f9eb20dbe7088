//! What the command sees in the file system.
//!
//! # Theory of operation
//!
//! Nothing done here is seen outside: the mount namespace is new, and the first step makes every mount in it private.
//!
//! *On the host's files* `/proc` is mounted anew (it shows the new PID namespace), `/sys` too where the network
//! namespace is not the host's (with the control groups put back), `/dev` is the host's, and generated files are mounted over those of `/etc`,
//! where symbolic links lead to. A file that is missing there, or a link that leads nowhere (`resolv.conf` into the `/run`
//! of a resolver that is off), cannot be mounted over, and the host's files are not ours to change: then `/etc` becomes
//! an overlay whose upper layer is memory, with the file in it. What such a container writes to `/etc` is gone with it.
//!
//! *With a private root* the host's files are the lower layer of an overlay ([`private_root`](super::private_root)), and the rest is as below.
//!
//! *With a root of its own* that tree becomes the root by pivot_root(2), the old one is gone, and `/proc`, `/sys`
//! and `/dev` (memory; the usual six devices, a new `pts`, `shm`, `mqueue`) are mounted. All paths are resolved after
//! the change of root, so links in the tree lead nowhere else. In both, [`masks`](super::masks) come last. Mount points and files that are missing are made *in* the
//! tree, as Docker does; a link in place of such a file that leads nowhere is replaced.
//!
//! Devices and generated files arrive as detached mounts, taken by the shim while it still had the host's privileges:
//! a user namespace could neither make device nodes nor open the container's directory.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::mounting::{change, hardened, mount_new, open_directory};
use super::{Refusal, masks, private_root, take};
use crate::control::ContainerTask;
use crate::spec::Bind;

pub(super) fn arrange(
    task: &ContainerTask,
    fds: &mut impl Iterator<Item = OwnedFd>,
) -> Result<(), Refusal> {
    make_private().map_err(|error| Refusal::setup("make mounts private", error))?;
    if task.own_root {
        let copies = private_root::open(&task.copies)?;
        let old_root = match task.private_root {
            true => private_root::enter(),
            false => enter_root(&take(fds)?),
        };
        let old_root =
            old_root.map_err(|error| Refusal::setup("change the root directory", error))?;
        mount_proc()?;
        let _ = make_mount_point("/sys").and_then(|()| mount_sys(task));
        mount_dev(&task.devices, fds)?;
        leave_behind(&old_root)
            .map_err(|error| Refusal::setup("leave the old root directory", error))?;
        if task.private_root {
            private_root::mount_empty()
                .map_err(|error| Refusal::setup("make /run and /tmp", error))?;
            private_root::copy(&copies)?;
        }
    } else {
        mount_proc()?;
        if task.new_sys {
            remount_sys(task);
        }
    }
    // Whether missing files of /etc may be made: in a tree of the container's own, or in memory.
    let mut may_make = task.own_root;
    for name in &task.etc {
        show_file(&take(fds)?, name, &mut may_make)
            .map_err(|error| Refusal::setup(format_args!("show /etc/{name}"), error))?;
    }
    for bind in &task.binds {
        show(&take(fds)?, bind, task.own_root)
            .map_err(|error| Refusal::setup(format_args!("show {}", bind.to.display()), error))?;
    }
    match task.privileged {
        true => Ok(()),
        false => masks::apply(task),
    }
}

/// A file or a directory of the host, at a place that is made where it is missing and that may be.
fn show(mount: &OwnedFd, bind: &Bind, may_make: bool) -> io::Result<()> {
    let place = &bind.to;
    if may_make && !place.exists() {
        let is_directory = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(mount)?.st_mode)
            == rustix::fs::FileType::Directory;
        match is_directory {
            true => fs::create_dir_all(place)?,
            false => drop(make_file(place)?),
        }
    }
    attach(mount, place)?;
    match bind.read_only {
        true => masks::protect_mount(&fs::canonicalize(place)?),
        false => Ok(()),
    }
}

fn make_private() -> io::Result<()> {
    change(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)
}

/// Returns the old root, which still covers the new one for those who look up from below.
fn enter_root(root: &OwnedFd) -> io::Result<OwnedFd> {
    let old_root = open_directory(Path::new("/"))?;
    // Any directory will do to hang it up for a moment; this one exists everywhere.
    attach(root, Path::new("/proc"))?;
    make_private()?;
    let new_root = open_directory(Path::new("/proc"))?;
    rustix::process::fchdir(&new_root)?;
    nix::unistd::pivot_root(".", ".")?;
    std::env::set_current_dir("/")?;
    Ok(old_root)
}

fn leave_behind(old_root: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(old_root)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")
}

fn mount_proc() -> Result<(), Refusal> {
    make_mount_point("/proc")
        .and_then(|()| mount_new("proc", "/proc", hardened(), None))
        .map_err(|error| Refusal::setup("mount /proc", error))
}

/// Without it the container can do; a user namespace on a network of others may not mount it.
fn mount_sys(task: &ContainerTask) -> io::Result<()> {
    let mut flags = hardened();
    flags.set(MsFlags::MS_RDONLY, !task.privileged);
    mount_new("sysfs", "/sys", flags, None)
}

/// Where it is not permitted the host's stays, which is right in all but the list of interfaces.
fn remount_sys(task: &ContainerTask) {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let control_groups = open_tree(CWD, CONTROL_GROUPS, flags);
    if mount_sys(task).is_ok()
        && let Ok(control_groups) = control_groups
    {
        let _ = attach(&control_groups, Path::new(CONTROL_GROUPS));
    }
}

fn mount_dev(devices: &[String], fds: &mut impl Iterator<Item = OwnedFd>) -> Result<(), Refusal> {
    let failed = |error: io::Error| Refusal::setup("make /dev", error);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    make_mount_point("/dev").map_err(failed)?;
    mount_new("tmpfs", "/dev", flags, Some("mode=755,size=65536k")).map_err(failed)?;
    for name in devices {
        let point = Path::new("/dev").join(name);
        let device = take(fds)?;
        fs::File::create(&point)
            .and_then(|_| attach(&device, &point))
            .map_err(failed)?;
    }
    for (link, target) in DEVICE_LINKS {
        symlink(target, link).map_err(failed)?;
    }
    mount_dev_directories().map_err(failed)
}

fn mount_dev_directories() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let with_group = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    let without_group = "newinstance,ptmxmode=0666,mode=0620";
    make_mount_point("/dev/pts")?;
    // Group 5 (tty) may not exist in a small user namespace.
    mount_new("devpts", "/dev/pts", flags, Some(with_group))
        .or_else(|_| mount_new("devpts", "/dev/pts", flags, Some(without_group)))?;
    make_mount_point("/dev/shm")?;
    mount_new(
        "tmpfs",
        "/dev/shm",
        hardened(),
        Some("mode=1777,size=65536k"),
    )?;
    make_mount_point("/dev/mqueue")?;
    // Kernels without POSIX queues exist.
    let _ = mount_new("mqueue", "/dev/mqueue", hardened(), None);
    Ok(())
}

fn show_file(file: &OwnedFd, name: &str, may_make: &mut bool) -> io::Result<()> {
    let path = Path::new("/etc").join(name);
    let place = match fs::canonicalize(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !*may_make {
                overlay_etc()?;
                *may_make = true;
            }
            make_file(&path)?
        }
        outcome => outcome?,
    };
    attach(file, &place)
}

/// Makes a plain file, in place of a link that leads nowhere: what it led to would be shared with others.
fn make_file(path: &Path) -> io::Result<PathBuf> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(path)?;
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create(path)?;
    Ok(path.to_owned())
}

fn overlay_etc() -> io::Result<()> {
    let lower = open_directory(Path::new("/etc"))?;
    mount_new(
        "tmpfs",
        "/etc",
        MsFlags::MS_NOSUID,
        Some("mode=755,size=16384k"),
    )?;
    fs::create_dir("/etc/upper")?;
    fs::create_dir("/etc/work")?;
    let layers = format!(
        "lowerdir=/proc/self/fd/{},upperdir=/etc/upper,workdir=/etc/work",
        lower.as_raw_fd()
    );
    mount_new("overlay", "/etc", MsFlags::MS_NOSUID, Some(&layers))
}

fn attach(detached: &OwnedFd, point: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(detached.as_fd(), "", CWD, point, flags)?)
}

fn make_mount_point(path: &str) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];
