//! A shim's life beside its agent's.

use std::process::Command;

use agent_container::attach::{self, Role};
use agent_container::{log, processes, read_exit, start};

use crate::harness::{Attached, Container, eventually, program, shell};

#[test]
fn a_container_outlives_its_agent() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Command::new(program())
        .arg("spawn")
        .arg(dir.path())
        .arg("echo still here")
        .output()
        .unwrap();
    assert!(agent.status.success(), "{agent:?}");
    let ready = processes(dir.path()).unwrap().unwrap();
    assert!(ready.shim.is_alive() && ready.init.is_alive());
    let client = Attached::to(&dir.path().join(attach::SOCKET_FILE), Role::Interactive);
    start(dir.path()).unwrap();
    assert_eq!(client.finish().stdout, b"still here\n");
    eventually(|| !ready.shim.is_alive());
}

#[test]
fn a_container_that_ended_can_be_made_again_and_one_that_runs_cannot() {
    let container = Container::spawn(&shell("echo once; exit 3"));
    let again = |script: &str| container.shims.spawn(container.path(), &shell(script));
    assert_eq!(
        again("true").unwrap_err().to_string(),
        "the container runs already"
    );
    start(container.path()).unwrap();
    eventually(|| !container.ready.shim.is_alive());
    again("echo twice; exit 4").unwrap();
    assert_eq!(read_exit(container.path()).unwrap(), None);
    start(container.path()).unwrap();
    eventually(|| read_exit(container.path()).unwrap().is_some());
    let logged: Vec<u8> = log::records(&container.path().join("log"))
        .unwrap()
        .flat_map(|record| record.unwrap().bytes)
        .collect();
    assert_eq!(logged, b"once\ntwice\n");
}
