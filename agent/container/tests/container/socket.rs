//! The attach socket, and those who misuse it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use agent_container::attach::{self, Event, Message, Request, Role};
use agent_container::{ContainerSpec, Shims, read_exit, signal};

use crate::harness::{Attached, Container, eventually, program, shell};

#[test]
fn garbage_on_the_socket_harms_nobody_else() {
    let container = Container::spawn(&shell("echo up; sleep 100"));
    let _client = container.start_and_hear();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[6, 0, 0, 0, 0],
        &[1, 255, 255, 255, 255],
    ] {
        let socket = container.path().join(attach::SOCKET_FILE);
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(garbage).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert!(
            !matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{end:?}"
        );
    }
    assert!(container.ready.shim.is_alive());
}

#[test]
fn a_client_that_exceeds_its_credit_is_cut_off() {
    let spec = ContainerSpec {
        interactive: true,
        ..shell("sleep 100")
    };
    let container = Container::spawn(&spec);
    let mut client = container.attach(Role::Interactive);
    client.until(|event| matches!(event, Event::Window(_)));
    let all = usize::try_from(client.window).unwrap();
    // The pipe takes one window, the queue another.
    for _ in 0..3 {
        let _ = client
            .stream
            .write_all(&Request::Stdin(vec![0; all]).to_bytes());
    }
    let mut rest = Vec::new();
    let end = client.stream.read_to_end(&mut rest);
    assert!(
        !matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        "{end:?}"
    );
    assert!(container.ready.init.is_alive());
}

#[test]
fn a_socket_path_longer_than_an_address_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a".repeat(64)).join("b".repeat(64));
    let shims = Shims::new(program());
    shims.spawn(&deep, &shell("exit 3")).unwrap();
    let mut client = Attached::to(&deep.join(attach::SOCKET_FILE), Role::Interactive);
    client.send(&Request::Start);
    assert_eq!(client.finish().code, Some(3));
}

#[test]
fn the_attach_socket_is_for_the_group_of_the_directory() {
    use std::os::unix::fs::{MetadataExt, chown};
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), None, Some(4321)).unwrap();
    let shims = Shims::new(program());
    shims.spawn(dir.path(), &shell("true")).unwrap();
    let socket = fs::metadata(dir.path().join(attach::SOCKET_FILE)).unwrap();
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, 4321));
    let spec = fs::metadata(dir.path().join("spec.json")).unwrap();
    assert_eq!(spec.mode() & 0o777, 0o600);
    signal(dir.path(), libc::SIGKILL).unwrap();
    eventually(|| read_exit(dir.path()).unwrap().is_some());
}
