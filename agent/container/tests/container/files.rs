//! What the command sees of the file system.

use std::fs;
use std::process::{Command, Stdio};

use agent_container::attach::{self, Request, Role};
use agent_container::{ContainerSpec, EtcFiles, Shims, processes, read_exit, signal, start};

use crate::harness::{Attached, Container, busybox_root, eventually, program, shell};

#[test]
fn generated_files_are_seen_inside_only_and_follow_the_agents_updates() {
    let before = fs::read_to_string("/etc/hosts").unwrap();
    let spec = ContainerSpec {
        etc: EtcFiles {
            resolv_conf: Some("nameserver 10.0.0.1\n".into()),
            hosts: Some("127.0.0.1 localhost\n".into()),
            hostname: Some("box\n".into()),
        },
        interactive: true,
        ..shell("cat /etc/resolv.conf /etc/hosts /etc/hostname; read x; cat /etc/hosts")
    };
    let container = Container::spawn(&spec);
    let mut client = container.attach(Role::Interactive);
    client.send(&Request::Start);
    client.until_stdout("nameserver 10.0.0.1\n127.0.0.1 localhost\nbox\n");
    fs::write(container.path().join("hosts"), "10.0.0.9 other\n").unwrap();
    client.send(&Request::Stdin(b"\n".to_vec()));
    client.until_stdout("10.0.0.9 other");
    assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), before);
}

#[test]
fn a_root_of_its_own_is_all_the_command_sees() {
    let root = busybox_root();
    std::os::unix::fs::symlink(
        "../run/systemd/resolve/stub-resolv.conf",
        root.path().join("etc/resolv.conf"),
    )
    .unwrap();
    let spec = ContainerSpec {
        rootfs: Some(root.path().to_owned()),
        etc: EtcFiles {
            resolv_conf: Some("nameserver 10.0.0.1\n".into()),
            hosts: Some("127.0.0.1 localhost\n".into()),
            hostname: None,
        },
        ..shell(
            "ls /; ls /dev; cat /etc/resolv.conf /etc/hosts; ps | grep -c busybox; echo x > /dev/null; cat /proc/mounts | grep -c ' / '; ls /sys/class/net; echo hi > /dev/stdout; echo y > /written",
        )
    };
    let outcome = Container::run(&spec);
    let text = outcome.text();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let lines: Vec<&str> = text.lines().collect();
    let names: Vec<&str> = lines
        .iter()
        .copied()
        .take_while(|line| *line != "fd" && *line != "core")
        .collect();
    assert!(
        names.starts_with(&["bin", "dev", "etc", "proc", "root"]),
        "{text}"
    );
    for device in [
        "full", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero",
    ] {
        assert!(lines.contains(&device), "{device} in {text}");
    }
    assert!(
        text.contains("nameserver 10.0.0.1\n127.0.0.1 localhost\n"),
        "{text}"
    );
    assert!(text.ends_with("1\nlo\nhi\n"), "{text}");
    assert_eq!(
        fs::read_to_string(root.path().join("written")).unwrap(),
        "y\n"
    );
}

#[test]
fn a_dangling_resolv_conf_of_the_host_is_shown_over_without_touching_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let etc = tempfile::tempdir().unwrap();
    fs::write(etc.path().join("passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    std::os::unix::fs::symlink(
        "/run/no-resolver/resolv.conf",
        etc.path().join("resolv.conf"),
    )
    .unwrap();
    let spec = ContainerSpec {
        etc: EtcFiles {
            resolv_conf: Some("nameserver 10.0.0.1\n".into()),
            hosts: Some("127.0.0.1 localhost\n".into()),
            hostname: None,
        },
        ..shell("cat /etc/resolv.conf /etc/hosts; ls /etc")
    };
    let shims = Shims::new(program());
    shims.spawn(dir.path(), &spec).unwrap();
    signal(dir.path(), libc::SIGKILL).unwrap();
    eventually(|| read_exit(dir.path()).unwrap().is_some());
    fs::remove_file(dir.path().join("ready.json")).unwrap();
    // The same specification, on a host with that /etc.
    let script = format!(
        "mount --bind {} /etc; exec {} shim {}",
        etc.path().display(),
        program().display(),
        dir.path().display()
    );
    let mut shim = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually(|| processes(dir.path()).unwrap().is_some());
    let client = Attached::to(&dir.path().join(attach::SOCKET_FILE), Role::Interactive);
    start(dir.path()).unwrap();
    assert_eq!(
        client.finish().text(),
        "nameserver 10.0.0.1\n127.0.0.1 localhost\nhosts\npasswd\nresolv.conf\n"
    );
    shim.wait().unwrap();
    assert_eq!(fs::read_dir(etc.path()).unwrap().count(), 2);
}
