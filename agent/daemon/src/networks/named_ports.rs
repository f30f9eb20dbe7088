//! Ports by the names that people have for them.

use std::collections::BTreeSet;

use agent_core::capture::NamedPort;
use agent_core::record::EndpointRecord;

use super::view::Seen;
use super::{Network, Networks};
use crate::locks::lock;
use crate::seats::Plug;

impl Networks {
    /// The ports of every network that there is, by the networks' ids. Nothing is asked of the kernel.
    pub(crate) fn named_ports(&self) -> Vec<(String, NamedPort)> {
        let table = lock(&self.table);
        let ports = table.present().flat_map(|network| {
            let id = &network.record.id;
            let ports = named_ports(network).into_iter();
            ports.map(|port| (id.clone(), port))
        });
        ports.collect()
    }

    /// The ports of the network with that very id, in the order of their numbers; none where it is gone.
    pub(crate) fn named_ports_of(&self, id: &str) -> Vec<NamedPort> {
        let table = lock(&self.table);
        let network = table.present().find(|network| network.record.id == id);
        network.map_or_else(Vec::new, named_ports)
    }
}

fn named_ports(network: &Network) -> Vec<NamedPort> {
    let seen = Seen::of(network);
    let plugged = network.seats.plugged();
    let own: BTreeSet<_> = plugged.iter().filter_map(|(_, plug)| plug.port).collect();
    let others = seen.owners().into_iter();
    let others = others.filter(|(port, _)| !own.contains(port));
    let others = others.map(|(port, owner)| NamedPort {
        port,
        owner,
        link: seen.link(port),
        sandbox: None,
    });
    let endpoints = plugged
        .iter()
        .filter_map(|(record, plug)| named(record, plug));
    let mut ports: Vec<_> = others.chain(endpoints).collect();
    ports.sort_by_key(|port| port.port.0);
    ports
}

fn named(record: &EndpointRecord, plug: &Plug) -> Option<NamedPort> {
    Some(NamedPort {
        port: plug.port?,
        owner: record.name.clone(),
        // One that is about to be made has none yet.
        link: Some(plug.link.clone()).filter(|link| !link.is_empty()),
        sandbox: Some(record.owner.clone()),
    })
}
