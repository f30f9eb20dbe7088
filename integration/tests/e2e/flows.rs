//! Who talks to whom: as the command shows it, and as a collector is told.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use agent_api::FlowReport;
use switch_core::Mac;
use switch_core::pcapng::{Interface, Packet, write_interface, write_packet, write_section};

use crate::harness::{Host, eventually, run};
use crate::packets::{PLAIN, ethernet, ip_frame};

const COLLECTOR: &str = "127.0.0.1:6343";
const ICMP: &str = "icmp";

/// Every frame is sampled, so that what is told can be compared.
#[test]
fn flows_are_told_to_who_looks_and_to_a_collector_that_tshark_understands() {
    let host = Host::without_agent();
    let path = host.dir().join("agent.toml");
    let before = fs::read_to_string(&path).unwrap();
    let flows = format!("[flows]\ncollector = \"udp://{COLLECTOR}\"\nsample = 1\ncounters_s = 1\n");
    fs::write(&path, before + &flows).unwrap();
    let collector = host.netns.enter(|| UdpSocket::bind(COLLECTOR).unwrap());
    host.launch();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [web, db] = ["web", "db"].map(|name| host.endpoint("lab", name));
    let mut ping = Command::new("ping");
    ping.args(["-n", "-W2", "-i0.01", "-c20"]);
    web.netns.run(ping.arg(db.ipv4().to_string())).ok();

    let (from, to) = (Some("web"), Some("db"));
    let flow = eventually(Duration::from_secs(10), "all frames are told", || {
        let report = looked(&host, &[]);
        let flow = report
            .flows
            .into_iter()
            .find(|flow| flow.from.name.as_deref() == from && flow.protocol == ICMP);
        flow.filter(|flow| flow.frames == 20)
    });
    assert_eq!(flow.to.name.as_deref(), to);
    assert_eq!((flow.bytes, flow.samples), (20 * 98, 20), "{flow:?}");
    assert_eq!(flow.to.address, Some(db.ipv4().into()));

    // With db's addresses, from web's port.
    let forged = ethernet(web.mac(), db.mac(), 0x88b5, &[0; 46]);
    web.wire().send(&PLAIN, &forged).unwrap();
    let dropped = eventually(Duration::from_secs(10), "the drop is told", || {
        let report = looked(&host, &["--drops"]);
        let name = "sticky_mac";
        assert!(report.flows.iter().all(|flow| !flow.drops.is_empty()));
        report
            .flows
            .into_iter()
            .find(|flow| flow.drops.contains_key(name))
    });
    assert_eq!(dropped.from.name.as_deref(), from, "{dropped:?}");
    assert_eq!(dropped.from.mac, db.mac().to_string());

    let table = host.tapestry(&["flows", "lab"]).ok();
    assert!(table.contains("every frame was looked at"), "{table}");
    let row = table
        .lines()
        .find(|line| line.starts_with("web ") && line.contains(" icmp "));
    assert!(row.is_some_and(|row| row.contains(" sent ")), "{table}");
    let looking = looked(&host, &["--sample", "7", "--duration", "1"]);
    assert_eq!(looking.every, 1, "others want more");
    assert!((900..5000).contains(&looking.took_ms), "{looking:?}");
    let refused = host.tapestry(&["flows", "host"]).refused(1);
    assert!(refused.contains("has no switch"), "{refused}");

    let file = host.dir().join("told.pcapng");
    let fields = ["sflow_245.agent", "icmp.type"];
    let told = eventually(Duration::from_secs(10), "the collector is told", || {
        keep(&collector, &file);
        let told = tshark(&file, "icmp.type == 8", &fields);
        (!told.is_empty()).then_some(told)
    });
    assert!(told.starts_with("127.0.0.1\t"), "{told}");
    let bad = "_ws.malformed || _ws.expert.severity >= 0x600000";
    assert_eq!(
        tshark(&file, bad, &["frame.number", "_ws.expert.message"]),
        ""
    );
    let counted = tshark(
        &file,
        "sflow_245.ifindex",
        &["sflow_245.ifindex", "sflow_245.ifinpkt"],
    );
    assert!(!counted.is_empty());
    let metrics = host.netns.sh(&format!(
        "curl -s --unix-socket {} http://agent/metrics",
        host.socket().display()
    ));
    for name in ["samples", "datagrams"] {
        let line = format!("tapestry_flow_{name}_total ");
        let told = metrics.lines().find_map(|told| told.strip_prefix(&line));
        assert!(told.is_some_and(|told| told != "0"), "{name}: {told:?}");
    }
}

fn looked(host: &Host, options: &[&str]) -> FlowReport {
    let words = [&["flows", "lab", "--json"], options].concat();
    serde_json::from_str(&host.tapestry(&words).ok()).unwrap()
}

/// Appends what was told to the file, in datagrams as on a wire.
fn keep(collector: &UdpSocket, file: &Path) {
    collector
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut out = fs::read(file).unwrap_or_default();
    if out.is_empty() {
        write_section(&mut out, "test");
        write_interface(&mut out, &Interface::default());
    }
    let mut datagram = [0; 2048];
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until
        && let Ok(len) = collector.recv(&mut datagram)
    {
        let bytes = in_udp(&datagram[..len]);
        let packet = Packet {
            interface: 0,
            nanos: 0,
            direction: None,
            original_len: u32::try_from(bytes.len()).unwrap(),
            bytes: &bytes,
            lost: 0,
            comment: "".into(),
        };
        write_packet(&mut out, &packet);
    }
    fs::write(file, out).unwrap();
}

fn in_udp(payload: &[u8]) -> Vec<u8> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let len = 8 + payload.len();
    let mut frame = ip_frame(Mac::ZERO, Mac::ZERO, here, here, 17, len);
    let udp_port = 6343_u16.to_be_bytes();
    frame.extend([udp_port, udp_port].concat());
    frame.extend(u16::try_from(len).unwrap().to_be_bytes());
    // No checksum (RFC 768).
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

fn tshark(file: &Path, filter: &str, fields: &[&str]) -> String {
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let mut tshark = Command::new("tshark");
    let tshark = tshark
        .arg("-r")
        .arg(file)
        .args(["-n", "-Y", filter, "-T", "fields"]);
    run(tshark.args(fields)).ok()
}
