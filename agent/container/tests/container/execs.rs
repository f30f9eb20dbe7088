//! Another command in a running container.

use std::fs;

use agent_container::attach::{self, Event, Role};
use agent_container::{ContainerSpec, ExecRequest, start};

use crate::harness::{Attached, Container, busybox_root, eventually, shell};

#[test]
fn an_exec_whose_client_goes_before_the_start_is_gone() {
    let container = Container::spawn(&shell("echo up; sleep 100"));
    let _client = container.start_and_hear();
    let request = ExecRequest {
        command: vec!["true".into()],
        ..ExecRequest::default()
    };
    let (dir, exec) = container.shims.exec(container.path(), &request).unwrap();
    let mut client = Attached::to(&dir.join(attach::SOCKET_FILE), Role::Interactive);
    client.until(|event| matches!(event, Event::Ready { .. }));
    drop(client);
    eventually(|| !exec.shim.is_alive() && !dir.exists());
    assert!(container.ready.init.is_alive());
}

#[test]
fn an_exec_runs_in_the_containers_namespaces() {
    let spec = ContainerSpec {
        env: vec!["A=1".into()],
        ..shell("echo up; sleep 100")
    };
    let container = Container::spawn(&spec);
    let _client = container.start_and_hear();
    let outcome = container
        .exec(&ExecRequest {
            command: vec![
                "sh".into(),
                "-c".into(),
                "hostname; echo $A$B; for n in uts pid ipc mnt net; do [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo $n differs; done; exit 6".into(),
            ],
            env: vec!["B=2".into()],
            ..ExecRequest::default()
        })
        .finish();
    assert_eq!(outcome.text(), "box\n12\n");
    assert_eq!(outcome.code, Some(6));
    eventually(|| fs::read_dir(container.path().join("exec")).unwrap().count() == 0);
    let outcome = container
        .exec(&ExecRequest {
            command: vec!["nope".into()],
            ..ExecRequest::default()
        })
        .finish();
    assert_eq!(outcome.code, Some(127));
    assert_eq!(outcome.errors.len(), 1);
}

#[test]
fn an_exec_on_a_terminal_hangs_up_when_its_client_goes() {
    let container = Container::spawn(&shell("echo up; sleep 100"));
    let _client = container.start_and_hear();
    let mut exec = container.exec(&ExecRequest {
        command: vec!["sh".into(), "-c".into(), "tty; sleep 1000".into()],
        tty: true,
        interactive: true,
        ..ExecRequest::default()
    });
    exec.until_stdout("/dev/pts/");
    drop(exec);
    eventually(|| fs::read_dir(container.path().join("exec")).unwrap().count() == 0);
}

#[test]
fn an_exec_of_a_dead_container_is_refused() {
    let container = Container::spawn(&shell("true"));
    start(container.path()).unwrap();
    eventually(|| !container.ready.init.is_alive());
    let refusal = container
        .shims
        .exec(container.path(), &ExecRequest::default())
        .unwrap_err();
    assert_eq!(refusal.to_string(), "the container does not run");
}

#[test]
fn an_exec_enters_the_root_of_the_container() {
    let root = busybox_root();
    let spec = ContainerSpec {
        rootfs: Some(root.path().to_owned()),
        ..shell("echo up; sleep 100")
    };
    let container = Container::spawn(&spec);
    let _client = container.start_and_hear();
    let outcome = container
        .exec(&ExecRequest {
            command: vec!["sh".into(), "-c".into(), "tty; echo /*".into()],
            tty: true,
            interactive: true,
            ..ExecRequest::default()
        })
        .finish();
    assert_eq!(
        outcome.text(),
        "/dev/pts/0\r\n/bin /dev /etc /proc /root /sys /tmp\r\n"
    );
}
