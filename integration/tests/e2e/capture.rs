//! Captures and mirrors: what other programs read of them, and what becomes of the traffic.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Endpoint, Host, eventually, run};
use crate::packets::{contains, receive, receive_within};

/// `tapestry capture` that goes on.
struct Capturing {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Capturing {
    /// Returns when frames are recorded.
    fn start(host: &Host, arguments: &[&str]) -> Self {
        let mut child = host.spawn(&[&["capture"], arguments].concat());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.starts_with("capturing "), "{line}");
        Self { child, stderr }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// ^C; what it said then.
    fn stop(self) -> String {
        self.signal(Signal::INT);
        self.end(0)
    }

    /// Waits for its end; what it said.
    fn end(mut self, status: i32) -> String {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.code(), Some(status), "{said}");
        said
    }
}

/// A field of every frame, as tshark reads the file; it also says so where the file is not whole.
fn fields(file: &Path, names: &[&str]) -> Vec<String> {
    let names = names.iter().flat_map(|name| ["-e", name]);
    let mut tshark = Command::new("tshark");
    let tshark = tshark.arg("-r").arg(file).args(["-n", "-T", "fields"]);
    let read = run(tshark.args(names));
    assert!(!read.stderr.contains("cut short"), "{read:?}");
    read.ok().lines().map(str::to_owned).collect()
}

fn lab(host: &Host) -> [Endpoint<'_>; 2] {
    host.tapestry(&["network", "create", "lab"]).ok();
    ["web", "db"].map(|name| host.endpoint("lab", name))
}

fn ping(from: &Endpoint<'_>, to: &Endpoint<'_>, options: &[&str]) {
    let mut ping = Command::new("ping");
    let ping = ping.args(["-n", "-W2", "-i0.01"]).args(options);
    from.netns.run(ping.arg(to.ipv4().to_string())).ok();
}

#[test]
fn every_frame_is_there_with_its_port_and_its_way() {
    let host = Host::start();
    let [web, db] = lab(&host);
    let file = host.dir().join("lab.pcapng");
    let path = file.to_str().unwrap();
    let whole = Capturing::start(&host, &["lab", "-w", path, "icmp"]);
    let lines = Capturing::start(&host, &["web:eth0", "-c", "2", "icmp"]);
    ping(&web, &db, &["-c3"]);
    let late = host.endpoint("lab", "late");
    ping(&late, &web, &["-c1"]);

    let said = whole.stop();
    assert_eq!(said, "16 frames captured, 0 lost by the capture\n");
    let seen = fields(
        &file,
        &[
            "frame.interface_name",
            "frame.packet_flags_direction",
            "icmp.type",
        ],
    );
    let (inbound, outbound, request, reply) = (1, 2, 8, 0);
    let mut expected = Vec::new();
    for (from, to, count) in [("web", "db", 3), ("late", "web", 1)] {
        for (name, way, kind) in [
            (from, inbound, request),
            (to, outbound, request),
            (to, inbound, reply),
            (from, outbound, reply),
        ] {
            let line = format!("{name}:eth0\t0x{way:08x}\t{kind}");
            expected.extend(std::iter::repeat_n(line, count));
        }
    }
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(seen), sorted(expected));

    let mut child = lines.child;
    let mut printed = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    let told: Vec<_> = printed.lines().map(|line| &line[16..]).collect();
    let (here, there) = (web.ipv4(), db.ipv4());
    assert!(
        told[0].starts_with(&format!(
            "web:eth0 In  IP {here} > {there}: ICMP echo request, id "
        )),
        "{printed}"
    );
    assert!(
        told[1].starts_with(&format!(
            "web:eth0 Out IP {there} > {here}: ICMP echo reply, id "
        )),
        "{printed}"
    );
    assert_eq!(told.len(), 2);
}

#[test]
fn files_take_turns_and_each_is_whole() {
    let host = Host::start();
    let [web, db] = lab(&host);
    let base = host.dir().join("ring");
    let ring = [
        "lab:web",
        "-w",
        base.to_str().unwrap(),
        "-C",
        "10k",
        "-W",
        "3",
        "icmp",
    ];
    let capturing = Capturing::start(&host, &ring);
    ping(&web, &db, &["-c40", "-s1000"]);
    let said = capturing.stop();
    assert!(said.starts_with("80 frames captured, 0 lost"), "{said}");
    let mut last = 0;
    for number in 0..3 {
        let file = host.dir().join(format!("ring{number}"));
        let len = file.metadata().unwrap().len();
        assert!((1000..13_000).contains(&len), "{len}");
        let frames = fields(&file, &["frame.interface_name", "icmp.seq"]);
        assert!(frames.len() <= 10, "{frames:?}");
        for frame in &frames {
            assert!(frame.starts_with("web:eth0\t"), "{frame}");
        }
        let newest = frames.last().unwrap().split('\t').nth(1).unwrap();
        last = last.max(newest.parse().unwrap());
    }
    assert_eq!(last, 40);
    assert!(!host.dir().join("ring3").exists());
}

#[test]
fn a_slow_reader_loses_capture_and_the_traffic_nothing() {
    let host = Host::start();
    let [web, db] = lab(&host);
    let capturing = Capturing::start(&host, &["lab", "-w", "-"]);
    let received = stream(&web, &db, 400_000_000);
    assert!(received >= 400_000_000, "{received}");
    for port in host.ports("lab") {
        let lost: Vec<_> = port.drops.iter().filter(|(_, count)| **count > 0).collect();
        assert!(lost.is_empty(), "{}: {lost:?}", port.owner);
    }

    // Only now somebody reads.
    let file = host.dir().join("slow.pcapng");
    let mut child = capturing.child;
    let mut stdout = child.stdout.take().unwrap();
    let mut to = std::fs::File::create(&file).unwrap();
    let pid = Pid::from_child(&child);
    let reading = std::thread::spawn(move || std::io::copy(&mut stdout, &mut to).unwrap());
    eventually(Duration::from_secs(30), "what waited is read", || {
        let len = file.metadata().unwrap().len();
        (len > 16 << 20).then_some(())
    });
    // The first frame that found room again tells what was lost before it.
    ping(&web, &db, &["-c1"]);
    kill_process(pid, Signal::INT).unwrap();
    reading.join().unwrap();
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    let mut stderr = capturing.stderr;
    stderr.read_to_string(&mut said).unwrap();
    assert!(!said.contains(" 0 lost"), "{said}");
    let lost = fields(&file, &["frame.drop_count"]);
    let lost = lost.iter().filter_map(|count| count.parse::<u64>().ok());
    assert!(lost.max() > Some(0));
}

#[test]
fn a_capture_ends_with_its_client_its_network_and_the_agent() {
    let host = Host::start();
    let [web, db] = lab(&host);
    let gone = |captures: usize| {
        eventually(Duration::from_secs(1), "the ports are undressed", || {
            (host.log().matches("capture ended").count() >= captures).then_some(())
        });
    };
    let mut killed = Capturing::start(&host, &["lab"]);
    killed.signal(Signal::KILL);
    killed.child.wait().unwrap();
    gone(1);

    host.tapestry(&["network", "create", "brief"]).ok();
    let file = host.dir().join("brief.pcapng");
    let brief = Capturing::start(&host, &["brief", "-w", file.to_str().unwrap()]);
    host.tapestry(&["network", "rm", "brief"]).ok();
    let said = brief.end(1);
    assert!(
        said.contains("the capture ended: network \"brief\" is gone"),
        "{said}"
    );
    fields(&file, &["frame.number"]);

    let file = host.dir().join("agent.pcapng");
    let capturing = Capturing::start(&host, &["lab", "-w", file.to_str().unwrap(), "icmp"]);
    ping(&web, &db, &["-c1"]);
    host.stop_agent(Signal::TERM);
    let said = capturing.end(1);
    assert!(
        said.contains("the capture ended: the agent stops"),
        "{said}"
    );
    assert_eq!(fields(&file, &["frame.number"]).len(), 4);
    host.launch();
    ping(&web, &db, &["-c1"]);
}

#[test]
fn what_cannot_be_captured_is_one_line_and_leaves_nothing() {
    let host = Host::start();
    let [_web, _db] = lab(&host);
    let file = host.dir().join("x.pcapng");
    let path = file.to_str().unwrap();
    for (arguments, status, told) in [
        (
            &["nobody", "-w", path][..],
            1,
            "no container and no network is called \"nobody\"",
        ),
        (
            &["lab:cache", "-w", path],
            1,
            "network \"lab\" has no port \"cache\"; it has: db:eth0, gateway, host:",
        ),
        (&["web:eth7", "-w", path], 1, "has no port \"eth7\""),
        (
            &["lab", "-w", path, "icmp", "annd", "tcp"],
            2,
            "filter \"icmp annd tcp\": ",
        ),
        (
            &["lab", "-w", "/nowhere/x.pcapng"],
            1,
            "cannot write /nowhere/x.pcapng: ",
        ),
        (
            &["lab", "-w", "-", "-C", "1"],
            2,
            "standard output is one stream",
        ),
        (&["lab", "-w", path, "-c", "0"], 2, "invalid value '0'"),
        (&["lab", "--duration", "3d"], 2, "invalid value '3d'"),
        (&["lab", "-W", "2", "-w", path], 2, "--ring-size"),
        (&["none", "-w", path], 1, "has no port to capture"),
    ] {
        let refused = host.tapestry(&[&["capture"], arguments].concat());
        let said = refused.refused(status);
        assert!(said.contains(told), "{arguments:?}: {said}");
        assert!(said.lines().count() == 1 && said.len() < 400, "{said}");
        assert!(!file.exists(), "{arguments:?}");
    }
    for (query, told) in [
        ("snaplen=3", "14..=262144"),
        ("program=0", "sixteen hexadecimal digits"),
        (
            "program=0006000000000000ffff000000000000",
            "program is refused",
        ),
    ] {
        let path = format!("/v1/networks/lab/capture?{query}");
        let refusal = host.api("GET", &path, None).refusal();
        assert!(refusal.message.contains(told), "{query}: {refusal}");
    }
    let full = host.tapestry(&["capture", "lab", "-w", "/dev/full", "--duration", "1"]);
    assert!(full.refused(1).contains("cannot write /dev/full: "));
}

#[test]
fn a_mirror_shows_another_port_both_ways_and_outlasts_the_agent() {
    let host = Host::start();
    let [web, db] = lab(&host);
    let ids = host.endpoint("lab", "ids");
    let wire = ids.wire();
    ping(&web, &db, &["-c1"]);
    let is_ping = |marker: &'static [u8]| move |frame: &[u8]| contains(frame, marker);
    let add = ["mirror", "add", "lab", "--from", "web", "--to"];
    host.tapestry(&[&add[..], &["ids"]].concat()).ok();
    let again = host.tapestry(&[&add[..], &["db"]].concat()).refused(1);
    assert!(
        again.contains("port \"web\" is mirrored to \"ids\" already"),
        "{again}"
    );
    let chain = ["mirror", "add", "lab", "--from", "ids", "--to", "db"];
    assert!(host.tapestry(&chain).refused(1).contains("circles"));

    for round in 0..2 {
        ping(&web, &db, &["-c1", "-p", "aabbccdd"]);
        for way in ["request", "reply"] {
            let seen = receive(&wire, is_ping(b"\xaa\xbb\xcc\xdd\xaa\xbb\xcc\xdd"));
            assert!(seen.is_some(), "{way} in round {round}");
        }
        let listed = host.tapestry(&["mirror", "ls", "lab"]).ok();
        let row = listed.lines().nth(1).unwrap();
        assert!(
            row.starts_with("web") && row.contains("ids") && row.ends_with("up"),
            "{listed}"
        );
        if round == 0 {
            host.stop_agent(Signal::TERM);
            host.launch();
        }
    }

    host.tapestry(&["mirror", "rm", "lab", "--from", "web"])
        .ok();
    ping(&web, &db, &["-c1", "-p", "11223344"]);
    let quiet = Duration::from_millis(200);
    let seen = receive_within(&wire, quiet, is_ping(b"\x11\x22\x33\x44\x11\x22\x33\x44"));
    assert!(seen.is_none());
    assert_eq!(
        host.tapestry(&["mirror", "ls", "lab"]).ok().lines().count(),
        1
    );
}

/// Sends so many bytes by TCP, and says how many came. Fails where the stream stands still.
fn stream(from: &Endpoint<'_>, to: &Endpoint<'_>, bytes: usize) -> u64 {
    let address = (to.ipv4(), 5001);
    let listener = to.netns.enter(|| TcpListener::bind(address)).unwrap();
    let reading = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(STANDSTILL)).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });
    let mut stream = from.netns.enter(|| TcpStream::connect(address)).unwrap();
    stream.set_write_timeout(Some(STANDSTILL)).unwrap();
    let chunk = vec![7; 128 << 10];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(chunk.len());
        stream.write_all(&chunk[..length]).unwrap();
        left -= length;
    }
    drop(stream);
    reading.join().unwrap()
}

const STANDSTILL: Duration = Duration::from_secs(10);
