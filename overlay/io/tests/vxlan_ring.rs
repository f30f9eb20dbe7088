//! Receiving from a packet ring: when it begins and ends, and that nothing but the way changes. These tests need root and nft.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use overlay_io::{StandsBack, VxlanConfig, VxlanCounts, VxlanTunnel};
use overlay_lab::{
    Network, Process, Station, TRANSFER, Underlay, eventually, ip, kernel_container, transfer, vni,
};
use rustix::process::{Pid, Signal, kill_process};
use switch_io::EngineChoice;
use switch_io::packet::PacketSocket;

const MTU: u32 = 1450;
const OURS: &str = "192.0.2.1";
const THEIRS: &str = "192.0.2.2";

/// A host of ours, and the kernel's VXLAN device on the other.
struct Pair {
    theirs: Station,
    container: Station,
    tunnel: VxlanTunnel,
    network: Network,
    underlay: Underlay,
}

impl Pair {
    fn new(engine: EngineChoice) -> Self {
        Self::beside(engine, |_| None)
    }

    /// On a host which may be meant to see the datagrams.
    fn beside(engine: EngineChoice, stands_back: StandsBack) -> Self {
        let underlay = Underlay::new();
        underlay.segment();
        let host = &underlay.hosts[0];
        let mut network = Network::new(engine, MTU);
        let (tunnel, trunk) = host.run(move || {
            let config = VxlanConfig {
                nft: Some("/usr/sbin/nft".into()),
                stands_back: Some(stands_back),
                ..VxlanConfig::new(ip(OURS))
            };
            VxlanTunnel::bind(&config).unwrap()
        });
        network.trunk(trunk);
        network.tunnel(tunnel.port(vni(42), ip(THEIRS), MTU).unwrap());
        let (_, container) = network.container(host, &["10.9.0.1/24"]);
        let options = format!("id 42 local {THEIRS} remote {OURS}");
        let theirs = kernel_container(&underlay.hosts[1], &options, MTU, &["10.9.0.2/24"]);
        Self {
            theirs,
            container,
            tunnel,
            network,
            underlay,
        }
    }

    /// Sends to us as fast as it can, until dropped.
    fn load(&self) -> [Process; 2] {
        let server = self.container.spawn("iperf3 -s");
        eventually("the server listens", || {
            let listening = self.container.sh("ss -Hltn sport = 5201");
            !listening.is_empty()
        });
        [self.theirs.spawn("iperf3 -c 10.9.0.1 -t 60"), server]
    }

    /// The same, with the ring in use.
    fn load_the_ring(&self) -> [Process; 2] {
        let load = self.load();
        eventually("the ring is used", || self.gate_is_shut());
        load
    }

    fn gate_is_shut(&self) -> bool {
        self.rules().contains("udp dport 4789")
    }

    fn rules(&self) -> String {
        self.underlay.hosts[0].sh("nft list ruleset")
    }

    fn both_ways(&self) {
        transfer(&self.theirs, &self.container, "10.9.0.1", TRANSFER);
        transfer(&self.container, &self.theirs, "10.9.0.2", TRANSFER);
    }

    /// A datagram to our VXLAN port that is made by hand. A checksum of zero says that there is none.
    fn send(&self, source: [u8; 4], checksum: [u8; 2], payload: &[u8]) {
        let [ours, theirs] = [0, 1].map(|n| self.mac(n));
        let len = u16::try_from(8 + payload.len()).unwrap();
        let mut header = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0];
        header.extend([source, [192, 0, 2, 1]].concat());
        header[2..4].copy_from_slice(&(20 + len).to_be_bytes());
        let sum = header.chunks(2).fold(0, |sum, word| {
            sum + u32::from(u16::from_be_bytes([word[0], word[1]]))
        });
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let ports = [0xc3, 0x50, 0x12, 0xb5];
        let parts = [&ours[..], &theirs, &[8, 0], &header, &ports];
        let mut frame = parts.concat();
        frame.extend(len.to_be_bytes());
        frame.extend(checksum);
        frame.extend(payload);
        self.underlay.hosts[1].run(move || {
            let socket = PacketSocket::open("eth0").unwrap();
            socket.send(&[0; 10], &frame).unwrap();
        });
    }

    fn mac(&self, host: usize) -> [u8; 6] {
        let link = self.underlay.hosts[host].sh("ip -o link show eth0");
        let mut words = link.split_whitespace();
        words.find(|word| *word == "link/ether").unwrap();
        let bytes = words.next().unwrap().split(':');
        let bytes: Vec<u8> = bytes.map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    /// The process that holds the gate.
    fn nft(&self) -> Option<Pid> {
        let namespace = |task: String| fs::read_link(format!("/proc/{task}/ns/net")).ok();
        let ours = namespace(format!("self/task/{}", self.underlay.hosts[0].tid));
        let processes = fs::read_dir("/proc").unwrap();
        let mut processes =
            processes.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let nft = processes.find(|process| {
            let name = fs::read_to_string(format!("/proc/{process}/comm"));
            let arguments = fs::read_to_string(format!("/proc/{process}/cmdline"));
            name.is_ok_and(|name| name == "nft\n")
                && arguments.is_ok_and(|arguments| arguments.contains("-i\0"))
                && namespace(process.clone()) == ours
        });
        nft.and_then(|process| Pid::from_raw(process.parse().unwrap()))
    }
}

fn is_used_under_load(engine: EngineChoice) {
    let pair = Pair::new(engine);
    assert!(pair.theirs.pings("10.9.0.1"));
    assert_eq!(pair.rules(), "");
    let load = pair.load_the_ring();
    pair.both_ways();
    assert!(pair.gate_is_shut());
    // Of the load nothing comes by the socket.
    let received = |host: &Station| -> u64 {
        let count = host.sh("awk '/^Udp:/ { n = $2 } END { print n }' /proc/net/snmp");
        count.trim().parse().unwrap()
    };
    let before = received(&pair.underlay.hosts[0]);
    pair.both_ways();
    let by_socket = received(&pair.underlay.hosts[0]) - before;
    assert!(by_socket < 64, "{by_socket}");
    assert_eq!(pair.tunnel.counts(), VxlanCounts::default());
    drop(load);
    pair.both_ways();
}

#[test]
fn a_ring_is_used_under_load_of_single_packets() {
    is_used_under_load(EngineChoice::Uring);
}

#[test]
fn a_ring_is_used_on_epoll() {
    is_used_under_load(EngineChoice::Epoll);
}

#[test]
fn the_ring_refuses_what_the_stack_would_and_strangers() {
    let (peer, stranger) = ([192, 0, 2, 2], [192, 0, 2, 66]);
    let vxlan = [8, 0, 0, 0, 0, 0, 42, 0, 2, 0, 0, 0, 0, 9];
    let other = [8, 0, 0, 0, 0, 0, 43, 0, 2];
    let malformed: Count = |counts| counts.malformed;
    refuses("too short", (peer, [0, 0], &[1, 2, 3]), malformed);
    refuses("a wrong checksum", (peer, [0x12, 0x34], &vxlan), malformed);
    refuses("a stranger", (stranger, [0, 0], &vxlan), |counts| {
        counts.unknown_remote
    });
    refuses("an unknown network", (peer, [0, 0], &other), |counts| {
        counts.unknown_vni
    });
}

type Count = fn(VxlanCounts) -> u64;

/// A ring under load may lose any one datagram, so it is sent until it is counted.
fn refuses(what: &str, (source, checksum, payload): ([u8; 4], [u8; 2], &[u8]), count: Count) {
    let pair = Pair::new(EngineChoice::Auto);
    let load = pair.load_the_ring();
    eventually(what, || {
        pair.send(source, checksum, payload);
        count(pair.tunnel.counts()) > 0
    });
    let counts = pair.tunnel.counts();
    let all: u64 = counts.named().iter().map(|(_, counted)| counted).sum();
    assert_eq!(all, count(counts), "{what}: {counts:?}");
    assert!(pair.gate_is_shut());
    drop(load);
}

/// For the run that comes after this one, which finds at the socket what this one does not read. It may fail to come.
#[test]
fn a_ring_is_left_for_another_run_and_used_again_without_one() {
    let pair = Pair::new(EngineChoice::Auto);
    assert!(pair.tunnel.leave_ring(), "there is none yet");
    let pair = Pair::new(EngineChoice::Auto);
    let load = pair.load_the_ring();
    eventually("the ring is left", || pair.tunnel.leave_ring());
    assert!(!pair.gate_is_shut());
    pair.both_ways();
    // As much load as made it want one.
    assert!(!pair.gate_is_shut() && pair.tunnel.leave_ring());
    pair.tunnel.use_ring();
    eventually("a ring is used again", || pair.gate_is_shut());
    pair.both_ways();
    drop(load);
}

#[test]
fn trains_end_the_ring() {
    let pair = Pair::new(EngineChoice::Auto);
    let load = pair.load_the_ring();
    for host in &pair.underlay.hosts {
        host.sh("ethtool -K eth0 tso on gso on tx on");
    }
    eventually("the gate opens", || !pair.gate_is_shut());
    pair.both_ways();
    drop(load);
}

#[test]
fn a_link_that_goes_down_ends_the_ring() {
    let pair = Pair::new(EngineChoice::Auto);
    let load = pair.load_the_ring();
    drop(load);
    pair.underlay.hosts[0].ip("link set eth0 down");
    eventually("the gate opens", || !pair.gate_is_shut());
    pair.underlay.hosts[0].ip("link set eth0 up");
    pair.both_ways();
}

#[test]
fn a_gate_that_somebody_removes_ends_the_ring() {
    let pair = Pair::new(EngineChoice::Auto);
    let load = pair.load_the_ring();
    kill_process(pair.nft().unwrap(), Signal::KILL).unwrap();
    eventually("the ring is used again", || {
        pair.nft().is_some() && pair.gate_is_shut()
    });
    pair.both_ways();
    drop(load);
}

#[test]
fn a_ring_ends_when_the_host_is_meant_to_see_the_datagrams() {
    let has_table = |nft: &Path| {
        let listed = Command::new(nft).args(["list", "tables"]).output().unwrap();
        let tables = String::from_utf8_lossy(&listed.stdout).into_owned();
        tables.contains("meant").then_some(tables)
    };
    let pair = Pair::beside(EngineChoice::Auto, has_table);
    let load = pair.load_the_ring();
    pair.underlay.hosts[0].sh("nft add table inet meant");
    eventually("the gate opens", || !pair.gate_is_shut());
    pair.both_ways();
    assert!(!pair.gate_is_shut());
    drop(load);
}

#[test]
fn a_tunnel_that_ends_leaves_no_rule() {
    let pair = Pair::new(EngineChoice::Auto);
    let load = pair.load_the_ring();
    drop(load);
    let Pair {
        underlay,
        network,
        tunnel,
        ..
    } = pair;
    drop((network, tunnel));
    eventually("the table is gone", || {
        underlay.hosts[0].sh("nft list ruleset").is_empty()
    });
}
