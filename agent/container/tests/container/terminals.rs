//! A command with a terminal.

use agent_container::ContainerSpec;
use agent_container::attach::{Request, Role};

use crate::harness::{Container, busybox_root, shell};

#[test]
fn a_terminal_is_one_and_follows_its_size() {
    let spec = ContainerSpec {
        tty: true,
        interactive: true,
        ..shell("tty; echo $TERM; stty size; read x; stty size")
    };
    let container = Container::spawn(&spec);
    let mut client = container.attach(Role::Interactive);
    client.send(&Request::Resize {
        rows: 33,
        columns: 101,
    });
    client.send(&Request::Start);
    let seen = client.until_stdout("33 101");
    assert!(seen.starts_with("/dev/pts/"), "{seen}");
    assert!(seen.contains("\nxterm\r\n"), "{seen}");
    client.send(&Request::Resize {
        rows: 44,
        columns: 202,
    });
    client.send(&Request::Stdin(b"\n".to_vec()));
    client.until_stdout("44 202");
    assert_eq!(client.finish().code, Some(0));
}

#[test]
fn control_c_on_a_terminal_interrupts() {
    let spec = ContainerSpec {
        tty: true,
        interactive: true,
        ..shell("trap 'exit 42' INT; echo up; while :; do sleep 0.1; done")
    };
    let container = Container::spawn(&spec);
    let mut client = container.start_and_hear();
    client.send(&Request::Stdin(vec![3]));
    assert_eq!(client.finish().code, Some(42));
}

#[test]
fn a_terminal_in_a_root_of_its_own_has_a_name_there() {
    let root = busybox_root();
    let spec = ContainerSpec {
        rootfs: Some(root.path().to_owned()),
        tty: true,
        interactive: true,
        ..shell("tty; stty size")
    };
    let container = Container::spawn(&spec);
    let mut client = container.attach(Role::Interactive);
    client.send(&Request::Resize {
        rows: 7,
        columns: 70,
    });
    client.send(&Request::Start);
    let text = client.finish().text();
    assert_eq!(text, "/dev/pts/0\r\n7 70\r\n");
}
