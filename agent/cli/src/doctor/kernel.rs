//! The kernel, its devices and what it lets us do.

use std::fs::OpenOptions;
use std::io;

use agent_daemon::probe::OffloadMask;
use agent_host::check_rights;
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
        _ => Check::ok(what, release),
    }
}

pub(crate) fn rights() -> Check {
    match check_rights() {
        Ok(()) => Check::ok("rights", "all capabilities that the agent needs"),
        Err(missing) => Check::fail(
            "rights",
            format!("no {}", missing.names.join(", ")),
            "run the agent, and this check, as root",
        ),
    }
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

/// What a TAP hands over unfinished.
pub(crate) fn offloads(probed: &Result<OffloadMask, String>) -> Check {
    let what = "TAP offloads";
    match probed {
        Ok(mask) if mask.has_uso() => Check::ok(what, "checksums, TCP and UDP superframes"),
        Ok(mask) if mask.has_tso() => Check::ok(what, "checksums and TCP superframes"),
        Ok(_) => Check::warn(
            what,
            "no superframes, so every packet is carried by itself",
            "boot a newer kernel for speed",
        ),
        Err(reason) => Check::fail(what, reason, "see the checks of rights and /dev/net/tun"),
    }
}

pub(crate) fn io_uring(host: &Host, probed: &Result<(), String>) -> Check {
    let what = "io_uring";
    let Err(reason) = probed else {
        let release = host.read("proc/sys/kernel/osrelease").unwrap_or_default();
        return match major_minor(&release) {
            Some(version) if version < UNCOUNTED => Check::ok(
                what,
                "carries the frames; before Linux 6.15 waiting for them counts as waiting for a disk (\"wa\" of top)",
            ),
            _ => Check::ok(what, "carries the frames"),
        };
    };
    // Kernels before 6.6 have no such switch.
    let disabled = host.read("proc/sys/kernel/io_uring_disabled");
    let remedy = match disabled.as_deref() {
        Ok("2") => "for speed: sysctl -w kernel.io_uring_disabled=0",
        Ok("1") => "for speed: run as root, or sysctl -w kernel.io_uring_disabled=0",
        _ => {
            "for speed: boot Linux 6.7 or newer, and permit io_uring in a container's seccomp profile"
        }
    };
    let found = format!("not usable ({reason}), so epoll carries the frames");
    Check::warn(what, found, remedy)
}

/// Virtual machines under KVM: whether a core looks for work a while before it sleeps, as it does by default, because
/// its waking is the hypervisor's business and takes tens of microseconds.
pub(crate) fn idle_cores(host: &Host) -> Option<Check> {
    let governor = host.read("sys/devices/system/cpu/cpuidle/current_governor");
    let polls = host.read("sys/module/haltpoll/parameters/guest_halt_poll_ns");
    (governor.ok()? == "haltpoll" && polls.ok()? == "0").then(|| {
        Check::warn(
            "idle cores",
            "go to sleep at once, and a virtual machine's wake slowly",
            "for short round trips: echo 200000 > /sys/module/haltpoll/parameters/guest_halt_poll_ns",
        )
    })
}

pub(crate) fn open_files() -> Check {
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

const OLDEST: (u32, u32) = (5, 10);
/// The first that has IORING_ENTER_NO_IOWAIT.
const UNCOUNTED: (u32, u32) = (6, 15);
const ENOUGH_FILES: u64 = 16_384;

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
        assert_eq!(judged("6.12.9\n"), Level::Ok);
        assert_eq!(judged("7.0-rc1\n"), Level::Ok);
    }

    #[test]
    fn missing_tun_says_whether_the_driver_is_there() {
        let (_root, bare) = host(&[]);
        assert!(tun(&bare).remedy.unwrap().starts_with("modprobe tun"));
        let (_root, with_driver) = host(&[("sys/module/tun/refcnt", "0")]);
        assert!(tun(&with_driver).remedy.unwrap().starts_with("mkdir"));
    }

    #[test]
    fn io_uring_that_is_not_usable_says_why_and_what_to_do() {
        let (_root, off) = host(&[("proc/sys/kernel/io_uring_disabled", "2\n")]);
        assert_eq!(
            io_uring(&off, &Err("Operation not permitted".into())).to_string(),
            "warn  io_uring: not usable (Operation not permitted), so epoll carries the frames; \
             for speed: sysctl -w kernel.io_uring_disabled=0"
        );
        assert_eq!(io_uring(&off, &Ok(())).level, Level::Ok);
    }

    #[test]
    fn io_uring_says_what_its_waiting_looks_like() {
        let found =
            |release| io_uring(&host(&[("proc/sys/kernel/osrelease", release)]).1, &Ok(())).found;
        assert_eq!(found("6.15.0\n"), "carries the frames");
        assert!(found("6.14.9\n").ends_with("(\"wa\" of top)"));
    }

    #[test]
    fn cores_of_a_virtual_machine_that_sleep_at_once_are_named() {
        let judged = |governor, nanoseconds| {
            let files = [
                ("sys/devices/system/cpu/cpuidle/current_governor", governor),
                (
                    "sys/module/haltpoll/parameters/guest_halt_poll_ns",
                    nanoseconds,
                ),
            ];
            idle_cores(&host(&files).1).map(|check| check.level)
        };
        assert_eq!(judged("haltpoll\n", "0\n"), Some(Level::Warn));
        assert_eq!(judged("haltpoll\n", "200000\n"), None);
        assert_eq!(judged("menu\n", "0\n"), None);
        assert_eq!(idle_cores(&host(&[]).1), None);
    }

    #[test]
    fn offloads_are_named() {
        assert_eq!(offloads(&Ok(OffloadMask::TSO)).level, Level::Ok);
        assert_eq!(offloads(&Ok(OffloadMask::NONE)).level, Level::Warn);
        assert_eq!(
            offloads(&Err("cannot create a TAP".into())).level,
            Level::Fail
        );
    }
}
