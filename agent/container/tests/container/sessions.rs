//! Foreground sessions.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use agent_container::{ContainerSpec, attach};

use crate::harness::{Container, program, shell};

#[test]
fn a_foreground_session_carries_streams_and_code() {
    let container = Container::spawn(&ContainerSpec {
        interactive: true,
        ..shell("cat; echo err >&2; exit 3")
    });
    let mut session = foreground(&container, "i").spawn().unwrap();
    let input = vec![b'z'; 300_000];
    let mut stdin = session.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let input = input.clone();
        move || stdin.write_all(&input)
    });
    let output = session.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout == input);
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn a_foreground_session_passes_signals_on() {
    let container = Container::spawn(&shell(
        "trap 'exit 11' TERM; echo up; while :; do sleep 0.1; done",
    ));
    let mut session = foreground(&container, "-").spawn().unwrap();
    let mut up = [0; 3];
    session
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut up)
        .unwrap();
    kill(session.id(), libc::SIGTERM);
    assert_eq!(session.wait().unwrap().code(), Some(11));
}

#[test]
fn the_third_interrupt_of_a_foreground_session_kills() {
    let container = Container::spawn(&shell("trap '' INT; echo up; exec sleep 100"));
    let mut session = foreground(&container, "-").spawn().unwrap();
    let mut up = [0; 3];
    session
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut up)
        .unwrap();
    for _ in 0..3 {
        kill(session.id(), libc::SIGINT);
        sleep(Duration::from_millis(100));
    }
    assert_eq!(session.wait().unwrap().code(), Some(137));
}

#[test]
fn a_foreground_session_has_the_terminal_and_gives_it_back() {
    let container = Container::spawn(&ContainerSpec {
        tty: true,
        interactive: true,
        ..shell(
            "stty size; read -r line; echo got $line; while [ \"$(stty size)\" = '25 90' ]; do sleep 0.02; done; stty size; exit 12",
        )
    });
    let (screen, line) = terminal(25, 90);
    let before = settings(&line);
    let mut session = on_terminal(&container, &line);
    let mut seen = String::new();
    read_until(&screen, &mut seen, "25 90");
    assert_ne!(settings(&line), before, "raw while the session lasts");
    rustix::termios::tcsetwinsize(&screen, size(26, 91)).unwrap();
    kill(session.id(), libc::SIGWINCH);
    rustix::io::write(&screen, b"hello\r").unwrap();
    read_until(&screen, &mut seen, "got hello\r\n26 91");
    assert_eq!(session.wait().unwrap().code(), Some(12));
    assert_eq!(settings(&line), before);
}

#[test]
fn a_foreground_session_told_to_end_gives_the_terminal_back() {
    let container = Container::spawn(&ContainerSpec {
        tty: true,
        interactive: true,
        ..shell("echo up; sleep 100")
    });
    let (screen, line) = terminal(25, 90);
    let before = settings(&line);
    let mut session = on_terminal(&container, &line);
    read_until(&screen, &mut String::new(), "up");
    kill(session.id(), libc::SIGTERM);
    assert_eq!(session.wait().unwrap().code(), Some(125));
    assert_eq!(settings(&line), before);
    assert!(container.ready.init.is_alive());
}

fn terminal(rows: u16, columns: u16) -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let screen = openpt(flags).unwrap();
    unlockpt(&screen).unwrap();
    let line = ioctl_tiocgptpeer(&screen, flags).unwrap();
    rustix::termios::tcsetwinsize(&screen, size(rows, columns)).unwrap();
    (screen, line)
}

fn size(rows: u16, columns: u16) -> rustix::termios::Winsize {
    rustix::termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn settings(line: &OwnedFd) -> String {
    format!("{:?}", rustix::termios::tcgetattr(line).unwrap())
}

fn on_terminal(container: &Container, line: &OwnedFd) -> Child {
    foreground(container, "it")
        .stdin(line.try_clone().unwrap())
        .stdout(line.try_clone().unwrap())
        .stderr(line.try_clone().unwrap())
        .spawn()
        .unwrap()
}

fn read_until(screen: &OwnedFd, seen: &mut String, text: &str) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut buffer = [0; 4096];
    while !seen.contains(text) {
        let limit = Timespec::try_from(Duration::from_secs(20)).unwrap();
        let mut fds = [PollFd::new(screen, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "{seen:?}");
        let length = rustix::io::read(screen, &mut buffer).unwrap();
        *seen += &String::from_utf8_lossy(&buffer[..length]);
    }
}

fn foreground(container: &Container, flags: &str) -> Command {
    let mut command = Command::new(program());
    command
        .arg("attach")
        .arg(container.path().join(attach::SOCKET_FILE))
        .arg(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn kill(pid: u32, signo: i32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let signal = rustix::process::Signal::from_named_raw(signo).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
