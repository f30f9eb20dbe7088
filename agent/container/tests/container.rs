//! Containers for real. Needs root, and fails without it. The program is the example `shim`, which cargo builds with
//! all of the crate's tests, but not with `--test container` alone: then `cargo build --example shim` comes first.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use agent_container::attach::{self, Decoder, Event, Message, Request, Role};
use agent_container::{
    Capabilities, ContainerSpec, EtcFiles, ExecRequest, SandboxNetwork, StartContainer, Supervised,
    Supervisor, log, read_exit, signal, start, supervised, wait,
};
use tempfile::TempDir;

/// A container in a directory of its own; killed when dropped.
struct Container {
    dir: TempDir,
    supervisor: Supervisor,
    ready: Supervised,
}

/// A client that waits.
struct Attached {
    stream: UnixStream,
    decoder: Decoder,
    window: u64,
}

#[derive(Debug, Default)]
struct Outcome {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    errors: Vec<String>,
    skipped: u64,
    code: Option<i32>,
}

impl Container {
    fn spawn(spec: &ContainerSpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new(program());
        let ready = supervisor.spawn(dir.path(), spec).unwrap();
        Self {
            dir,
            supervisor,
            ready,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn attach(&self, role: Role) -> Attached {
        Attached::to(&self.path().join(attach::SOCKET_FILE), role)
    }

    /// Runs to the end with an interactive client.
    fn run(spec: &ContainerSpec) -> Outcome {
        let container = Self::spawn(spec);
        let mut client = container.attach(Role::Interactive);
        client.send(&Request::Start);
        client.finish()
    }

    fn exec(&self, request: &ExecRequest) -> Attached {
        let (dir, _) = self.supervisor.exec(self.path(), request).unwrap();
        let mut client = Attached::to(&dir.join(attach::SOCKET_FILE), Role::Interactive);
        client.send(&Request::Start);
        client
    }

    /// Starts it, and waits for its first output.
    fn start_and_hear(&self) -> Attached {
        let mut client = self.attach(Role::Interactive);
        client.send(&Request::Start);
        client.until(|event| matches!(event, Event::Stdout(_)));
        client
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = signal(self.path(), libc::SIGKILL);
        eventually(|| !self.ready.init.is_alive());
        eventually(|| !self.ready.shim.is_alive());
        self.supervisor.reap();
    }
}

impl Attached {
    fn to(socket: &Path, role: Role) -> Self {
        let stream = attach::connect(socket, role).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Self {
            stream,
            decoder: Decoder::default(),
            window: 0,
        }
    }

    fn send(&mut self, request: &Request) {
        self.stream.write_all(&request.to_bytes()).unwrap();
    }

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.decoder.decode::<Event>().unwrap() {
                if let Event::Window(bytes) = event {
                    self.window += u64::from(bytes);
                }
                return Some(event);
            }
            let mut buffer = [0; 65536];
            let length = self.stream.read(&mut buffer).unwrap();
            if length == 0 {
                return None;
            }
            self.decoder.push(&buffer[..length]);
        }
    }

    fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().expect("the shim hung up");
            if wanted(&event) {
                return event;
            }
        }
    }

    fn until_stdout(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.next() {
                Some(Event::Stdout(bytes)) => seen += &String::from_utf8_lossy(&bytes),
                Some(Event::Exit(code)) => panic!("ended with {code} after {seen:?}"),
                Some(_) => {}
                None => panic!("the shim hung up after {seen:?}"),
            }
        }
        seen
    }

    fn finish(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(event) = self.next() {
            match event {
                Event::Stdout(bytes) => outcome.stdout.extend(bytes),
                Event::Stderr(bytes) => outcome.stderr.extend(bytes),
                Event::Error(text) => outcome.errors.push(text),
                Event::Skipped(bytes) => outcome.skipped += bytes,
                Event::Exit(code) => {
                    outcome.code = Some(code);
                    return outcome;
                }
                _ => {}
            }
        }
        outcome
    }
}

impl Outcome {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/shim");
    assert!(program.exists(), "cargo build --example shim first");
    program
}

fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        id: "0123456789ab".into(),
        hostname: "box".into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        ..ContainerSpec::default()
    }
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come to hold in time");
        sleep(Duration::from_millis(20));
    }
}

/// A root directory with busybox and nothing else.
fn busybox_root() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for dir in ["bin", "etc", "tmp", "root"] {
        fs::create_dir(root.path().join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    for name in [
        "sh", "ls", "ps", "tty", "cat", "mount", "hostname", "ifconfig", "stty", "id", "sleep",
    ] {
        std::os::unix::fs::symlink("busybox", root.path().join("bin").join(name)).unwrap();
    }
    root
}

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
    let refusal = Supervisor::new(program())
        .spawn(dir.path(), &spec)
        .unwrap_err()
        .to_string();
    assert!(
        refusal.starts_with("cannot use /no/such as root directory: No such file"),
        "{refusal}"
    );
}

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
    Supervisor::new(program())
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
        supervised(dir.path())
            .unwrap()
            .is_some_and(|ready| ready.shim.is_alive())
    });
    let mut client = Attached::to(&dir.path().join(attach::SOCKET_FILE), Role::Interactive);
    client.send(&Request::Start);
    assert_eq!(ignored(&client.finish().text()), 0);
    shim.wait().unwrap();
}

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
fn an_exec_whose_client_goes_before_the_start_is_gone() {
    let container = Container::spawn(&shell("echo up; sleep 100"));
    let _client = container.start_and_hear();
    let request = ExecRequest {
        command: vec!["true".into()],
        ..ExecRequest::default()
    };
    let (dir, exec) = container
        .supervisor
        .exec(container.path(), &request)
        .unwrap();
    let mut client = Attached::to(&dir.join(attach::SOCKET_FILE), Role::Interactive);
    client.until(|event| matches!(event, Event::Ready { .. }));
    drop(client);
    eventually(|| !exec.shim.is_alive() && !dir.exists());
    assert!(container.ready.init.is_alive());
}

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
fn a_signal_request_reaches_a_handler() {
    let container = Container::spawn(&shell(
        "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done",
    ));
    let mut client = container.start_and_hear();
    client.send(&Request::Signal(libc::SIGTERM));
    assert_eq!(client.finish().code, Some(7));
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
        .supervisor
        .exec(container.path(), &ExecRequest::default())
        .unwrap_err();
    assert_eq!(refusal.to_string(), "the container does not run");
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
    container.supervisor.reap();
    assert!(!Path::new(&format!("/proc/{}", container.ready.shim.pid)).exists());
    assert!(!container.path().join(attach::SOCKET_FILE).exists());
    let spec = container.path().display().to_string();
    assert!(!processes().iter().any(|line| line.contains(&spec)));
    assert!(
        !processes().iter().any(|line| line.contains("sleep 735")),
        "{:?}",
        processes()
    );
    assert_eq!(mounts(), before);
}

#[test]
fn a_container_that_ended_can_be_made_again_and_one_that_runs_cannot() {
    let container = Container::spawn(&shell("echo once; exit 3"));
    let again = |script: &str| container.supervisor.spawn(container.path(), &shell(script));
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
fn a_socket_path_longer_than_an_address_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a".repeat(64)).join("b".repeat(64));
    let supervisor = Supervisor::new(program());
    supervisor.spawn(&deep, &shell("exit 3")).unwrap();
    let mut client = Attached::to(&deep.join(attach::SOCKET_FILE), Role::Interactive);
    client.send(&Request::Start);
    assert_eq!(client.finish().code, Some(3));
}

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
    let ready = supervised(dir.path()).unwrap().unwrap();
    assert!(ready.shim.is_alive() && ready.init.is_alive());
    let client = Attached::to(&dir.path().join(attach::SOCKET_FILE), Role::Interactive);
    start(dir.path()).unwrap();
    assert_eq!(client.finish().stdout, b"still here\n");
    eventually(|| !ready.shim.is_alive());
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
    let supervisor = Supervisor::new(program());
    supervisor.spawn(dir.path(), &spec).unwrap();
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
    eventually(|| supervised(dir.path()).unwrap().is_some());
    let client = Attached::to(&dir.path().join(attach::SOCKET_FILE), Role::Interactive);
    start(dir.path()).unwrap();
    assert_eq!(
        client.finish().text(),
        "nameserver 10.0.0.1\n127.0.0.1 localhost\nhosts\npasswd\nresolv.conf\n"
    );
    shim.wait().unwrap();
    assert_eq!(fs::read_dir(etc.path()).unwrap().count(), 2);
}

#[test]
fn the_attach_socket_is_for_the_group_of_the_directory() {
    use std::os::unix::fs::{MetadataExt, chown};
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), None, Some(4321)).unwrap();
    let supervisor = Supervisor::new(program());
    supervisor.spawn(dir.path(), &shell("true")).unwrap();
    let socket = fs::metadata(dir.path().join(attach::SOCKET_FILE)).unwrap();
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, 4321));
    let spec = fs::metadata(dir.path().join("spec.json")).unwrap();
    assert_eq!(spec.mode() & 0o777, 0o600);
    signal(dir.path(), libc::SIGKILL).unwrap();
    eventually(|| read_exit(dir.path()).unwrap().is_some());
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

/// The signals ignored according to a line of `/proc/<pid>/status`, but for the two the C library keeps to itself.
fn ignored(line: &str) -> u64 {
    let mask = line.trim().strip_prefix("SigIgn:\t").unwrap();
    u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31)
}

fn kill(pid: u32, signo: i32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let signal = rustix::process::Signal::from_named_raw(signo).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The temporary directory is root's alone; a mapped user has to get in.
fn chmod_traversable(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Command lines of the processes of this host that are children of a container's.
fn processes() -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path().join("cmdline");
            let text = fs::read(path).ok()?;
            Some(String::from_utf8_lossy(&text).replace('\0', " "))
        })
        .collect()
}
