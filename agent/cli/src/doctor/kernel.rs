//! The kernel, its devices and what it lets us do.

use std::fs::OpenOptions;
use std::io;

use rustix::process::{Resource, getrlimit};

use super::check::Check;
use super::host::Host;

pub(crate) fn version(host: &Host) -> Check {
    let what = "kernel";
    let release = match host.read("proc/sys/kernel/osrelease") {
        Ok(release) => release,
        Err(error) => return Check::warn(what, format!("unknown: {error}"), "mount /proc"),
    };
    match major_minor(&release) {
        Some(version) if version < OLDEST => Check::fail(
            what,
            format!("{release} is too old"),
            "boot Linux 5.10 or newer",
        ),
        Some(version) if version < MULTISHOT_READ => Check::warn(
            what,
            format!("{release} lacks io_uring's multishot reads, so epoll carries the frames"),
            "boot Linux 6.7 or newer for speed",
        ),
        _ => Check::ok(what, release),
    }
}

pub(crate) fn capabilities(host: &Host) -> Check {
    let what = "capabilities";
    let effective = host
        .read("proc/self/status")
        .ok()
        .and_then(|status| effective_capabilities(&status));
    let Some(effective) = effective else {
        return Check::warn(what, "unknown: /proc/self/status has none", "mount /proc");
    };
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Check::ok(what, "all that the agent needs");
    }
    Check::fail(
        what,
        format!("no {}", missing.join(", ")),
        "run the agent, and this check, as root",
    )
}

pub(crate) fn tun(host: &Host) -> Check {
    let what = "/dev/net/tun";
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .open(host.path("dev/net/tun"));
    let Err(error) = opened else {
        return Check::ok(what, "opens for reading and writing");
    };
    let (found, remedy) = match error.kind() {
        io::ErrorKind::NotFound
            if host.exists("sys/module/tun") || host.exists("sys/class/misc/tun") =>
        {
            (
                "missing, though the kernel has the driver".to_owned(),
                "mkdir -p /dev/net && mknod -m 0666 /dev/net/tun c 10 200",
            )
        }
        io::ErrorKind::NotFound => (
            "missing".to_owned(),
            "modprobe tun; if it is still missing: mkdir -p /dev/net && mknod -m 0666 /dev/net/tun c 10 200",
        ),
        io::ErrorKind::PermissionDenied => (
            "not accessible".to_owned(),
            "run as root, and in a container allow the device: --device /dev/net/tun",
        ),
        _ => (
            format!("does not open: {error}"),
            "modprobe tun, or use a kernel with CONFIG_TUN",
        ),
    };
    Check::fail(what, found, remedy)
}

/// What a TAP can leave to its peer.
pub(crate) fn offloads() -> Check {
    Check::ok("tap offloads", "not looked at")
}

pub(crate) fn io_uring(host: &Host) -> Check {
    let what = "io_uring";
    let epoll = "so epoll carries the frames";
    // Kernels before 6.6 have no such switch.
    let disabled = host.read("proc/sys/kernel/io_uring_disabled");
    match disabled.as_deref() {
        Ok("2") => Check::warn(
            what,
            format!("switched off for all (kernel.io_uring_disabled = 2), {epoll}"),
            "sysctl -w kernel.io_uring_disabled=0 for speed",
        ),
        Ok("1") => Check::ok(what, "for privileged processes only, as the agent is one"),
        _ => Check::ok(what, "not switched off"),
    }
}

pub(crate) fn open_files(_host: &Host) -> Check {
    let what = "open files";
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < ENOUGH_FILES => Check::warn(
            what,
            format!("at most {limit}, and every port takes a few"),
            format!("ulimit -n {ENOUGH_FILES}, or LimitNOFILE={ENOUGH_FILES} in the unit"),
        ),
        Some(limit) => Check::ok(what, format!("up to {limit}")),
        None => Check::ok(what, "no limit"),
    }
}

fn major_minor(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

const OLDEST: (u32, u32) = (5, 10);
/// IORING_OP_READ_MULTISHOT, io_uring_enter(2).
const MULTISHOT_READ: (u32, u32) = (6, 7);
const ENOUGH_FILES: u64 = 16_384;
/// capabilities(7): links and addresses; namespaces and mounts.
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Level;
    use std::fs;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::under(root.path());
        (root, host)
    }

    #[test]
    fn version_judges_the_release() {
        let judged = |release| version(&host(&[("proc/sys/kernel/osrelease", release)]).1).level;
        assert_eq!(judged("4.19.0-27-amd64\n"), Level::Fail);
        assert_eq!(judged("6.1.0-18-amd64\n"), Level::Warn);
        assert_eq!(judged("6.12.9\n"), Level::Ok);
        assert_eq!(judged("7.0-rc1\n"), Level::Ok);
    }

    #[test]
    fn capabilities_name_what_is_missing() {
        let (_root, without) = host(&[(
            "proc/self/status",
            "CapPrm:\t0\nCapEff:\t0000000000001000\n",
        )]);
        assert_eq!(capabilities(&without).found, "no CAP_SYS_ADMIN");
        let (_root, with) = host(&[("proc/self/status", "CapEff:\t000001ffffffffff\n")]);
        assert_eq!(capabilities(&with).level, Level::Ok);
    }

    #[test]
    fn missing_tun_says_whether_the_driver_is_there() {
        let (_root, bare) = host(&[]);
        assert!(tun(&bare).remedy.unwrap().starts_with("modprobe tun"));
        let (_root, with_driver) = host(&[("sys/module/tun/refcnt", "0")]);
        assert!(tun(&with_driver).remedy.unwrap().starts_with("mkdir"));
    }

    #[test]
    fn io_uring_switched_off_is_a_warning() {
        let (_root, off) = host(&[("proc/sys/kernel/io_uring_disabled", "2\n")]);
        assert_eq!(io_uring(&off).level, Level::Warn);
        let (_root, old) = host(&[]);
        assert_eq!(io_uring(&old).level, Level::Ok);
    }
}
