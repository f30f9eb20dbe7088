//! Tagged frames on many networks with as many endpoints each, while the agent is killed: none is seen on another network.

use std::time::Duration;

use agent_api::EndpointDetail;
use serde_json::json;
use switch_core::Mac;
use switch_io::packet::PacketSocket;

use super::figures::Row;
use super::many::quiet;
use super::outage::Outage;
use super::scaled;
use crate::harness::{Host, Netns, eventually};
use crate::packets::{PLAIN, ethernet};

#[test]
fn no_frame_is_seen_on_another_network() {
    let host = Host::start();
    let size = scaled(32, 4);
    // Each has a link on every network: as many endpoints on each as there are networks.
    let sandboxes: Vec<_> = (0..size).map(|_| quiet()).collect();
    for network in 0..size {
        let create = json!({ "name": format!("n{network}"), "without_addresses": true });
        let _: serde_json::Value = host.api("POST", "/v1/networks", Some(&create)).ok();
    }
    let seats: Vec<_> = (0..size)
        .flat_map(|network| sandboxes.iter().map(move |sandbox| (network, sandbox)))
        .map(|(network, sandbox)| Seat::take(&host, network, sandbox))
        .collect();

    let (mut own, mut foreign) = (0, Vec::new());
    for _ in 0..scaled(5, 2) {
        let wires: Vec<_> = seats.iter().map(Seat::wire).collect();
        let sent_meanwhile = || (0..size).for_each(|step| send(&seats, &wires, step));
        std::thread::scope(|scope| {
            let struck = scope.spawn(|| Outage::Kill.strike(&host));
            sent_meanwhile();
            struck.join().unwrap();
        });
        collect(&seats, &wires, &mut own, &mut foreign);
        // The links may be others than those that the sockets were on.
        let wires: Vec<_> = seats.iter().map(Seat::wire).collect();
        eventually(PATIENCE, "canaries come through again", || {
            let before = own;
            (0..size).for_each(|step| send(&seats, &wires, step));
            collect(&seats, &wires, &mut own, &mut foreign);
            (own >= before + seats.len()).then_some(())
        });
    }
    let mut row = Row::new(
        15,
        format_args!("{size} networks x {size} endpoints, tagged frames during kills"),
        "0 leaks",
        "",
    );
    row.figure(format_args!("{own} came where they belong"));
    row.none("on another network", foreign.len(), &foreign);
    row.finish();

    for seat in &seats {
        let _: serde_json::Value = host
            .api("DELETE", &format!("/v1/endpoints/{}", seat.id), None)
            .ok();
    }
}

/// An endpoint.
struct Seat<'n> {
    network: usize,
    sandbox: &'n Netns,
    id: String,
    link: String,
    mac: Mac,
}

impl<'n> Seat<'n> {
    fn take(host: &Host, network: usize, sandbox: &'n Netns) -> Self {
        let link = format!("eth{network}");
        let create = json!({
            "network": format!("n{network}"), "name": sandbox.name(), "sandbox": sandbox.path(), "link": link,
        });
        let detail: EndpointDetail = host.api("POST", "/v1/endpoints", Some(&create)).ok();
        Self {
            network,
            sandbox,
            id: detail.id,
            link: detail.link,
            mac: detail.mac.parse().unwrap(),
        }
    }

    fn wire(&self) -> PacketSocket {
        let open = || self.sandbox.enter(|| PacketSocket::open(&self.link)).ok();
        eventually(PATIENCE, "the link is there", open)
    }
}

/// From each endpoint a frame to the MAC address of one `step` away, which mostly is on another network; now and then one to all.
fn send(seats: &[Seat<'_>], wires: &[PacketSocket], step: usize) {
    for (number, (seat, wire)) in seats.iter().zip(wires).enumerate() {
        let target = match step {
            0 => Mac::BROADCAST,
            _ => seats[(number + step * 7) % seats.len()].mac,
        };
        let frame = ethernet(target, seat.mac, EXPERIMENTAL, &canary(seat.network));
        // What the link does not take while the agent is away leaks nowhere.
        let _ = wire.send(&PLAIN, &frame);
    }
}

/// Everything that came; what is not of the seat's own network in words.
fn collect(seats: &[Seat<'_>], wires: &[PacketSocket], own: &mut usize, foreign: &mut Vec<String>) {
    for (seat, wire) in seats.iter().zip(wires) {
        while let Ok(Some(received)) = wire.receive(Duration::ZERO) {
            let Some(network) = network_of(&received.frame) else {
                continue;
            };
            let is_own_copy = received.frame[6..12] == seat.mac.octets();
            if network != seat.network {
                foreign.push(format!("of n{network} on n{}", seat.network));
            } else if !is_own_copy {
                *own += 1;
            }
        }
    }
}

fn canary(network: usize) -> Vec<u8> {
    format!("{TAG}{network:04}{}", " ".repeat(40)).into_bytes()
}

/// Which network a canary is of.
fn network_of(frame: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(frame.get(14..)?).ok()?;
    text.strip_prefix(TAG)?.get(..4)?.parse().ok()
}

const TAG: &str = "canary of network ";
/// IEEE 802 "local experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;
const PATIENCE: Duration = Duration::from_secs(30);
