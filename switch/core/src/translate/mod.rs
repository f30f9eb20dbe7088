//! What passes between a network and the LAN that its uplink leads to, and in whose name.
//!
//! # Theory of operation
//!
//! A NIC belongs to the host: what the LAN sends to its MAC is the host's, whose kernel has it anyway. A [`Crossing`] stands between
//! the NIC and the network's bridge and knows the *stations* behind it, the network's containers, by their MACs. Three rules:
//!
//! - [`Rule::Open`]: everything passes, as between two switches.
//! - [`Rule::Stations`]: of what comes from the LAN, groups and the stations' own MACs pass; nothing is changed.
//! - [`Rule::Translate`]: the LAN sees one MAC, the NIC's, because it admits no other (a radio, a hypervisor, a cloud). Towards the LAN
//!   every frame bears it: as source, and wherever ARP (RFC 826), neighbor discovery (RFC 4861 §4.6.1) name the sender. From
//!   the LAN, a frame for the NIC's MAC goes to the station that has the address it is for, and not into the network where
//!   none has it: then it is the host's.
//!
//! Which addresses a station has is on record, and is learned besides from what it sends: addresses that it gave itself (RFC 4862)
//! or leased for itself. A station's leases come by broadcast (RFC 2131 §4.1), since the server knows it by a MAC that the LAN
//! does not lead to; its requests are made to ask for that.
//!
//! State: one [`Stations`], which is replaced as a whole. Learned addresses are bounded for each station, the oldest goes first; those
//! on record stay, and nobody takes them.

mod message;
mod stations;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use self::stations::Stations;
use crate::frame::ethertype;
use crate::guard::{ARP_LEN, is_ipv4_arp};
use crate::packet::{Packet, Version};
use crate::{Frame, Mac, lock};

/// What passes an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Open,
    Stations,
    Translate {
        /// Whether groups pass from the LAN.
        groups: bool,
    },
}

impl Rule {
    /// Whether the LAN sees the NIC's MAC alone.
    pub const fn translates(self) -> bool {
        matches!(self, Self::Translate { .. })
    }
}

/// The point where a network and a LAN meet.
#[derive(Debug)]
pub struct Crossing {
    rule: Rule,
    stations: ArcSwap<Stations>,
    /// Taken by whoever changes the stations; by a frame only where it tells a new address.
    turn: Mutex<()>,
}

impl Crossing {
    /// Longest start of a frame that [`Self::outward`] writes anew, in bytes.
    pub const HEAD_LEN_MAX: usize = 1_522;

    /// `nic` is the MAC that the LAN knows the host by.
    pub fn new(rule: Rule, nic: Mac) -> Self {
        Self {
            rule,
            stations: ArcSwap::from_pointee(Stations::new(nic)),
            turn: Mutex::new(()),
        }
    }

    pub const fn rule(&self) -> Rule {
        self.rule
    }

    pub fn nic(&self) -> Mac {
        self.stations.load().nic
    }

    /// The NIC has another MAC from now on.
    pub fn set_nic(&self, nic: Mac) {
        self.change(|stations| stations.nic = nic);
    }

    /// A station, with the addresses that are its own for good. Repeating it changes them.
    pub fn register(&self, mac: Mac, addresses: &[IpAddr]) {
        self.change(|stations| stations.register(mac, addresses));
    }

    /// Undoes [`Self::register`], and forgets what was learned of the station.
    pub fn unregister(&self, mac: Mac) {
        self.change(|stations| stations.unregister(mac));
    }

    /// Every address that leads to a station, in order.
    pub fn addresses(&self) -> Vec<(IpAddr, Mac)> {
        self.stations.load().addresses().collect()
    }

    /// A frame from the LAN, which is given its station's MAC where that is another. Whether it is for the network.
    pub fn inward(&self, bytes: &mut [u8]) -> bool {
        if self.rule == Rule::Open {
            return true;
        }
        let Some(dst) = bytes.first_chunk().map(|octets| Mac::new(*octets)) else {
            return false;
        };
        match self.rule {
            _ if dst.is_multicast() => self.rule != Rule::Translate { groups: false },
            Rule::Open => true,
            Rule::Stations => self.stations.load().has(dst),
            Rule::Translate { .. } => self.lead(dst, bytes),
        }
    }

    /// A frame for the LAN. Writes its start into `head` as the LAN shall see it and returns how many bytes of the frame that
    /// stands for; the rest goes as it is. `is_open`: the transport's checksum is not there yet.
    pub fn outward(
        &self,
        bytes: &[u8],
        is_open: bool,
        head: &mut [u8; Self::HEAD_LEN_MAX],
    ) -> usize {
        if !matches!(self.rule, Rule::Translate { .. }) {
            return 0;
        }
        let Ok(frame) = Frame::parse(bytes) else {
            return 0;
        };
        let packet = match frame.is_untagged() {
            true => Packet::parse(&frame),
            false => None,
        };
        let stations = self.stations.load();
        if let Some(address) = borne(&frame, packet.as_ref())
            && stations.is_news(frame.src(), address)
        {
            self.change(|stations| stations.learn(frame.src(), address));
        }
        let names = message::names_sender(&frame, packet.as_ref());
        let len = match names {
            None => Frame::HEADER_LEN,
            Some(_) => bytes.len().min(head.len()),
        };
        head[..len].copy_from_slice(&bytes[..len]);
        head[6..12].copy_from_slice(&stations.nic.octets());
        if let Some(message) = names {
            message.rename(&mut head[..len], frame.src(), stations.nic, is_open);
        }
        len
    }

    fn lead(&self, dst: Mac, bytes: &mut [u8]) -> bool {
        let stations = self.stations.load();
        if dst != stations.nic {
            return false;
        }
        let Ok(frame) = Frame::parse(bytes) else {
            return false;
        };
        let station = wanted(&frame).and_then(|address| stations.station(address));
        let Some(station) = station else {
            return false;
        };
        let arp = (frame.ethertype() == ethertype::ARP).then(|| frame.packet_offset());
        bytes[..6].copy_from_slice(&station.octets());
        if let Some(at) = arp {
            // Its own is what a station expects to be asked and answered by.
            bytes[at + 18..at + 24].copy_from_slice(&station.octets());
        }
        true
    }

    fn change(&self, change: impl FnOnce(&mut Stations)) {
        let _turn = lock(&self.turn);
        let mut stations = Stations::clone(&self.stations.load());
        change(&mut stations);
        self.stations.store(Arc::new(stations));
    }
}

/// The address that a frame bears as its sender's own.
fn borne(frame: &Frame<'_>, packet: Option<&Packet>) -> Option<IpAddr> {
    let address = match packet {
        Some(packet) => on_wire(packet.source(frame))?,
        None => on_wire(arp(frame)?.get(14..18)?)?,
    };
    let is_somebodys = !address.is_unspecified() && !address.is_multicast();
    (is_somebodys && !address.is_loopback()).then_some(address)
}

/// The address that a frame to one station is for.
fn wanted(frame: &Frame<'_>) -> Option<IpAddr> {
    if !frame.is_untagged() {
        return None;
    }
    match Packet::parse(frame) {
        Some(packet) => {
            let len = match packet.version {
                Version::V4 => 4,
                Version::V6 => 16,
            };
            on_wire(&packet.addresses(frame.bytes())[len..])
        }
        None => on_wire(arp(frame)?.get(24..28)?),
    }
}

fn arp<'a>(frame: &Frame<'a>) -> Option<&'a [u8]> {
    if frame.ethertype() != ethertype::ARP || !frame.is_untagged() {
        return None;
    }
    let arp = frame.packet().get(..ARP_LEN)?;
    is_ipv4_arp(arp).then_some(arp)
}

fn on_wire(address: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(address) {
        return Some(octets.into());
    }
    let octets: [u8; 16] = address.try_into().ok()?;
    Some(octets.into())
}
