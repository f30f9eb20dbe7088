//! What other programs make of our packets.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{STEP, Underlay, create_shared, hosts_of, join, reaches};
use crate::harness::{Host, eventually, run};

/// What goes over a host's link to the underlay, in a file.
pub(super) struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    pub(super) fn start(host: &Host, filter: &str) -> Self {
        let (file, log) = (host.dir().join("pcap"), host.dir().join("pcap.log"));
        let mut command = Command::new("tcpdump");
        command
            .args([
                "-n",
                "-U",
                "--immediate-mode",
                "-i",
                "under0",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file)
            .arg(filter)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        let child = host.netns.enter(|| command.spawn()).unwrap();
        eventually(STEP, "tcpdump listens", || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("listening on").then_some(())
        });
        Self { child, file }
    }

    pub(super) fn end(mut self) -> PathBuf {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap();
        self.file.clone()
    }
}

/// The `fields` of each packet that `filter` lets through, as tshark reads them.
fn tshark(file: &Path, options: &[&str], filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(file).args(options);
    command.args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let rows = run(&mut command).ok();
    rows.lines()
        .map(|row| row.split('|').map(str::to_owned).collect())
        .collect()
}

/// Two hosts whose agents' commands are changed by `prepare`.
fn hosts(prepare: impl Fn(&mut Command)) -> Underlay {
    let lab = Underlay::without_agents(2);
    for host in &lab.hosts {
        // Trains would be captured as one packet each.
        host.netns
            .sh("ethtool -K under0 tx-udp-segmentation off >/dev/null");
        host.launch_with(&prepare);
    }
    lab
}

fn make_cluster(lab: &Underlay) {
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    join(one, two).ok();
    eventually(STEP, "both hosts are there", || {
        let up = hosts_of(one).into_iter();
        let up = up.filter(|host| host["state"] == "up").count();
        (up == 2).then_some(())
    });
}

fn two_containers(lab: &Underlay, options: &[&str]) {
    let options = [&["--subnet", "10.9.0.0/24"], options].concat();
    create_shared(lab, "far", &options);
    lab.hosts[0].idle("a", "far", &[]);
    lab.hosts[1].idle("b", "far", &["--ip", "10.9.0.50"]);
    reaches(&lab.hosts[0], "a", "10.9.0.50");
}

#[test]
fn tshark_reads_our_vxlan() {
    let lab = hosts(|_| {});
    make_cluster(&lab);
    two_containers(&lab, &["-o", "encap=vxlan", "-o", "vni=4711"]);
    let capture = Capture::start(&lab.hosts[0], "udp port 4789");
    lab.hosts[0]
        .exec("a", "ping -n -c3 -i0.2 -W1 -s 100 10.9.0.50")
        .ok();
    let file = capture.end();
    let fields = [
        "vxlan.vni",
        "vxlan.flags",
        "ip.dst",
        "icmp.type",
        "udp.srcport",
    ];
    let rows = tshark(&file, &[], "vxlan && icmp.type == 8", &fields);
    assert_eq!(rows.len(), 3, "{rows:#?}");
    for row in &rows {
        assert_eq!(&row[..2], ["4711", "0x0800"], "{row:?}");
        assert_eq!(row[2], "192.0.2.2,10.9.0.50");
        let udp_port: u16 = row[4].parse().unwrap();
        assert!(udp_port >= 49_152, "{row:?}");
    }
    let answers = tshark(&file, &[], "vxlan && icmp.type == 0", &["eth.src"]);
    let mac = &lab.hosts[1].container("b").endpoints[0].mac;
    assert!(!answers.is_empty());
    assert!(
        answers.iter().all(|row| row[0].ends_with(&**mac)),
        "{answers:?} {mac}"
    );
    let bad = tshark(
        &file,
        &[],
        "_ws.malformed || _ws.expert.severity >= 0x600000",
        &["frame.number"],
    );
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn tshark_reads_our_quic_with_the_keys_and_not_without() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    let path = keys.path().to_owned();
    let lab = hosts(|agent| {
        agent.env("SSLKEYLOGFILE", &path);
    });
    let capture = Capture::start(&lab.hosts[0], "udp port 4790");
    make_cluster(&lab);
    two_containers(&lab, &[]);
    lab.hosts[0]
        .exec("a", "ping -n -c3 -i0.2 -W1 -s 100 10.9.0.50")
        .ok();
    let file = capture.end();
    let with_keys = format!("tls.keylog_file:{}", path.display());
    // Wireshark takes the port for another protocol.
    let quic = ["-d", "udp.port==4790,quic"];
    let options = [&quic[..], &["-o", &with_keys]].concat();
    // RFC 9221: DATAGRAM frames are 0x30 and 0x31.
    let datagrams = "quic.frame_type == 0x30 || quic.frame_type == 0x31";
    let rows = tshark(&file, &options, datagrams, &["quic.frame_type", "ip.src"]);
    for source in ["192.0.2.1", "192.0.2.2"] {
        let sent = rows.iter().filter(|row| row[1] == source).count();
        assert!(sent >= 3, "{source}: {sent} of {}", rows.len());
    }
    // No mark of the underlay may be lost in the tunnel, so it is asked for none.
    let capable = "udp.port == 4790 && ip.dsfield.ecn != 0";
    assert!(tshark(&file, &quic, capable, &["frame.number"]).is_empty());
    let handshake = tshark(
        &file,
        &options,
        "tls.handshake.type == 1",
        &["tls.handshake.extensions_alpn_str"],
    );
    assert!(
        handshake.iter().any(|row| row[0] == "tapestry/1"),
        "{handshake:?}"
    );
    assert!(tshark(&file, &quic, datagrams, &["frame.number"]).is_empty());
    let said = lab.hosts[0].log();
    assert!(said.contains("the keys of tunnels are written"), "{said}");
}
