//! What was learned and counted outlasts the agent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_api::{FdbEntryView, FdbKind, NetworkDetail, PortView};
use rustix::process::{Pid, Signal};
use switch_core::Mac;

use crate::harness::{Host, eventually};
use crate::packets::{PLAIN, contains, ethernet, receive, receive_within};

/// IEEE 802 "local experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;
/// Of no endpoint: behind a bridge inside a container.
const BEHIND: Mac = Mac::new([2, 0xbb, 1, 2, 3, 4]);

#[test]
fn what_was_learned_behind_a_port_is_for_it_alone_right_after_a_kill() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [one, other, third] = ["one", "other", "third"].map(|name| host.endpoint("lab", name));
    let [bridged, asking, ear] = [&one, &other, &third].map(|endpoint| endpoint.wire());
    let hello = ethernet(other.mac(), BEHIND, EXPERIMENTAL, &[1; 46]);
    bridged.send(&PLAIN, &hello).unwrap();
    receive(&asking, |frame| contains(frame, &BEHIND.octets())).unwrap();
    let learned = entry(&host).unwrap();
    let is_kept = || holds(&host, "stations", &BEHIND.octets()).then_some(());
    eventually(Duration::from_secs(10), "it is kept", is_kept);
    for round in 0..3_u8 {
        host.kill_agent_proper();
        let text = [0xa0 + round; 46];
        let question = ethernet(BEHIND, other.mac(), EXPERIMENTAL, &text);
        asking.send(&PLAIN, &question).unwrap();
        receive(&bridged, |frame| contains(frame, &text)).unwrap();
        let seen = receive_within(&ear, Duration::from_millis(200), |frame| {
            contains(frame, &text)
        });
        assert!(seen.is_none(), "a third port saw what was not for it");
        let now = entry(&host).unwrap();
        assert_eq!(now.owner, learned.owner);
        assert!(now.age_s >= learned.age_s, "{now:?}");
    }
    // What it had learned before, it has not learned again.
    assert_eq!(host.network("lab").stations.unwrap().learned, 1);
}

#[test]
fn counters_never_run_backwards() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let ends = ["one", "other", "third"].map(|name| host.endpoint("lab", name));
    let [one, other, third] = ends;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            let wire = one.wire();
            let frame = ethernet(other.mac(), one.mac(), EXPERIMENTAL, &[7; 46]);
            // From a MAC that is another's, which is dropped and counted.
            let forged = ethernet(other.mac(), third.mac(), EXPERIMENTAL, &[8; 46]);
            while !over.load(Ordering::Relaxed) {
                let _ = wire.send(&PLAIN, &frame);
                let _ = wire.send(&PLAIN, &forged);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        let mut last = Counted::default();
        let mut look = |when: &str| {
            let now = counted(&host);
            for (what, count) in &last {
                let is_now = now.get(what).copied().unwrap_or_default();
                assert!(
                    is_now >= *count,
                    "{when}: {what}: {count} before, {is_now} now"
                );
            }
            last = now;
        };
        look("at first");
        for number in 0..5 {
            // What was told a moment before is kept.
            look("before a kill");
            host.kill_agent_proper();
            look(&format!("after kill {number}"));
        }
        for _ in 0..2 {
            host.tapestry(&["agent", "--replace"]).ok();
            look("after an upgrade");
        }
    });
    let detail = host.network("lab");
    assert!(detail.drops.values().sum::<u64>() > 0, "{:?}", detail.drops);
    let ports: Vec<PortView> = host.api("GET", "/v1/networks/lab/ports", None).ok();
    let of_one = ports.iter().find(|port| port.owner == "one").unwrap();
    assert!(of_one.rx_frames > 100, "{of_one:?}");
    // What goes while no agent runs was counted all the same.
    let endpoints = &detail.endpoints;
    let first = endpoints
        .iter()
        .find(|endpoint| endpoint.name == "one")
        .unwrap();
    host.api("DELETE", &format!("/v1/endpoints/{}", first.id), None)
        .ok::<serde_json::Value>();
    let gone = host.network("lab").gone.unwrap();
    assert!(gone.rx_frames >= of_one.rx_frames, "{gone:?}");
    host.kill_agent_proper();
    let still = host.network("lab").gone.unwrap();
    assert!(still.rx_frames >= gone.rx_frames, "{still:?}");
}

#[test]
fn a_damaged_snapshot_is_told_and_begins_anew() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [one, other] = ["one", "other"].map(|name| host.endpoint("lab", name));
    assert!(one.netns.pings(other.ipv4()));
    let kept = || holds(&host, "counters", b"/endpoint/").then_some(());
    eventually(Duration::from_secs(10), "counters are kept", kept);
    // The agent is stopped, so that it does not write once more.
    let agent = host.agent_pid();
    rustix::process::kill_process(agent, Signal::STOP).unwrap();
    let file = snapshot(&host, "counters");
    let length = file.metadata().unwrap().len();
    for slot in [0, SLOT_BYTES] {
        if slot < length {
            file.write_all_at(&[0xff; 64], slot + 40).unwrap();
        }
    }
    host.kill_agent_proper();
    assert!(one.netns.pings(other.ipv4()), "it goes on");
    let said = host.tapestry(&["doctor"]).stdout;
    assert_eq!(
        said.matches("snapshot/counters cannot be read").count(),
        1,
        "{said}"
    );
    // The next finds a whole one again.
    counted(&host);
    host.kill_agent_proper();
    let said = host.tapestry(&["doctor"]).stdout;
    assert!(!said.contains("snapshot/counters"), "{said}");
}

/// Says so when it goes, also where the test fails.
struct Over<'t>(&'t AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What ports and network show, each by what it is called.
type Counted = BTreeMap<String, u64>;

fn counted(host: &Host) -> Counted {
    let told = host.tapestry(&["port", "ls", "--json", "lab"]).ok();
    let ports: Vec<PortView> = serde_json::from_str(&told).unwrap();
    let mut counted = Counted::new();
    for port in ports {
        let traffic = [port.rx_frames, port.rx_bytes, port.tx_frames, port.tx_bytes];
        let traffic = traffic.into_iter().enumerate();
        let drops = port.drops.into_iter();
        let name = &port.owner;
        counted.extend(traffic.map(|(number, count)| (format!("{name} {number}"), count)));
        counted.extend(drops.map(|(reason, count)| (format!("{name} {reason}"), count)));
    }
    let detail: NetworkDetail = host.network("lab");
    let drops = detail.drops.into_iter();
    counted.extend(drops.map(|(reason, count)| (format!("network {reason}"), count)));
    let stations = detail.stations.unwrap();
    counted.insert("refused".to_owned(), stations.refused);
    counted
}

fn entry(host: &Host) -> Option<FdbEntryView> {
    let entries: Vec<FdbEntryView> = host.api("GET", "/v1/networks/lab/fdb", None).ok();
    let mut learned = entries
        .into_iter()
        .filter(|entry| entry.kind == FdbKind::Learned);
    learned.find(|entry| entry.mac == BEHIND.to_string())
}

/// The snapshot that the guardian holds, by its kind.
fn snapshot(host: &Host, kind: &str) -> File {
    let found = eventually(Duration::from_secs(5), "the snapshot", || {
        find(host.guardian_pid(), kind)
    });
    File::options().read(true).write(true).open(found).unwrap()
}

fn find(guardian: Pid, kind: &str) -> Option<PathBuf> {
    let held = fs::read_dir(format!("/proc/{}/fd", guardian.as_raw_nonzero())).unwrap();
    let mut held = held.map(|entry| entry.unwrap().path());
    held.find(|path| {
        let leads_to = fs::read_link(path).unwrap_or_default();
        leads_to
            .to_string_lossy()
            .contains(&format!("memfd:snapshot/{kind}"))
    })
}

/// Whether the newer or the older image has the bytes.
fn holds(host: &Host, kind: &str, bytes: &[u8]) -> bool {
    let file = snapshot(host, kind);
    [0, SLOT_BYTES].into_iter().any(|slot| {
        let mut image = vec![0; 64 << 10];
        let length = file.read_at(&mut image, slot).unwrap();
        contains(&image[..length], bytes)
    })
}

const SLOT_BYTES: u64 = 32 << 20;
