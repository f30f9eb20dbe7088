//! What a container set on its eth0 itself is there after a fault.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use switch_io::packet::PacketSocket;

use super::figures::Row;
use super::kinds::{KINDS, Kind};
use super::outage::Outage;
use super::scaled;
use crate::harness::{Endpoint, Host, Netns, Output, eventually};
use crate::packets::contains;

#[test]
fn what_a_container_set_on_its_link_survives_the_agent() {
    let host = Host::start();
    let [own, peer] = ["own", "peer"].map(|name| host.endpoint("bridge", name));
    let set: Vec<&Kind> = KINDS
        .iter()
        .filter(|(_, set, _)| shell(&own.netns, set).status == 0)
        .collect();
    let before: Vec<_> = set.iter().map(|kind| shown(&own.netns, kind)).collect();
    let sockets = Sockets::open(&own);

    let outages = scaled(
        &[Outage::Kill, Outage::Stop, Outage::Kill, Outage::KillAll][..],
        &[Outage::Kill],
    );
    for outage in outages {
        outage.strike(&host);
    }
    eventually(PATIENCE, "the sandboxes reach each other", || {
        peer.netns.pings(own.ipv4()).then_some(())
    });

    let lost = set.iter().zip(before).filter_map(|(kind, before)| {
        let after = shown(&own.netns, kind);
        (after != before).then(|| format!("{}: {before:?} is {after:?}", kind.0))
    });
    let mut lost: Vec<_> = lost.collect();
    lost.extend(sockets.deaf(&own, &peer));
    let count = set.len() + SOCKETS;
    let mut row = Row::new(
        4,
        format_args!("what a container set on its eth0 itself, {count} kinds, {outages:?}"),
        "all of 40",
        "",
    );
    row.hold(
        count >= 40,
        format_args!("this kernel has {count} kinds only"),
    );
    row.all("kept", count - lost.len(), count, &lost);
    row.finish();
}

fn shell(netns: &Netns, script: &str) -> Output {
    netns.run(Command::new("sh").args(["-c", script]))
}

fn shown(netns: &Netns, (_, _, show): &Kind) -> String {
    shell(netns, show).stdout.trim().to_owned()
}

/// Sockets that are bound to the link, or to what it is a member of.
struct Sockets {
    bound: UdpSocket,
    member: UdpSocket,
    packets: PacketSocket,
}

impl Sockets {
    fn open(own: &Endpoint<'_>) -> Self {
        let udp = |address: SocketAddr| {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(ANSWER)).unwrap();
            socket
        };
        own.netns.enter(|| {
            let bound = udp((Ipv4Addr::UNSPECIFIED, BOUND).into());
            setsockopt(&bound, BindToDevice, &own.detail.link.clone().into()).unwrap();
            let member = udp((Ipv4Addr::UNSPECIFIED, MEMBER).into());
            member.join_multicast_v4(&GROUP, &own.ipv4()).unwrap();
            Self {
                bound,
                member,
                packets: own.wire(),
            }
        })
    }

    /// Those that hear nothing of what is sent to them, in words.
    fn deaf(&self, own: &Endpoint<'_>, peer: &Endpoint<'_>) -> Vec<String> {
        let sender = peer
            .netns
            .enter(|| UdpSocket::bind((peer.ipv4(), 0)))
            .unwrap();
        let send = |address: IpAddr, udp_port| {
            let _ = sender.send_to(WORD, (address, udp_port));
        };
        let hears = |socket: &UdpSocket, address: IpAddr, udp_port| {
            let mut word = [0; 64];
            (0..TRIES).any(|_| {
                send(address, udp_port);
                matches!(socket.recv(&mut word), Ok(length) if word[..length] == *WORD)
            })
        };
        let mut deaf = Vec::new();
        if !hears(&self.bound, own.ipv4().into(), BOUND) {
            deaf.push("a socket bound to it: hears nothing".to_owned());
        }
        if !hears(&self.member, GROUP.into(), MEMBER) {
            deaf.push("a multicast group that a socket joined: hears nothing".to_owned());
        }
        let sees = || {
            send(own.ipv4().into(), SEEN);
            let received = self.packets.receive(ANSWER);
            matches!(received, Ok(Some(seen)) if contains(&seen.frame, WORD))
        };
        if !(0..TRIES).any(|_| sees()) {
            deaf.push("a packet socket: sees nothing".to_owned());
        }
        deaf
    }
}

const WORD: &[u8] = b"a word for the sockets of the link";
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const BOUND: u16 = 7101;
const MEMBER: u16 = 7102;
const SEEN: u16 = 7103;
const SOCKETS: usize = 3;
const TRIES: usize = 5;
const ANSWER: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
