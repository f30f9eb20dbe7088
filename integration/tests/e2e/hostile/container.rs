//! A container against its host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::Host;

#[test]
fn a_container_holds_the_capabilities_that_docker_gives() {
    let host = Host::start();
    host.idle("plain", "bridge", &[]);
    let granted = DOCKERS & agents_own();
    let executed = host.exec("plain", STATUS).ok();
    for restart in [["stop", "-t0", "plain"].as_slice(), &["start", "plain"]] {
        host.tapestry(restart).ok();
    }
    let again = host.exec("plain", STATUS).ok();
    for status in [status_of(&host, &[]), executed, again] {
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(mask(&status, set), granted, "{set}");
        }
        for set in ["CapInh", "CapAmb", "NoNewPrivs"] {
            assert_eq!(mask(&status, set), 0, "{set}");
        }
    }
    assert_ne!(
        host.exec("plain", "ip addr add 10.9.9.9/32 dev eth0")
            .status,
        0
    );
    host.exec(
        "plain",
        "ping -n -c1 -W2 $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')",
    )
    .ok();
}

#[test]
fn capabilities_are_added_and_dropped_as_docker_does() {
    let host = Host::start();
    for (options, expected) in [
        (&["--cap-add", "net_admin"][..], DOCKERS | NET_ADMIN),
        (&["--cap-drop", "CAP_NET_RAW"], DOCKERS & !NET_RAW),
        (&["--cap-drop", "ALL"], 0),
        (&["--cap-drop", "ALL", "--cap-add", "NET_RAW"], NET_RAW),
        (&["--cap-add", "ALL", "--cap-drop", "NET_RAW"], !NET_RAW),
        (&["--privileged"], u64::MAX),
        (&["--userns", "private"], DOCKERS),
    ] {
        let status = status_of(&host, options);
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(
                mask(&status, set),
                expected & agents_own(),
                "{options:?} {set}"
            );
        }
    }
    host.idle("lifted", "bridge", &["--cap-add", "NET_ADMIN"]);
    host.exec("lifted", "ip addr add 10.9.9.9/32 dev eth0").ok();
    let told = host.container("lifted");
    assert!(told.capabilities.contains(&"NET_ADMIN".to_owned()) && !told.privileged);
    let refused = host
        .tapestry(&["run", "--cap-add", "NET_ADMN", "--", "true"])
        .refused(125);
    assert!(
        refused.contains("\"NET_ADMN\" is no capability"),
        "{refused}"
    );
}

#[test]
fn a_container_can_neither_read_nor_change_the_kernel_by_proc_and_sys() {
    let host = Host::start();
    host.idle("plain", "bridge", &[]);
    host.idle("on-host", "host", &[]);
    for name in ["plain", "on-host"] {
        for file in [
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/interrupts",
        ] {
            let read = host.exec(name, &format!("head -c 16 {file} | wc -c")).ok();
            assert_eq!(read.trim(), "0", "{name} {file}");
        }
        assert_eq!(host.exec(name, "ls /sys/firmware").ok(), "", "{name}");
        for write in [
            "echo 1 >/proc/sys/kernel/panic",
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
            "echo h >/proc/sysrq-trigger",
            "for irq in /proc/irq/*/smp_affinity; do echo 1 >$irq || exit 1; done",
            "echo 9000 >/sys/class/net/lo/mtu",
            "mkdir /sys/fs/cgroup/of-a-container",
            "mount -t tmpfs none /proc/sys",
            "umount /proc/kcore",
            "unshare -Urm umount /proc/kcore",
            "unshare -Urmpf mount -t proc proc /mnt",
            "unshare -Urmn mount -t sysfs sysfs /mnt",
            "unshare -Urm mount -o remount,rw,bind /proc/sys",
        ] {
            let tried = host.exec(name, write);
            assert_ne!(tried.status, 0, "{name}: {write}");
        }
    }
    host.idle("lifted", "bridge", &["--privileged"]);
    host.exec("lifted", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        .ok();
    host.exec("lifted", "echo 9000 >/sys/class/net/lo/mtu").ok();
    let keys = host
        .exec("lifted", "head -c 1 /proc/interrupts | wc -c")
        .ok();
    assert_eq!(keys.trim(), "1");
}

#[test]
fn a_container_cannot_reach_the_agent_or_its_state() {
    let host = Host::start();
    let others = host.dir().join("others");
    fs::write(&others, "seen\n").unwrap();
    host.idle("plain", "bridge", &[]);
    host.idle("on-host", "host", &[]);
    host.idle("in-root", "bridge", &["--rootfs", "/"]);
    host.idle("nesting", "bridge", &["--cap-add", "SYS_ADMIN"]);
    let confined = ["plain", "on-host", "in-root", "nesting"];
    let state = host.state_dir().display().to_string();
    for name in confined {
        assert_eq!(
            host.exec(name, &format!("ls -A {state}")).ok(),
            "",
            "{name}"
        );
        let seen = host.exec(name, &format!("cat {}", others.display())).ok();
        assert_eq!(seen, "seen\n", "the host's other files stay");
    }
    // A restarted agent makes its socket anew.
    for restarted in [false, true] {
        if restarted {
            host.stop_agent(Signal::KILL);
            host.launch();
        }
        for name in confined {
            let nestings = match name {
                "nesting" => &["unshare -Urpf ", "unshare -pf "][..],
                _ => &["", "setsid -f -w "],
            };
            for nested in nestings {
                let asked = host.exec(name, &ask(&host, nested));
                assert!(
                    asked.stdout.contains("does not serve its own container"),
                    "{name} {nested}: {asked:?}"
                );
                assert!(!asked.stdout.contains("\"networks\""), "{asked:?}");
            }
        }
        assert_eq!(host.networks().len(), 3, "beside them it serves");
    }
    host.idle("lifted", "bridge", &["--privileged"]);
    let asked = host.exec("lifted", &ask(&host, "")).ok();
    assert!(asked.contains("\"name\":\"bridge\""), "{asked}");
    assert_ne!(host.exec("lifted", &format!("ls -A {state}")).ok(), "");
}

/// With a user namespace it could mount the control groups, the agent's own among them, and kill everybody in there.
#[test]
fn a_container_cannot_make_a_user_namespace_and_kill_the_agent_from_there() {
    let host = Host::start();
    host.idle("plain", "none", &[]);
    host.idle("users", "none", &["--userns", "private"]);
    host.idle("nesting", "none", &["--cap-add", "SYS_ADMIN"]);
    for name in ["plain", "users"] {
        for flags in ["-U", "-Ur", "-UrCm", "-Urn", "-Urpf"] {
            let tried = host.exec(name, &format!("unshare {flags} true"));
            assert!(
                tried.status != 0 && tried.stderr.contains("not permitted"),
                "{name} {flags}: {tried:?}"
            );
        }
        // Threads and processes go on being made.
        host.exec(
            name,
            "(sleep 0 & wait) && xargs -P 2 -n 1 echo </etc/hostname",
        )
        .ok();
        assert_eq!(mask(&host.exec(name, STATUS).ok(), "NoNewPrivs"), 0);
    }
    host.exec("nesting", "unshare -Ur true").ok();
}

#[test]
fn no_device_opens_in_a_root_directory_but_the_usual_ones() {
    let host = Host::start();
    let root = busybox_root(&host);
    let options = ["--rootfs", root.as_str()];
    host.idle("plain", "bridge", &options);
    let make = "mknod -m 666 /tmp/full c 1 7 && mknod -m 666 /dev/other c 1 7";
    host.exec("plain", make).ok();
    for device in ["/tmp/full", "/dev/other"] {
        let opened = host.exec("plain", &format!("head -c 1 {device}"));
        assert!(
            opened.status != 0 && opened.stderr.contains("ermission denied"),
            "{device}: {opened:?}"
        );
    }
    let usual = "head -c 1 /dev/zero | wc -c && echo x >/dev/null && ls /dev/pts /dev/shm";
    assert!(host.exec("plain", usual).ok().starts_with("1\n"));
    host.idle(
        "lifted",
        "bridge",
        &[&options[..], &["--privileged"]].concat(),
    );
    host.exec(
        "lifted",
        &make
            .replace("other", "another")
            .replace("/tmp/full", "/tmp/full2"),
    )
    .ok();
    assert_eq!(
        host.exec("lifted", "head -c 1 /tmp/full2 | wc -c").ok(),
        "1\n"
    );
}

#[test]
fn the_agents_own_directory_is_no_root_directory() {
    let host = Host::start();
    let state = host.state_dir();
    let refused = host
        .tapestry(&["run", "--rootfs", state.to_str().unwrap(), "--", "sh"])
        .refused(125);
    assert!(refused.contains("is the agent's own"), "{refused}");
}

/// While an exec is on its way into a container, the program of the agent runs there; who could open it for writing would
/// be the host's root at the next start.
#[test]
fn a_container_cannot_get_hold_of_the_agents_program() {
    let host = Host::start();
    let root = busybox_root(&host);
    host.idle("plain", "bridge", &["--rootfs", root.as_str()]);
    let watch =
        "while :; do for p in /proc/[0-9]*; do readlink $p/exe; done; done >/tmp/seen 2>/dev/null";
    let mut watching = host.spawn(&["exec", "plain", "--", "sh", "-c", watch]);
    for _ in 0..20 {
        host.exec("plain", "true").ok();
    }
    let seen = fs::read_to_string(Path::new(&root).join("tmp/seen")).unwrap();
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(seen.contains("busybox"), "{seen}");
    assert!(!seen.contains("tapestry"), "it was seen");
}

#[test]
fn what_the_agent_writes_is_for_its_user_alone_whatever_the_umask() {
    let host = Host::without_agent();
    let state = host.state_dir();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    host.launch_with(|agent| {
        let program = agent.get_program().to_owned();
        let arguments: Vec<_> = agent.get_args().map(ToOwned::to_owned).collect();
        *agent = std::process::Command::new("sh");
        agent
            .args(["-c", "umask 0; exec \"$@\"", "sh"])
            .arg(program)
            .args(arguments)
            .env("SSLKEYLOGFILE", host.dir().join("keys"));
    });
    host.tapestry(&["cluster", "init", "--advertise", "198.51.100.1"])
        .ok();
    host.idle("plain", "bridge", &["-e", "SECRET=1"]);
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&host.dir().join("keys")), 0o600);
    assert_eq!(mode(&host.socket()), 0o660);
    let keys = ["cluster/ca.key", "cluster/host.key", "state.redb"];
    for file in keys {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
    let spec = state
        .join("containers")
        .join(host.container("plain").summary.id);
    assert_eq!(mode(&spec.join("spec.json")), 0o600);
    // What a container's other users have to read.
    assert_eq!(mode(&spec.join("resolv.conf")), 0o644);
}

fn mode(path: &Path) -> u32 {
    let found = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    found.permissions().mode() & 0o7777
}

/// A shell's words that ask the agent for its networks.
fn ask(host: &Host, nested: &str) -> String {
    let socket = host.socket().display().to_string();
    format!("{nested}curl -s --max-time 5 --unix-socket {socket} http://tapestry/v1/networks")
}

fn status_of(host: &Host, options: &[&str]) -> String {
    let command = ["--", "cat", "/proc/self/status"];
    host.tapestry(&[&["run", "--rm"], options, &command[..]].concat())
        .ok()
}

/// A field of `/proc/PID/status`, read as hexadecimal.
fn mask(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let value = line.unwrap_or_else(|| panic!("no {field} in {status}"));
    u64::from_str_radix(value.trim_start_matches(':').trim(), 16).unwrap()
}

/// The agent gives no more than it has.
fn agents_own() -> u64 {
    mask(&fs::read_to_string("/proc/self/status").unwrap(), "CapPrm")
}

/// A root directory with busybox and nothing else.
fn busybox_root(host: &Host) -> String {
    let root = host.dir().join("root");
    for dir in ["bin", "tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in [
        "sh", "cat", "head", "ls", "mknod", "readlink", "sleep", "true", "wc",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    root.to_str().unwrap().to_owned()
}

const STATUS: &str = "cat /proc/self/status";
const DOCKERS: u64 = 0xa804_25fb;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
