//! The command's streams, and its log.

use agent_container::attach::{Request, Role};
use agent_container::{ContainerSpec, log, read_exit, start};

use crate::harness::{Container, eventually, shell};

#[test]
fn standard_output_and_error_stay_apart() {
    let outcome = Container::run(&shell("echo out; echo err >&2"));
    assert_eq!(outcome.stdout, b"out\n");
    assert_eq!(outcome.stderr, b"err\n");
}

#[test]
fn standard_input_reaches_the_command_and_ends_there() {
    let spec = ContainerSpec {
        interactive: true,
        command: vec!["cat".into()],
        ..shell("")
    };
    let container = Container::spawn(&spec);
    let mut client = container.attach(Role::Interactive);
    client.send(&Request::Start);
    client.send(&Request::Stdin(b"hello ".to_vec()));
    client.send(&Request::Stdin(b"there".to_vec()));
    client.send(&Request::StdinEof);
    let outcome = client.finish();
    assert_eq!(outcome.stdout, b"hello there");
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn standard_input_ends_when_the_interactive_client_goes() {
    let container = Container::spawn(&ContainerSpec {
        interactive: true,
        ..shell("cat; exit 8")
    });
    let mut client = container.attach(Role::Interactive);
    let observer = container.attach(Role::Observer);
    client.send(&Request::Start);
    client.send(&Request::Stdin(b"last words".to_vec()));
    client.until_stdout("last words");
    drop(client);
    let outcome = observer.finish();
    assert_eq!(outcome.stdout, b"last words");
    assert_eq!(outcome.code, Some(8));
}

#[test]
fn ten_mebibytes_arrive_intact() {
    let container = Container::spawn(&shell("seq 1 1500000 | head -c 10485760"));
    let mut client = container.attach(Role::Interactive);
    client.send(&Request::Start);
    let outcome = client.finish();
    let mut expected = Vec::new();
    let mut number = 1;
    while expected.len() < 10_485_760 {
        expected.extend_from_slice(format!("{number}\n").as_bytes());
        number += 1;
    }
    expected.truncate(10_485_760);
    assert_eq!(outcome.stdout.len(), expected.len());
    assert!(outcome.stdout == expected);
    assert_eq!(outcome.skipped, 0);
}

#[test]
fn the_log_is_kept_while_nobody_is_attached() {
    let container = Container::spawn(&shell("echo out; echo err >&2; printf '\\377'; exit 4"));
    start(container.path()).unwrap();
    eventually(|| !container.ready.shim.is_alive());
    assert_eq!(read_exit(container.path()).unwrap().unwrap().code, 4);
    let mut kept = [Vec::new(), Vec::new()];
    for record in log::records(&container.path().join("log")).unwrap() {
        let record = record.unwrap();
        kept[usize::from(record.stream == log::LogStream::Stderr)].extend(record.bytes);
    }
    assert_eq!(kept, [b"out\n\xff".to_vec(), b"err\n".to_vec()]);
}

#[test]
fn an_observer_that_never_reads_stops_neither_command_nor_log() {
    let container = Container::spawn(&shell("head -c 8000000 /dev/zero | tr '\\0' x; exit 5"));
    let sleeper = container.attach(Role::Observer);
    start(container.path()).unwrap();
    eventually(|| read_exit(container.path()).unwrap().is_some());
    let logged: usize = log::records(&container.path().join("log"))
        .unwrap()
        .map(|record| record.unwrap().bytes.len())
        .sum();
    assert_eq!(logged, 8_000_000);
    let outcome = sleeper.finish();
    assert!(outcome.skipped > 0);
    assert_eq!(
        outcome.skipped + u64::try_from(outcome.stdout.len()).unwrap(),
        8_000_000
    );
    assert_eq!(outcome.code, Some(5));
}

#[test]
fn a_signal_request_reaches_a_handler() {
    let container = Container::spawn(&shell(
        "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done",
    ));
    let mut client = container.start_and_hear();
    client.send(&Request::Signal(libc::SIGTERM));
    assert_eq!(client.finish().code, Some(7));
}
