//! Host links that somebody changed. They are the agent's own, so they are put right again.
//!
//! # Theory of operation
//!
//! The kernel says when links, addresses or forwarding change ([`agent_host::netlink::LinkWatch`]); then the agent looks at the host
//! links that it was about, and where one is not as it was made, by its TAP, wherever that is and whatever it is called by now. What is still there gets back its name, MAC, MTU and addresses, and
//! is brought up. One that was deleted, or moved to another namespace, is made again. A published port and the way out are away as
//! long as that takes; connections of both go on.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use agent_core::endpoint::{LinkState, changed};
use agent_core::record::NetworkRecord;
use agent_host::netlink::{HostLink, LinkSettings, Netlink, NetlinkError, configure_host_link};
use agent_host::{Netns, netns_id};
use switch_core::PortId;
use switch_io::whereabouts;

use super::host_link::host_link;
use super::{HostPort, Network, Networks, Stage, Table};
use crate::locks::lock;

impl Networks {
    /// Puts right what host links have no more. Whether there was anything to do.
    pub(crate) fn mend_host_links(&self) -> Result<bool, NetlinkError> {
        let open = self.host_ports();
        if open.is_empty() {
            return Ok(false);
        }
        let mut netlink = Netlink::open()?;
        let states = netlink.states()?;
        Ok(self.mend_all(&mut netlink, &open, |_, name| states.get(name).cloned()))
    }

    /// The same of those with these names.
    pub(crate) fn mend_host_links_of(
        &self,
        links: &BTreeSet<&String>,
    ) -> Result<bool, NetlinkError> {
        if links.len() > SINGLE_MAX {
            return self.mend_host_links();
        }
        let open: Vec<_> = {
            let table = lock(&self.table);
            let open = links.iter().filter_map(|link| table.host_port(link));
            open.collect()
        };
        if open.is_empty() {
            return Ok(false);
        }
        let mut netlink = Netlink::open()?;
        Ok(self.mend_all(&mut netlink, &open, |netlink, name| {
            netlink.state_of(name).ok()
        }))
    }

    fn mend_all(
        &self,
        netlink: &mut Netlink,
        open: &[(Arc<NetworkRecord>, HostPort)],
        find: impl Fn(&mut Netlink, &str) -> Option<LinkState>,
    ) -> bool {
        let mut is_mended = false;
        for (record, host) in open {
            if self.mend(netlink, &find, (record, host)) {
                self.filter.lead_loopback(record);
                is_mended = true;
            }
        }
        is_mended
    }

    /// Lets the host forward again, where somebody has turned that off.
    pub(crate) fn keep_forwarding(&self) {
        if let Err(why) = self.filter.keep_forwarding() {
            self.ground.warn(why.to_string());
        }
    }

    fn host_ports(&self) -> Vec<(Arc<NetworkRecord>, HostPort)> {
        let table = lock(&self.table);
        table.present().filter_map(Network::host_port).collect()
    }

    fn mend(
        &self,
        netlink: &mut Netlink,
        find: impl Fn(&mut Netlink, &str) -> Option<LinkState>,
        (record, host): (&Arc<NetworkRecord>, &HostPort),
    ) -> bool {
        let wanted = host_link(record);
        // Nobody else's link has its name and its MAC.
        let found = find(netlink, &wanted.name);
        if found.is_some_and(|found| changed(&given(&wanted), &found).is_empty()) {
            return false;
        }
        // Of one that has no link any more the switch tells.
        let Ok((namespace, name)) = whereabouts(&host.tap) else {
            return false;
        };
        let network = &record.name;
        let there = Netns::from_file(File::from(namespace), Path::new(&name));
        let own = netns_id(Path::new(OWN_NAMESPACE));
        if let (Ok(there), Ok(own)) = (there, own)
            && there.id() != own
        {
            tracing::warn!(
                network,
                "host link was moved to another namespace, and is made again"
            );
            self.make_again(record, host.port);
            return true;
        }
        let Some(found) = find(netlink, &name) else {
            return false;
        };
        let changes = changed(&given(&wanted), &found);
        if changes.is_empty() {
            return false;
        }
        let renamed = match name == wanted.name {
            true => Ok(()),
            false => rename(netlink, &name, &wanted.name),
        };
        match renamed.and_then(|()| configure_host_link(netlink, &wanted)) {
            Ok(_) => {
                for change in changes {
                    tracing::warn!(network, "host link {change}: it is put right");
                }
                true
            }
            Err(error) => {
                let changes = changes.join(", ");
                self.ground.warn(format!(
                    "the host link of network {network:?} {changes}, and cannot be put right: {error}"
                ));
                false
            }
        }
    }

    /// A host link was deleted behind the agent's back. Whether it was one.
    pub(crate) fn host_port_gone(&self, port: PortId) -> bool {
        let gone = self.host_ports().into_iter();
        let mut gone = gone.filter(|(_, host)| host.port == port);
        let Some((record, _)) = gone.next() else {
            return false;
        };
        let network = &record.name;
        tracing::warn!(network, "host link was deleted, and is made again");
        self.make_again(&record, port);
        true
    }

    /// Makes the host port again in place of `port`, unless somebody has already.
    fn make_again(&self, record: &Arc<NetworkRecord>, port: PortId) {
        let _turn = self.turns.take(record.id.clone());
        let dead = self.change(&record.id, |network| {
            let host = &mut network.ways.host;
            host.take_if(|host| host.port == port)
        });
        let Some(host) = dead.flatten() else {
            return;
        };
        let counts = self.drop_host_port(&record.id, &host).counters();
        self.add_gone(&record.id, &counts);
        // What goes wrong is kept with the network, and tried again.
        let _ = self.open_one(record, self.filter.open());
    }
}

impl Network {
    fn host_port(&self) -> Option<(Arc<NetworkRecord>, HostPort)> {
        let host = self.ways.host.clone()?;
        Some((Arc::clone(&self.record), host))
    }
}

impl Table {
    /// The open host port with that link.
    fn host_port(&self, link: &str) -> Option<(Arc<NetworkRecord>, HostPort)> {
        let digits = NetworkRecord::digits_of(link)?;
        let behind = self.networks.range(digits.to_owned()..);
        let own = behind.take_while(|(id, _)| id.starts_with(digits));
        let mut present = own.filter(|(_, network)| network.stage == Stage::Up);
        present.find_map(|(_, network)| network.host_port())
    }
}

fn given(wanted: &HostLink) -> LinkState {
    LinkState {
        name: wanted.name.clone(),
        mac: Some(wanted.mac),
        mtu: wanted.mtu,
        up: true,
        addresses: wanted.addresses.clone(),
    }
}

/// Kernels before 6.2 rename no link that is up.
fn rename(netlink: &mut Netlink, from: &str, to: &str) -> Result<(), NetlinkError> {
    let link = netlink.link_by_name(from)?;
    let down = LinkSettings {
        up: Some(false),
        ..LinkSettings::default()
    };
    netlink.set_link(&link, &down)?;
    netlink.rename_link(&link, to)
}

/// More are listed together.
const SINGLE_MAX: usize = 8;
const OWN_NAMESPACE: &str = "/proc/self/ns/net";
