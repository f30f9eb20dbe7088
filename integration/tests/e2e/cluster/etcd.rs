//! A cluster and its etcd, which goes and comes back.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::traffic::Stream;
use super::{LEASE, STEP, Tries, Underlay, cluster_of, create_shared, join, pair, reaches, token};
use crate::harness::{Host, Netns, enter, eventually};

/// An etcd of the test's own, beside the hosts.
pub(super) struct Etcd<'l> {
    lab: &'l Underlay,
    dir: tempfile::TempDir,
    child: Child,
}

impl<'l> Etcd<'l> {
    const ADDRESS: &'static str = "192.0.2.100:2379";
    pub(super) const URL: &'static str = "http://192.0.2.100:2379";

    pub(super) fn start(lab: &'l Underlay) -> Self {
        lab.netns.sh("ip addr add 192.0.2.100/24 dev wire");
        let dir = tempfile::TempDir::with_prefix("e").unwrap();
        let child = spawn_etcd(&lab.netns, &dir);
        Self { lab, dir, child }
    }

    pub(super) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(super) fn start_again(&mut self) {
        self.child = spawn_etcd(&self.lab.netns, &self.dir);
        eventually(STEP, "etcd answers", || self.answers().then_some(()));
    }

    /// A copy of all that it has, made while it is stopped.
    pub(super) fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::TempDir::with_prefix("e").unwrap();
        self.lab.netns.sh(&format!(
            "cp -a {}/. {}",
            self.dir.path().display(),
            copy.path().display()
        ));
        copy
    }

    /// Has what a copy has, while it is stopped.
    pub(super) fn set_back(&mut self, copy: tempfile::TempDir) {
        self.dir = copy;
    }

    /// What is under a prefix: keys without it, and values.
    pub(super) fn under(&self, prefix: &str) -> BTreeMap<String, serde_json::Value> {
        let root = format!("/tapestry/{prefix}");
        let mut end = root.clone().into_bytes();
        *end.last_mut().unwrap() += 1;
        let [key, range_end] = [root.as_bytes(), &end].map(to_base64);
        let answer = self.ask(
            "kv/range",
            &format!(r#"{{"key":"{key}","range_end":"{range_end}"}}"#),
        );
        let found = answer["kvs"].as_array().cloned().unwrap_or_default();
        let text = |value: &serde_json::Value| {
            String::from_utf8(from_base64(value.as_str().unwrap())).unwrap()
        };
        let pair = |kv: &serde_json::Value| {
            let key = text(&kv["key"]);
            let value = serde_json::from_str(&text(&kv["value"])).unwrap();
            (key.strip_prefix(&root).unwrap().to_owned(), value)
        };
        found.iter().map(pair).collect()
    }

    /// Writes what no agent would.
    pub(super) fn put(&self, key: &str, value: &serde_json::Value) {
        let pair = [format!("/tapestry/{key}"), value.to_string()];
        let [key, value] = pair.map(|text| to_base64(text.as_bytes()));
        self.ask("kv/put", &format!(r#"{{"key":"{key}","value":"{value}"}}"#));
    }

    /// How many transactions it has done.
    pub(super) fn revision(&self) -> u64 {
        let answer = self.ask("kv/range", r#"{"key":"AA=="}"#);
        answer["header"]["revision"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// By its gateway for JSON, where bytes are in base64.
    fn ask(&self, what: &str, body: &str) -> serde_json::Value {
        let answer = self.lab.netns.sh(&format!(
            "curl -sSf --max-time 5 {}/v3/{what} -d '{body}'",
            Self::URL
        ));
        serde_json::from_str(&answer).unwrap()
    }

    /// Silent, while time goes on for the leases it keeps.
    fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(Self::ADDRESS)?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = self.lab.netns.enter(ask);
        answer.is_ok_and(|answer| answer.contains(r#""health":"true""#))
    }
}

impl Drop for Etcd<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn_etcd(netns: &Netns, dir: &tempfile::TempDir) -> Child {
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(dir.path())
        .args([
            "--listen-client-urls",
            Etcd::URL,
            "--advertise-client-urls",
            Etcd::URL,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    netns.enter(|| command.spawn()).unwrap()
}

/// RFC 4648 §4.
fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(part.get(at).copied().unwrap_or_default())
        });
        for at in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap();
            let is_padding = at > part.len();
            text.push(if is_padding {
                '='
            } else {
                char::from(DIGITS[digit])
            });
        }
    }
    text
}

fn from_base64(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte))
        .map(|digit| u32::try_from(digit).unwrap())
        .collect();
    let part = |part: &[u32]| {
        let bits = (0..4).fold(0, |bits, at| bits << 6 | part.get(at).copied().unwrap_or(0));
        bits.to_be_bytes()[1..part.len()].to_vec()
    };
    digits.chunks(4).flat_map(part).collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[test]
fn the_host_with_etcd_may_be_killed_and_comes_back_over_ipv6() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "[2001:db8:5::1]:5790"])
        .ok();
    let token = token(one);
    two.tapestry(&["cluster", "join", &token, "[2001:db8:5::1]:5790"])
        .ok();
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24", "--ipv6"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", &two.ipv6("b").to_string());
    one.stop_agent(Signal::KILL);
    one.launch();
    eventually(STEP, "both are in step again", || {
        let both = [one, two]
            .iter()
            .all(|host| cluster_of(host)["in_step"] == true);
        both.then_some(())
    });
    reaches(two, "b", "a");
    let left = one.tapestry(&["cluster", "leave"]).refused(1);
    assert!(left.contains('a'), "{left}");
    two.tapestry(&["rm", "-f", "b"]).ok();
    two.tapestry(&["cluster", "leave"]).ok();
    one.tapestry(&["rm", "-f", "a"]).ok();
    one.tapestry(&["cluster", "leave"]).ok();
    assert!(!one.state_dir().join("cluster").exists());
}

/// Two hosts with an etcd beside them; `a` and `b` on the network `far` reach each other.
pub(super) fn pair_beside_etcd(lab: &Underlay) -> Etcd<'_> {
    let etcd = Etcd::start(lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let init = ["cluster", "init", "--advertise", "192.0.2.1", "--etcd"];
    one.tapestry(&[&init[..], &[Etcd::URL]].concat()).ok();
    join(one, two).ok();
    create_shared(lab, "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    etcd
}

pub(super) fn is_in_step(host: &Host) -> bool {
    cluster_of(host)["in_step"] == true
}

/// Whether a name has an address for a container, now.
pub(super) fn finds(host: &Host, container: &str, name: &str) -> bool {
    host.exec(container, &format!("nslookup -timeout=1 {name} >/dev/null"))
        .status
        == 0
}

/// Asks etcd for a key of the cluster, or to delete it.
fn ask(host: &Host, what: &str, key: &str) -> String {
    let url = Etcd::URL;
    host.netns.sh(&format!(
        "key=$(printf %s /tapestry/{key} | base64 -w0)
         curl -sS {url}/v3/kv/{what} -d '{{\"key\": \"'$key'\"}}'"
    ))
}

#[test]
fn what_a_host_shares_is_put_back_when_somebody_deletes_it() {
    let lab = Underlay::new(2);
    let _etcd = pair_beside_etcd(&lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let id = cluster_of(two)["host"].as_str().unwrap().to_owned();
    let network = one.network("far").summary.id;
    let endpoint = two.container("b").endpoints[0].id.clone();
    for key in [
        format!("alive/{id}"),
        format!("host/{id}"),
        format!("endpoint/{network}/{endpoint}"),
    ] {
        let before = ask(one, "range", &key);
        assert!(before.contains("kvs"), "{key}: {before}");
        let deleted = ask(one, "deleterange", &key);
        assert!(deleted.contains("deleted"), "{key}: {deleted}");
        eventually(STEP, &format!("{key} is back"), || {
            ask(one, "range", &key).contains("kvs").then_some(())
        });
    }
    reaches(one, "a", "b");
    assert!(is_in_step(one) && is_in_step(two));
}

#[test]
fn etcd_may_be_gone_until_pauses_between_tries_grow_no_more() {
    let lab = Underlay::new(2);
    let mut etcd = pair_beside_etcd(&lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let (a, b) = (one.sandbox("a"), two.ipv4("b").to_string());
    let mut ping = Command::new("ping");
    ping.args(["-nqi0.1", &b]).stdout(Stdio::piped());
    let ping = enter(&a, || ping.spawn()).unwrap();
    let tries = Tries::count(one, 2379);
    etcd.stop();
    for host in [one, two] {
        eventually(STEP, "etcd is missed", || (!is_in_step(host)).then_some(()));
    }
    for (host, old, name) in [(one, "a", "late"), (two, "b", "later")] {
        let started = Instant::now();
        host.idle(name, "far", &[]);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        reaches(host, name, old);
    }
    let refused = one
        .tapestry(&["network", "create", "-d", "overlay", "other"])
        .refused(1);
    assert!(refused.contains("etcd"), "{refused}");
    two.tapestry(&["rm", "-f", "later"]).ok();
    tries.wait_for(TRIES);
    one.exec("a", "ping -n -c1 -W1 b").ok();

    etcd.start_again();
    let back = Instant::now();
    eventually(STEP, "the hosts are in step again", || {
        let is_known = finds(two, "b", "late") && !finds(one, "a", "later");
        (is_known && is_in_step(one) && is_in_step(two)).then_some(())
    });
    let took = back.elapsed();
    assert!(took < RETURN, "{took:?}");
    kill_process(Pid::from_child(&ping), Signal::INT).unwrap();
    let pinged = ping.wait_with_output().unwrap().stdout;
    let pinged = String::from_utf8_lossy(&pinged);
    assert!(pinged.contains(" 0% packet loss"), "{pinged}");
    reaches(two, "b", "late");
    reaches(one, "late", "b");
}

#[test]
fn leases_that_all_end_while_etcd_is_silent_take_nothing_away() {
    let lab = Underlay::new(2);
    let etcd = pair_beside_etcd(&lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let stream = Stream::start(&one.sandbox("a"), &two.sandbox("b"), two.ipv4("b"));
    stream.flows();
    std::thread::scope(|scope| {
        let stall = scope.spawn(|| stream.stall(LEASE * 6));
        etcd.freeze();
        for host in [one, two] {
            eventually(STEP, "etcd is missed", || (!is_in_step(host)).then_some(()));
        }
        // The leases end by etcd's own clock.
        std::thread::sleep(LEASE * 2);
        // One host is back before the other, whose words are all gone from etcd then.
        two.netns.sh(&drop_out("tcp dport 4790"));
        etcd.thaw();
        let back = Instant::now();
        eventually(STEP, "one is in step again", || {
            is_in_step(one).then_some(())
        });
        assert!(back.elapsed() < RETURN, "{:?}", back.elapsed());
        std::thread::sleep(Duration::from_millis(800));
        one.idle("early", "far", &[]);
        assert_ne!(one.ipv4("early"), two.ipv4("b"));
        assert!(finds(one, "a", "b"));
        two.netns.sh("nft delete table inet fault");
        let back = Instant::now();
        eventually(STEP, "the other is in step again", || {
            (is_in_step(two) && finds(two, "b", "early")).then_some(())
        });
        assert!(back.elapsed() < RETURN, "{:?}", back.elapsed());
        let stall = stall.join().unwrap();
        assert!(stall < Duration::from_millis(800), "{stall:?}");
    });
    assert!(finds(one, "a", "b") && finds(two, "b", "a"));
    assert!(!two.log().contains("cut off") && !one.log().contains("cut off"));
}

#[test]
fn an_agent_that_runs_etcd_stops_within_a_second_and_etcd_forgets_nothing() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for name in ["c", "d"] {
        two.idle(name, "far", &[]);
        // What etcd has answered last is what it would forget first.
        create_shared(&lab, &format!("net-{name}"), &[]);
        // Nobody waits for a member whose connection is silent.
        two.netns.sh(&drop_out("tcp dport 4790"));
        let stopping = Instant::now();
        one.stop_agent(Signal::TERM);
        let took = stopping.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        two.netns.sh("nft delete table inet fault");
        one.launch();
        eventually(STEP, "both are in step again", || {
            (is_in_step(one) && is_in_step(two)).then_some(())
        });
        let networks = one.networks();
        assert!(
            networks
                .iter()
                .any(|network| network.name == format!("net-{name}"))
        );
        reaches(one, "a", name);
    }
    let complaints = std::fs::read_to_string(one.state_dir().join("cluster/etcd.log")).unwrap();
    assert!(!complaints.contains("corrupt"), "{complaints}");
}

/// A script that drops some of what a host sends.
pub(super) fn drop_out(what: &str) -> String {
    format!(
        "nft add table inet fault
         nft add chain inet fault out '{{ type filter hook output priority -300; }}'
         nft add rule inet fault out {what} drop"
    )
}

/// More than twice as many as it takes a pause to grow to its bound, of the session and of its watch.
const TRIES: u64 = 20;
/// Of etcd, to the state being in step.
const RETURN: Duration = Duration::from_secs(2);
