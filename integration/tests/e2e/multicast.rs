//! Multicast in networks that snoop: who asked gets it, and nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use agent_api::{EndpointSettings, MdbEntryView, MdbKind};
use switch_core::Mac;
use switch_io::packet::PacketSocket;

use crate::cluster::{cluster, create_shared_on};
use crate::harness::{Endpoint, Host, enter, eventually};
use crate::packets::{PLAIN, checksum, contains, ethernet, receive};

const STEP: Duration = Duration::from_secs(20);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 0x203);
const UDP_PORT: u16 = 5007;

#[test]
fn a_group_reaches_its_listeners_alone_and_outlasts_the_agent() {
    let host = Host::start();
    let create = ["network", "create", "--ipv6", "-o", "snooping=on", "lab"];
    host.tapestry(&create).ok();
    let [sender, listener, other] =
        ["sender", "listener", "other"].map(|name| host.endpoint("lab", name));
    let (ear, eye) = (Ears::open(&listener), other.wire());
    settle(&host);
    for group in [GROUP.into(), GROUP6.into()] {
        await_listeners(&host, group, &["listener"]);
    }
    let (v4, v6) = (
        Mouth::open(&sender, GROUP.into()),
        Mouth::open(&sender, GROUP6.into()),
    );
    for round in 0..50 {
        let text = format!("multicast number {round}");
        v4.say(&text);
        v6.say(&text);
        assert_eq!(ear.hear_v4(), text);
        assert_eq!(ear.hear_v6(), text);
    }
    assert_saw_none(&sender, &eye);
    let is_router = |is: &str| {
        let word = format!("mcast_router={is}");
        host.tapestry(&["port", "set", "other", &word]).ok();
    };
    is_router("on");
    v4.say("for a router");
    assert!(receive(&eye, |frame| contains(frame, b"for a router")).is_some());
    is_router("off");
    assert_eq!(ear.hear_v4(), "for a router");
    let traced = host.tapestry(&[
        "trace",
        "lab",
        "--from",
        "sender",
        "--to",
        "239.1.2.3",
        "--udp",
        "5",
    ]);
    let traced = traced.ok();
    // Lines are wrapped.
    let words = traced.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("(listener): asked for it"), "{traced}");
    assert_no_loss_while_the_agent_restarts(&host, &v4, &ear);
    drop(ear);
    for group in [GROUP.into(), GROUP6.into()] {
        await_listeners(&host, group, &[]);
    }
    // The new agent numbers ports anew.
    let dropped = || host.network("lab").drops.get("no_listener").copied();
    let before = dropped();
    v4.say("nobody asked");
    eventually(STEP, "it is dropped", || (dropped() > before).then_some(()));
    let heard = host.network("lab").multicast.unwrap();
    assert!(
        heard.reports["igmp3"] > 0 && heard.reports["mld2"] > 0,
        "{heard:?}"
    );
    host.tapestry(&["network", "create", "plain"]).ok();
    let refused = host.tapestry(&["mdb", "ls", "plain"]);
    assert!(refused.refused(1).contains("-o snooping=on"));
}

/// The new agent knows nobody, and everybody gets everything until all have answered.
fn assert_no_loss_while_the_agent_restarts(host: &Host, mouth: &Mouth, ear: &Ears) {
    host.kill_agent_proper();
    let mut round = 0;
    eventually(STEP, "all have answered", || {
        let text = format!("after the restart {round}");
        round += 1;
        mouth.say(&text);
        assert_eq!(ear.hear_v4(), text);
        is_settled(host).then_some(())
    });
    await_listeners(host, GROUP.into(), &["listener"]);
}

#[test]
fn over_tunnels_a_group_reaches_hosts_with_listeners_alone() {
    let lab = cluster(3);
    let hosts: Vec<_> = lab.hosts.iter().collect();
    let options = ["--subnet", "10.9.0.0/24", "-o", "snooping=on"];
    create_shared_on(&hosts, "far", &options);
    let names = ["here", "ear", "deaf"];
    for (host, name) in lab.hosts.iter().zip(names) {
        host.idle(name, "far", &[]);
    }
    eventually(STEP, "the tunnels are there", || {
        let count = |host: &Host| {
            let ports = host.ports("far");
            ports.iter().filter(|port| port.kind == "tunnel").count()
        };
        lab.hosts.iter().all(|host| count(host) == 2).then_some(())
    });
    let sandbox = lab.hosts[1].sandbox("ear");
    let socket = enter(&sandbox, || listen_v4(lab.hosts[1].ipv4("ear")));
    for host in &lab.hosts {
        eventually(STEP, "every port has answered", || {
            listed(host, "far")
                .map(|rows| all_have_answered(&rows))
                .unwrap_or(false)
                .then_some(())
        });
    }
    let listens_far = |rows: &[MdbEntryView]| {
        let rows = rows.iter();
        let mut listeners = rows.filter(|row| row.group == Some(GROUP.into()));
        listeners.any(|row| row.owner == "192.0.2.2" || row.owner.contains("host-2"))
    };
    eventually(STEP, "the report came over the tunnel", || {
        listens_far(&listed(&lab.hosts[0], "far")?).then_some(())
    });
    let deaf = wire(&lab.hosts[2].sandbox("deaf"));
    let sent_to = |owner: &str| {
        let ports = lab.hosts[0].ports("far");
        let mut tunnels = ports.into_iter().filter(|port| port.kind == "tunnel");
        tunnels
            .find(|port| port.owner.contains(owner))
            .unwrap()
            .tx_frames
    };
    let before = sent_to("192.0.2.3");
    let from = lab.hosts[0].sandbox("here");
    let mouth = Mouth::of(
        enter(&from, || mouth_v4(lab.hosts[0].ipv4("here"))),
        GROUP.into(),
    );
    for round in 0..20 {
        let text = format!("over the tunnel {round}");
        mouth.say(&text);
        assert_eq!(heard(&socket), text);
    }
    let after = sent_to("192.0.2.3");
    assert!(
        after < before + 20,
        "{} frames went to a host without a listener",
        after - before
    );
    drop(deaf);
    drop(socket);
    eventually(STEP, "the host is forgotten", || {
        (!listens_far(&listed(&lab.hosts[0], "far")?)).then_some(())
    });
}

// The kernel's bridge_vlan_mcast.sh, as far as a user sees it: joins, queriers and their tags.
#[test]
fn each_vlan_has_its_own_listeners_and_is_asked_by_itself() {
    let host = Host::start();
    host.tapestry(&[
        "network",
        "create",
        "--ipv6",
        "-o",
        "vlan=aware",
        "-o",
        "snooping=on",
        "lab",
    ])
    .ok();
    let station = |name: &str, vlan, trunk: Option<&str>| {
        let settings = EndpointSettings {
            vlan,
            trunk: trunk.map(str::to_owned),
            ..EndpointSettings::default()
        };
        host.endpoint_with("lab", name, settings)
    };
    let sender = station("sender", Some(10), None);
    let listener = station("listener", Some(10), None);
    let stranger = station("stranger", Some(20), None);
    let deaf = station("deaf", Some(10), None);
    let line = station("line", None, Some("10,20"));
    let line_eye = line.wire();
    let (ear, far_ear) = (Ears::open(&listener), Ears::open(&stranger));
    let (eye, stranger_eye) = (deaf.wire(), stranger.wire());
    let asked = receive(&line_eye, |frame| is_query_in(frame, 20));
    assert!(asked.is_some(), "a trunk is asked behind the tag");
    settle(&host);
    for group in [GROUP.into(), GROUP6.into()] {
        await_rows(&host, group, &[("listener", 10), ("stranger", 20)]);
    }
    let mouths = [GROUP.into(), GROUP6.into()].map(|group| Mouth::open(&sender, group));
    for round in 0..20 {
        let text = format!("multicast number {round}");
        mouths.iter().for_each(|mouth| mouth.say(&text));
        assert_eq!((ear.hear_v4(), ear.hear_v6()), (text.clone(), text));
    }
    for eye in [&eye, &line_eye] {
        assert_saw_none(&sender, eye);
    }
    // A station behind the trunk asks, and speaks, with a tag.
    let report = in_vlan(&igmp_report(line.mac()), 10);
    line_eye.send(&PLAIN, &report).unwrap();
    await_rows(
        &host,
        GROUP.into(),
        &[("line", 10), ("listener", 10), ("stranger", 20)],
    );
    mouths[0].say("for the trunk");
    let received = receive(&line_eye, |frame| contains(frame, b"for the trunk")).unwrap();
    assert_eq!(received.frame[12..16], [0x81, 0, 0, 10]);
    assert_eq!(ear.hear_v4(), "for the trunk");
    let datagram = in_vlan(&datagram(line.mac(), b"of the trunk in 20"), 20);
    line_eye.send(&PLAIN, &datagram).unwrap();
    assert_eq!(
        far_ear.hear_v4(),
        "of the trunk in 20",
        "and nothing before"
    );
    assert!(receive(&stranger_eye, |frame| contains(frame, b"number")).is_none());
    let table = host.tapestry(&["mdb", "ls", "lab"]).ok();
    let columns = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let rows: Vec<_> = table.lines().map(columns).collect();
    assert_eq!(rows[0][..2], ["GROUP", "VLAN"], "{table}");
    let of_group = rows.iter().filter(|row| row[0] == GROUP.to_string());
    let listed: Vec<_> = of_group
        .map(|row| (row[1].as_str(), row[3].as_str()))
        .collect();
    assert_eq!(
        listed,
        [("10", "listener"), ("10", "line"), ("20", "stranger")],
        "{table}"
    );
    // Who leaves in its VLAN is forgotten there.
    drop(ear);
    await_rows(&host, GROUP.into(), &[("line", 10), ("stranger", 20)]);
}

/// Who listens to the group, in which VLAN.
fn await_rows(host: &Host, group: IpAddr, expected: &[(&str, u16)]) {
    let what = format!("{group} has the listeners {expected:?}");
    eventually(STEP, &what, || {
        let rows = listed(host, "lab")?;
        let rows = rows.iter().filter(|row| row.group == Some(group));
        let mut owners: Vec<_> = rows
            .map(|row| (row.owner.as_str(), row.vlan.unwrap_or(0)))
            .collect();
        owners.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        (owners == expected).then_some(())
    });
}

fn in_vlan(frame: &[u8], vid: u8) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0, 0, vid], rest].concat()
}

/// Of IGMP, of internetwork control in that VLAN.
fn is_query_in(frame: &[u8], vid: u8) -> bool {
    frame[12..18] == [0x81, 0, 0xc0, vid, 8, 0] && frame.get(18 + 24) == Some(&0x11)
}

/// IGMPv2's, of the group.
fn igmp_report(from: Mac) -> Vec<u8> {
    let mut message = [&[0x16, 0, 0, 0][..], &GROUP.octets()].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    to_group(from, 2, &message)
}

fn datagram(from: Mac, text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + text.len()).unwrap();
    let ports = [UDP_PORT, UDP_PORT, length, 0].map(u16::to_be_bytes);
    to_group(from, 17, &[&ports.concat()[..], text].concat())
}

fn to_group(from: Mac, protocol: u8, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + message.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 1, protocol, 0, 0];
    header.extend([172, 18, 0, 99]);
    header.extend(GROUP.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let group = Mac::new([1, 0, 0x5e, 1, 2, 3]);
    ethernet(group, from, 0x0800, &[header, message.to_vec()].concat())
}

fn wire(sandbox: &Path) -> PacketSocket {
    enter(sandbox, || PacketSocket::open("eth0")).unwrap()
}

fn listed(host: &Host, network: &str) -> Option<Vec<MdbEntryView>> {
    let path = format!("/v1/networks/{network}/mdb");
    let reply = host.try_api("GET", &path, None).ok()?;
    (reply.status == 200).then(|| reply.ok())
}

fn all_have_answered(rows: &[MdbEntryView]) -> bool {
    !rows.iter().any(|row| row.kind == MdbKind::Everything)
}

fn is_settled(host: &Host) -> bool {
    listed(host, "lab").is_some_and(|rows| all_have_answered(&rows))
}

fn settle(host: &Host) {
    eventually(STEP, "every port has answered", || {
        is_settled(host).then_some(())
    });
}

fn await_listeners(host: &Host, group: IpAddr, expected: &[&str]) {
    eventually(
        STEP,
        &format!("{group} has the listeners {expected:?}"),
        || {
            let rows = listed(host, "lab")?;
            let rows = rows.iter().filter(|row| row.group == Some(group));
            let owners: Vec<_> = rows.map(|row| row.owner.as_str()).collect();
            (owners == expected).then_some(())
        },
    );
}

/// That a port which did not ask saw none of what was said before now.
fn assert_saw_none(sender: &Endpoint<'_>, eye: &PacketSocket) {
    let mark = ethernet(Mac::BROADCAST, sender.mac(), 0x88b5, b"that was all of it");
    sender.wire().send(&PLAIN, &mark).unwrap();
    let first = receive(eye, |frame| {
        contains(frame, b"multicast number") || contains(frame, b"that was all")
    });
    assert!(contains(&first.unwrap().frame, b"that was all"));
}

/// Sockets that listen.
struct Ears {
    v4: UdpSocket,
    v6: UdpSocket,
}

impl Ears {
    fn open(endpoint: &Endpoint<'_>) -> Self {
        let index = index_of(endpoint);
        endpoint.netns.enter(|| {
            let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, UDP_PORT + 1)).unwrap();
            v6.join_multicast_v6(&GROUP6, index).unwrap();
            v6.set_read_timeout(Some(STEP)).unwrap();
            Self {
                v4: listen_v4(endpoint.ipv4().into()),
                v6,
            }
        })
    }

    fn hear_v4(&self) -> String {
        heard(&self.v4)
    }

    fn hear_v6(&self) -> String {
        heard(&self.v6)
    }
}

fn listen_v4(own: IpAddr) -> UdpSocket {
    let IpAddr::V4(own) = own else {
        panic!("{own} is of IPv6")
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, UDP_PORT)).unwrap();
    socket.join_multicast_v4(&GROUP, &own).unwrap();
    socket.set_read_timeout(Some(STEP)).unwrap();
    socket
}

fn heard(socket: &UdpSocket) -> String {
    let mut bytes = [0; 200];
    let (len, _) = socket.recv_from(&mut bytes).unwrap();
    String::from_utf8(bytes[..len].to_vec()).unwrap()
}

/// A socket that sends to a group.
struct Mouth {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Mouth {
    fn open(endpoint: &Endpoint<'_>, group: IpAddr) -> Self {
        let index = index_of(endpoint);
        let socket = endpoint.netns.enter(|| match group {
            IpAddr::V4(_) => mouth_v4(endpoint.ipv4().into()),
            IpAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap(),
        });
        let mut mouth = Self::of(socket, group);
        if let SocketAddr::V6(to) = &mut mouth.to {
            to.set_port(UDP_PORT + 1);
            to.set_scope_id(index);
        }
        mouth
    }

    fn of(socket: UdpSocket, group: IpAddr) -> Self {
        Self {
            socket,
            to: (group, UDP_PORT).into(),
        }
    }

    fn say(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.to).unwrap();
    }
}

/// Its own address leads to its link, where there may be no route for groups.
fn mouth_v4(own: IpAddr) -> UdpSocket {
    UdpSocket::bind((own, 0)).unwrap()
}

fn index_of(endpoint: &Endpoint<'_>) -> u32 {
    let index = format!("ip -o link show dev {} | cut -d: -f1", endpoint.detail.link);
    endpoint.netns.sh(&index).trim().parse().unwrap()
}
