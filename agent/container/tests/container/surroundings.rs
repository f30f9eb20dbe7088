//! Namespaces, environment, users: what the command finds around it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_container::attach::{self, Request, Role};
use agent_container::{
    Capabilities, ContainerSpec, EtcFiles, ExecRequest, SandboxNetwork, Shims, processes,
    read_exit, signal,
};

use crate::harness::{Attached, Container, busybox_root, eventually, program, shell};

#[test]
fn the_command_has_five_namespaces_of_its_own_and_is_process_1() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let outcome = Container::run(&shell(
        "hostname; echo $$; ls /proc | grep -c '^[0-9]*$'; cat /proc/net/dev | grep -c :; for n in uts pid ipc mnt net user; do readlink /proc/self/ns/$n; done",
    ));
    let text = outcome.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["box", "1"], "{outcome:?}");
    assert!(lines[2].parse::<u32>().unwrap() < 6);
    assert_eq!(lines[3], "1", "only lo");
    for (name, theirs) in ["uts", "pid", "ipc", "mnt", "net"].iter().zip(&lines[4..]) {
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(ours.to_str().unwrap(), *theirs);
    }
    let ours = fs::read_link("/proc/self/ns/user").unwrap();
    assert_eq!(ours.to_str().unwrap(), lines[9]);
    assert_eq!(
        before,
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap()
    );
}

#[test]
fn lo_is_up_before_the_command_and_sys_shows_only_it() {
    let outcome = Container::run(&shell(
        "ls /sys/class/net; cat /sys/class/net/lo/flags; ls /sys/fs/cgroup | wc -l",
    ));
    let text = outcome.text();
    assert!(text.starts_with("lo\n0x9\n"), "{outcome:?}");
}

#[test]
fn the_environment_is_the_default_and_what_was_asked_for() {
    let spec = ContainerSpec {
        env: vec!["A=1".into()],
        command: vec!["env".into()],
        workdir: Some("/usr".into()),
        ..shell("")
    };
    let text = Container::run(&spec).text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "A=1",
            "HOME=/root",
            "HOSTNAME=box",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
}

#[test]
fn the_command_holds_no_descriptor_and_ignores_no_signal() {
    let outcome = Container::run(&shell(
        "ls -l /proc/self/fd | grep -vc '[012] ->'; readlink /proc/self/fd/0; grep -E 'SigIgn|SigBlk' /proc/self/status",
    ));
    let text = outcome.text();
    let lines: Vec<&str> = text.lines().collect();
    // ls -l prints a total, and holds the directory.
    assert_eq!(lines[..2], ["2", "/dev/null"], "{outcome:?}");
    assert_eq!(lines[2], "SigBlk:\t0000000000000000");
    assert_eq!(ignored(lines[3]), 0);
}

#[test]
fn a_signal_ignored_above_is_not_ignored_by_the_command() {
    let dir = tempfile::tempdir().unwrap();
    Shims::new(program())
        .spawn(dir.path(), &shell("grep SigIgn /proc/self/status"))
        .unwrap();
    signal(dir.path(), libc::SIGKILL).unwrap();
    eventually(|| read_exit(dir.path()).unwrap().is_some());
    fs::remove_file(dir.path().join("exit.json")).unwrap();
    // The same specification, under a shell that ignores signals.
    let script = format!(
        "trap '' INT HUP QUIT TERM; exec {} shim {}",
        program().display(),
        dir.path().display()
    );
    let mut shim = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually(|| {
        processes(dir.path())
            .unwrap()
            .is_some_and(|ready| ready.shim.is_alive())
    });
    let mut client = Attached::to(&dir.path().join(attach::SOCKET_FILE), Role::Interactive);
    client.send(&Request::Start);
    assert_eq!(ignored(&client.finish().text()), 0);
    shim.wait().unwrap();
}

#[test]
fn a_second_container_shares_the_network_of_the_first() {
    let first = Container::spawn(&shell("echo up; sleep 100"));
    let _client = first.start_and_hear();
    let spec = ContainerSpec {
        network: SandboxNetwork::Join(first.ready.init),
        ..shell("readlink /proc/self/ns/net; readlink /proc/self/ns/uts")
    };
    let text = Container::run(&spec).text();
    let ns = |name: &str| {
        fs::read_link(format!("/proc/{}/ns/{name}", first.ready.init.pid))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(text.lines().next(), Some(ns("net").as_str()));
    assert_ne!(text.lines().nth(1), Some(ns("uts").as_str()));
}

#[test]
fn the_hosts_network_is_the_hosts() {
    let spec = ContainerSpec {
        network: SandboxNetwork::Host,
        ..shell("readlink /proc/self/ns/net")
    };
    let ours = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(Container::run(&spec).text().trim(), ours.to_str().unwrap());
}

#[test]
fn private_users_are_root_inside_and_nobody_outside() {
    for own_root in [false, true] {
        let root = busybox_root();
        let spec = ContainerSpec {
            private_users: true,
            // For the hostname.
            capabilities: Capabilities::chosen(&["SYS_ADMIN".to_owned()], &[]).unwrap(),
            rootfs: own_root.then(|| root.path().to_owned()),
            etc: EtcFiles {
                hosts: own_root.then(|| "127.0.0.1 localhost\n".to_owned()),
                ..EtcFiles::default()
            },
            ..shell(
                "id -u; cat /proc/self/uid_map; echo hi > /dev/stderr; hostname other && hostname; ls /sys/class/net; sleep 100",
            )
        };
        if own_root {
            fs::write(root.path().join("etc/hosts"), "").unwrap();
            for dir in ["proc", "sys", "dev"] {
                fs::create_dir(root.path().join(dir)).unwrap();
            }
        }
        chmod_traversable(root.path());
        let container = Container::spawn(&spec);
        let mut client = container.attach(Role::Interactive);
        client.send(&Request::Start);
        let seen = client.until_stdout("other\nlo\n");
        let words: Vec<&str> = seen.split_ascii_whitespace().collect();
        assert_eq!(words, ["0", "0", "231072", "65536", "other", "lo"]);
        let status =
            fs::read_to_string(format!("/proc/{}/status", container.ready.init.pid)).unwrap();
        assert!(status.contains("Uid:\t231072\t231072"), "{status}");
        let outcome = container
            .exec(&ExecRequest {
                command: vec![
                    "sh".into(),
                    "-c".into(),
                    "id -u; hostname; echo x > /dev/stdout".into(),
                ],
                ..ExecRequest::default()
            })
            .finish();
        assert_eq!(outcome.text(), "0\nother\nx\n", "{outcome:?}");
    }
}

#[test]
fn private_users_have_a_terminal_too() {
    let spec = ContainerSpec {
        private_users: true,
        tty: true,
        interactive: true,
        ..shell("tty && stty size && echo ok > $(tty)")
    };
    let outcome = Container::run(&spec);
    assert!(outcome.text().ends_with("ok\r\n"), "{outcome:?}");
}

/// The signals ignored according to a line of `/proc/<pid>/status`, but for the two the C library keeps to itself.
fn ignored(line: &str) -> u64 {
    let mask = line.trim().strip_prefix("SigIgn:\t").unwrap();
    u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31)
}

/// The temporary directory is root's alone; a mapped user has to get in.
fn chmod_traversable(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}
