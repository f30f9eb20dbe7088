//! Networks on a NIC of the host.
//!
//! # Theory of operation
//!
//! The NIC becomes a port of the network ([`UplinkPort`]) as soon as it is there and up, and is one for as long; the kernel tells when
//! that changes ([`Networks::follow_uplinks`]). Nothing of the NIC is changed but what its socket asks for.
//!
//! On a LAN the host itself is behind the network's host port, beside the NIC and apart from it: a TAP with a MAC of its own and no
//! address of the LAN's. The bridge answers containers that ask for one of the host's addresses with that MAC, and
//! the host has a route to each container through that link, from the address that it has on the LAN. So both reach each
//! other without the NIC, which sends nothing back to its own host; all of it goes with the link.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use agent_api::UplinkView;
use agent_core::network::{CreateNetwork, LanMode, Uplink};
use agent_core::record::{EndpointRecord, NetworkRecord};
use agent_host::netlink::{Netlink, NetlinkError, Nic};
use switch_core::vlan::Vid;
use switch_core::{Mac, PortId};
use switch_io::{AddPort, LeaseWire, UplinkPort, UplinkWish};

use super::segment::Segment;
use super::{Network, Networks, Place};
use crate::locks::lock;

/// A NIC as a port.
#[derive(Clone)]
pub(super) struct LanPort {
    pub(super) port: PortId,
    pub(super) device: UplinkPort,
    pub(super) nic: Nic,
    vid: Option<Vid>,
}

/// Why a network does not reach its LAN.
#[derive(Debug, thiserror::Error)]
pub(super) enum RaiseUplink {
    #[error("there is no link {0} on this host; `ip link` lists those there are")]
    NoLink(String),
    #[error("link {0} is down; `ip link set {0} up` brings it up")]
    Down(String),
    #[error("link {0} carries no Ethernet frames")]
    NoMac(String),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("no socket on link {link}: {error}")]
    Socket { link: String, error: std::io::Error },
    #[error("no port: {0}")]
    Port(#[from] AddPort),
}

impl Networks {
    /// Refuses a network whose NIC is not there, and gives the NIC, with the addresses that the host has there.
    pub(super) fn check_uplink(uplink: &Uplink) -> Result<Nic, CreateNetwork> {
        let found = Netlink::open()
            .map_err(RaiseUplink::from)
            .and_then(|mut netlink| find(&mut netlink, uplink));
        match found {
            Ok((nic, vid)) => Ok(Nic {
                // On one VLAN of a link the host has none.
                addresses: nic
                    .addresses
                    .into_iter()
                    .filter(|_| vid.is_none())
                    .collect(),
                ..nic
            }),
            Err(error) => Err(CreateNetwork::Uplink(error.to_string())),
        }
    }

    /// Makes the network's NIC its port, in its turn, where it has one. Where the NIC is not there now, it will be when it comes.
    pub(super) fn open_uplink(&self, record: &Arc<NetworkRecord>) {
        let Some(uplink) = record.uplink() else {
            return;
        };
        let segment = lock(&self.table)
            .networks
            .get(&record.id)
            .and_then(|network| network.segment.clone());
        let Some(segment) = segment else {
            return;
        };
        let raised = self.raise_uplink(record, &uplink, &segment);
        self.change(&record.id, |network| match raised {
            Ok(port) => {
                network.ways.uplink = Some(port);
                network.no_uplink = None;
            }
            Err(error) => {
                let why = error.to_string();
                if network.no_uplink.as_ref() != Some(&why) {
                    tracing::warn!(network = record.name, why, "no uplink");
                }
                network.no_uplink = Some(why);
            }
        });
        self.lead_to_lan(&record.id, true);
    }

    fn raise_uplink(
        &self,
        record: &NetworkRecord,
        uplink: &Uplink,
        segment: &Segment,
    ) -> Result<LanPort, RaiseUplink> {
        let (nic, vid) = find(&mut Netlink::open()?, uplink)?;
        if !nic.up {
            return Err(RaiseUplink::Down(nic.link));
        }
        let mac = nic
            .mac
            .ok_or_else(|| RaiseUplink::NoMac(nic.link.clone()))?;
        let device = UplinkPort::open(UplinkWish {
            ifindex: nic.index,
            mac: Mac::new(mac),
            vid,
            rule: uplink.rule,
        })
        .map_err(|error| RaiseUplink::Socket {
            link: nic.link.clone(),
            error,
        })?;
        let switch = &self.ground.switch;
        let config = record.uplink_config(nic.mtu);
        let port = switch.attach_port(&segment.bridge, Box::new(device.clone()), config)?;
        let raised = LanPort {
            port,
            device,
            nic,
            vid,
        };
        if let Some(place) = self.place_of(&record.id) {
            for (endpoint, _) in place.seats.plugged() {
                raised.admit(&place.record, &endpoint);
            }
        }
        switch.listen(port)?;
        tracing::info!(
            network = record.name,
            link = raised.nic.link,
            vid = raised.vid.map(Vid::get),
            "uplink opened"
        );
        Ok(raised)
    }

    /// Like [`Networks::place`], whatever the network's stage.
    fn place_of(&self, id: &str) -> Option<Place> {
        lock(&self.table).networks.get(id).map(Network::place)
    }

    /// The NIC's port, while there is one.
    fn lan_port(&self, id: &str) -> Option<LanPort> {
        self.change(id, |network| network.ways.uplink.clone())?
    }

    /// A container of the network has its port, or has it again.
    pub(crate) fn admit(&self, place: &Place, record: &EndpointRecord) {
        if let Some(uplink) = self.lan_port(&place.record.id) {
            uplink.admit(&place.record, record);
        }
        self.lead_to_lan(&place.record.id, false);
    }

    /// Its port is about to go.
    pub(crate) fn dismiss(&self, place: &Place, record: &EndpointRecord) {
        if let Some(uplink) = self.lan_port(&place.record.id) {
            uplink.device.dismiss(Mac::new(record.mac));
        }
    }

    /// What a DHCP client talks through on the network's LAN.
    pub(crate) fn lease_wire(&self, id: &str) -> std::io::Result<LeaseWire> {
        let no_uplink = || {
            std::io::Error::other(
                "the network has no uplink now; `tapestry network inspect` says why",
            )
        };
        let uplink = self.lan_port(id).ok_or_else(no_uplink)?;
        LeaseWire::open(&uplink.device)
    }

    /// The one MAC that a container of the network may have: the NIC's, in the mode `passthru`.
    pub(crate) fn only_mac(&self, place: &Place) -> Option<String> {
        if place.record.lan_mode() != LanMode::Passthru {
            return None;
        }
        let uplink = self.lan_port(&place.record.id)?;
        Some(uplink.device.crossing().nic().to_string())
    }

    /// Makes the host reach the containers of a LAN, and them the host. `anew`: the host's own addresses changed.
    pub(crate) fn lead_to_lan(&self, id: &str, anew: bool) {
        let parts = self.change(id, |network| {
            let is_lan = network.record.is_lan();
            let segment = network.segment.clone().filter(|_| is_lan)?;
            let ways = &network.ways;
            Some((
                segment,
                ways.uplink.clone()?,
                ways.host.clone()?,
                network.place(),
            ))
        });
        let Some((segment, uplink, host, place)) = parts.flatten() else {
            return;
        };
        if anew {
            // On one VLAN of a link the host has no address.
            let own = match uplink.vid {
                None => uplink.nic.own_addresses(),
                Some(_) => Vec::new(),
            };
            segment.bridge.set_gateway(segment.gateway_mac, &own);
        }
        let plugged = place.seats.plugged();
        let stations = plugged.iter().flat_map(|(record, _)| record.addresses());
        let stations: BTreeMap<IpAddr, Option<IpAddr>> = stations
            .map(|address| (address, uplink.nic.source_for(address)))
            .collect();
        let led = Netlink::open().and_then(|mut netlink| {
            let link = netlink.link_by_name(&host.link)?;
            netlink.lead_to_stations(&link, &stations, anew)
        });
        if let Err(error) = led {
            let name = &place.record.name;
            tracing::warn!(network = name, %error, "the host does not reach its containers");
        }
    }

    /// Makes uplinks fit the NICs as they are now.
    pub(crate) fn follow_uplinks(&self) -> Result<(), NetlinkError> {
        let present = {
            let table = lock(&self.table);
            let present = table.present().filter_map(|network| {
                let uplink = network.record.uplink()?;
                Some((Arc::clone(&network.record), uplink))
            });
            present.collect::<Vec<_>>()
        };
        if present.is_empty() {
            return Ok(());
        }
        let mut netlink = Netlink::open()?;
        for (record, uplink) in present {
            let _turn = self.turns.take(record.id.clone());
            let found = find(&mut netlink, &uplink).ok();
            let found = found.filter(|(nic, _)| nic.up);
            match (self.lan_port(&record.id), found) {
                (None, None) => {}
                (Some(before), Some((nic, vid))) if before.is_on(&nic, vid) => {
                    self.adapt_uplink(&record, before, nic);
                }
                (before, _) => {
                    if before.is_some() {
                        self.close_uplink(&record);
                    }
                    self.open_uplink(&record);
                }
            }
        }
        Ok(())
    }

    fn adapt_uplink(&self, record: &NetworkRecord, before: LanPort, nic: Nic) {
        if before.nic == nic {
            return;
        }
        if let (true, Some(mac)) = (before.nic.mac != nic.mac, nic.mac)
            && let Err(error) = before.device.rename(Mac::new(mac))
        {
            tracing::warn!(network = record.name, %error, "the uplink goes by its old MAC");
        }
        if before.nic.mtu != nic.mtu {
            tracing::info!(
                network = record.name,
                link = nic.link,
                mtu = nic.mtu,
                "MTU of the uplink changed"
            );
            let segment = self.place_of(&record.id).and_then(|place| place.segment);
            if let Some(segment) = segment {
                segment
                    .bridge
                    .add_port(before.port, record.uplink_config(nic.mtu));
            }
        }
        self.change(&record.id, |network| {
            network.ways.uplink = Some(LanPort { nic, ..before });
        });
        self.lead_to_lan(&record.id, true);
    }

    fn close_uplink(&self, record: &NetworkRecord) {
        let gone = self.change(&record.id, |network| network.ways.uplink.take());
        if let Some(uplink) = gone.flatten() {
            tracing::info!(
                network = record.name,
                link = uplink.nic.link,
                "uplink closed"
            );
            let counts = self.ground.switch.remove_port(uplink.port).counters();
            self.add_gone(&record.id, &counts);
        }
    }

    /// A NIC went down or away behind the agent's back. Whether it was one.
    pub(crate) fn uplink_gone(&self, port: PortId) -> bool {
        let record = {
            let table = lock(&self.table);
            let mut present = table.present();
            let behind = present.find(|network| {
                let uplink = network.ways.uplink.as_ref();
                uplink.is_some_and(|uplink| uplink.port == port)
            });
            behind.map(|network| Arc::clone(&network.record))
        };
        let Some(record) = record else {
            return false;
        };
        let _turn = self.turns.take(record.id.clone());
        self.close_uplink(&record);
        self.open_uplink(&record);
        true
    }
}

impl LanPort {
    fn admit(&self, network: &NetworkRecord, record: &EndpointRecord) {
        let (mac, addresses) = (Mac::new(record.mac), record.addresses());
        if let Err(error) = self.device.admit(mac, &addresses) {
            let (endpoint, network) = (&record.name, &network.name);
            tracing::warn!(endpoint, network, %error, "the NIC may keep out what is for it");
        }
    }

    fn is_on(&self, nic: &Nic, vid: Option<Vid>) -> bool {
        self.nic.index == nic.index && self.vid == vid
    }

    pub(super) fn translates(&self) -> bool {
        self.device.crossing().rule().translates()
    }
}

/// What the API shows of a network's uplink.
pub(super) fn view(
    record: &NetworkRecord,
    port: Option<&LanPort>,
    why: Option<String>,
) -> Option<UplinkView> {
    let uplink = record.uplink()?;
    Some(UplinkView {
        parent: uplink.parent.name,
        up: port.is_some(),
        why: why.filter(|_| port.is_none()),
        link: port.map(|port| port.nic.link.clone()),
        mac: port.map(|port| port.device.crossing().nic().to_string()),
        vlan: port.and_then(|port| port.vid).map(Vid::get),
        mtu: port.map(|port| port.nic.mtu),
        translates: uplink.rule.translates(),
    })
}

/// A link of the very name, or the link that the name stands for a VLAN of.
fn find(netlink: &mut Netlink, uplink: &Uplink) -> Result<(Nic, Option<Vid>), RaiseUplink> {
    let parent = &uplink.parent;
    match (netlink.nic(&parent.name), &parent.vlan) {
        (Ok(nic), _) => Ok((nic, None)),
        (Err(NetlinkError::NoSuchLink(_)), Some((link, vid))) => match netlink.nic(link) {
            Ok(nic) => Ok((nic, Some(*vid))),
            Err(NetlinkError::NoSuchLink(link)) => Err(RaiseUplink::NoLink(link)),
            Err(error) => Err(error.into()),
        },
        (Err(NetlinkError::NoSuchLink(link)), None) => Err(RaiseUplink::NoLink(link)),
        (Err(error), _) => Err(error.into()),
    }
}
