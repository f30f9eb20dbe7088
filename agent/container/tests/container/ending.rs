//! How a command ends, and what is left of it.

use std::fs;
use std::path::Path;

use agent_container::attach::{self, Role};
use agent_container::{ContainerSpec, Shims, StartContainer, read_exit, signal, start, wait};

use crate::harness::{Container, busybox_root, eventually, program, shell};

#[test]
fn the_exit_code_is_the_commands() {
    for code in [0, 3] {
        let outcome = Container::run(&shell(&format!("exit {code}")));
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
    }
}

#[test]
fn a_killed_command_exits_with_128_and_the_signal() {
    let container = Container::spawn(&shell("echo up; sleep 100"));
    let client = container.start_and_hear();
    signal(container.path(), libc::SIGKILL).unwrap();
    assert_eq!(client.finish().code, Some(137));
    eventually(|| read_exit(container.path()).unwrap().is_some());
    assert_eq!(read_exit(container.path()).unwrap().unwrap().code, 137);
}

#[test]
fn a_command_that_is_not_found_is_127_with_a_line_of_explanation() {
    let spec = ContainerSpec {
        command: vec!["no-such-program".into()],
        ..shell("")
    };
    let container = Container::spawn(&spec);
    let client = container.attach(Role::Observer);
    let refusal = start(container.path()).unwrap_err();
    let StartContainer::Refused { text, code } = &refusal else {
        panic!("{refusal}");
    };
    assert_eq!(*code, 127);
    assert_eq!(
        text,
        "exec: \"no-such-program\": executable file not found in $PATH"
    );
    let outcome = client.finish();
    assert_eq!(outcome.code, Some(127));
    assert_eq!(outcome.errors, std::slice::from_ref(text));
}

#[test]
fn a_file_that_cannot_be_executed_is_126() {
    let spec = ContainerSpec {
        command: vec!["/etc/passwd".into()],
        ..shell("")
    };
    let outcome = Container::run(&spec);
    assert_eq!(outcome.code, Some(126));
    assert_eq!(outcome.errors, ["exec: \"/etc/passwd\": permission denied"]);
}

#[test]
fn a_missing_workdir_and_a_missing_rootfs_are_told() {
    let spec = ContainerSpec {
        workdir: Some("/no/such".into()),
        ..shell("true")
    };
    assert_eq!(Container::run(&spec).code, Some(127));
    let dir = tempfile::tempdir().unwrap();
    let spec = ContainerSpec {
        rootfs: Some("/no/such".into()),
        ..shell("true")
    };
    let refusal = Shims::new(program())
        .spawn(dir.path(), &spec)
        .unwrap_err()
        .to_string();
    assert!(
        refusal.starts_with("cannot use /no/such as root directory: No such file"),
        "{refusal}"
    );
}

#[test]
fn a_killed_shim_takes_the_command_with_it() {
    let container = Container::spawn(&shell("sleep 1000 & echo up; wait"));
    let _client = container.start_and_hear();
    container.ready.shim.signal(libc::SIGKILL).unwrap();
    eventually(|| !container.ready.init.is_alive());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let record = runtime.block_on(wait(container.path()));
    assert_eq!(record.code, 137);
    assert!(record.error.is_some());
}

#[test]
fn waiting_ends_with_the_command() {
    let container = Container::spawn(&shell("sleep 0.3; exit 9"));
    start(container.path()).unwrap();
    start(container.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(wait(container.path())).code, 9);
    assert_eq!(runtime.block_on(wait(container.path())).code, 9);
}

#[test]
fn nothing_is_left_afterwards() {
    // Others on this host may make network namespaces meanwhile.
    let mounts = || -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let lines = table.lines().filter(|line| !line.contains("netns"));
        lines.map(str::to_owned).collect()
    };
    let before = mounts();
    let root = busybox_root();
    let container = Container::spawn(&ContainerSpec {
        rootfs: Some(root.path().to_owned()),
        ..shell("sleep 7351 & sleep 7352 & echo up; sleep 7353")
    });
    let client = container.start_and_hear();
    signal(container.path(), libc::SIGKILL).unwrap();
    assert_eq!(client.finish().code, Some(137));
    eventually(|| !container.ready.shim.is_alive());
    container.shims.reap();
    assert!(!Path::new(&format!("/proc/{}", container.ready.shim.pid)).exists());
    assert!(!container.path().join(attach::SOCKET_FILE).exists());
    let spec = container.path().display().to_string();
    assert!(!command_lines().iter().any(|line| line.contains(&spec)));
    assert!(
        !command_lines()
            .iter()
            .any(|line| line.contains("sleep 735")),
        "{:?}",
        command_lines()
    );
    assert_eq!(mounts(), before);
}

/// Command lines of the processes of this host that are children of a container's.
fn command_lines() -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path().join("cmdline");
            let text = fs::read(path).ok()?;
            Some(String::from_utf8_lossy(&text).replace('\0', " "))
        })
        .collect()
}
