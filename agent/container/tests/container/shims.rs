//! A shim's life beside its agent's.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_container::attach::{self, Role};
use agent_container::{ProcessId, SIGKILL, Shims, log, processes, read_exit, start};

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

#[test]
fn a_nursery_bears_shims_that_look_like_any_other_and_leaves_no_zombies() {
    let shims = Shims::new(program()).with_nursery();
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let made = dirs.iter();
    let made = made.map(|dir| shims.spawn(dir.path(), &shell("exit 5")).unwrap());
    let made: Vec<_> = made.collect();
    let nursery = parent_of(made[0].shim.pid);
    assert_eq!(command_line(nursery).trim_end(), "tapestry nursery");
    for (dir, made) in dirs.iter().zip(&made) {
        assert_eq!(parent_of(made.shim.pid), nursery);
        let line = format!("tapestry shim {}", dir.path().display());
        assert_eq!(command_line(made.shim.pid).trim_end(), line);
        start(dir.path()).unwrap();
        eventually(|| {
            read_exit(dir.path())
                .unwrap()
                .is_some_and(|exit| exit.code == 5)
        });
        eventually(|| !Path::new(&format!("/proc/{}", made.shim.pid)).exists());
    }
}

#[test]
fn without_a_nursery_that_works_shims_are_executed() {
    let shims = Shims::new(program()).with_nursery();
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let first = shims.spawn(dirs[0].path(), &shell("read x")).unwrap();
    let nursery = ProcessId::of(parent_of(first.shim.pid)).unwrap();
    nursery.signal(SIGKILL).unwrap();
    eventually(|| !nursery.is_alive());
    assert!(first.shim.is_alive(), "a shim outlives its nursery");
    let second = shims.spawn(dirs[1].path(), &shell("exit 0")).unwrap();
    start(dirs[1].path()).unwrap();
    eventually(|| !second.shim.is_alive());
    first.init.signal(SIGKILL).unwrap();
    eventually(|| !first.shim.is_alive());
}

fn parent_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

#[test]
fn a_shim_whose_agent_died_before_it_looked_makes_nothing() {
    let container = Container::spawn(&shell("true"));
    start(container.path()).unwrap();
    eventually(|| !container.ready.shim.is_alive());
    let made = ["ready.json", "attach.sock", "exit.json"].map(|file| container.path().join(file));
    for file in &made {
        let _ = fs::remove_file(file);
    }
    let (nobody, stdout) = io::pipe().unwrap();
    drop(nobody);
    let mut shim = Command::new(program());
    let ended = shim.arg("shim").arg(container.path()).stdout(stdout);
    let status = ended.stdin(Stdio::null()).status().unwrap();
    assert!(!status.success());
    assert!(made.iter().all(|file| !file.exists()));
}
