//! The subnets that a namespace uses already.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::network::SubnetEntry;
use agent_core::record::NetworkRecord;
use netlink_sys::Socket;
use rustix::net::netdevice::index_to_name;

use super::error::NetlinkError;
use super::socket::Netlink;
use super::subject::{Names, Subject};
use super::watch::{
    RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK,
    drain, listen,
};

/// Every subnet that a namespace has an address in or a route to, by other links than the agent's: what new networks must avoid.
///
/// The kernel lists all there are, and most of them are the agent's own where it has many networks. So they are listed once, and again
/// when the kernel has told of a change that is not about a link of the agent's.
#[derive(Debug)]
pub struct SubnetWatch {
    socket: Socket,
    names: Names,
    /// Absent where it is not known, or not any more.
    known: Option<Known>,
    listings: u64,
}

#[derive(Debug)]
struct Known {
    foreign: BTreeSet<SubnetEntry>,
    /// By links that are called like the agent's and are not: nobody takes them for his own later.
    left: BTreeMap<u32, BTreeSet<SubnetEntry>>,
}

impl SubnetWatch {
    /// Of the calling thread's namespace, where it is to be asked.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: listen(&GROUPS).map_err(NetlinkError::Open)?,
            names: Names::default(),
            known: None,
            listings: 0,
        })
    }

    /// What is in use but by the agent's `own` links, which are asked for where all is listed.
    pub fn in_use(
        &mut self,
        own: impl FnOnce() -> BTreeSet<String>,
    ) -> Result<Vec<SubnetEntry>, NetlinkError> {
        self.hear()?;
        let known = match self.known.take() {
            Some(known) => known,
            None => self.list(&own())?,
        };
        let known = self.known.insert(known);
        let left = known.left.values().flatten();
        Ok(known.foreign.iter().chain(left).cloned().collect())
    }

    /// How often all was listed so far.
    pub const fn listings(&self) -> u64 {
        self.listings
    }

    fn hear(&mut self) -> Result<(), NetlinkError> {
        let Self {
            socket,
            names,
            known,
            ..
        } = self;
        let hear = |message: Option<&[u8]>| {
            if message.is_none() {
                names.0.clear();
            }
            let said = message.and_then(Subject::of);
            let link = said.as_ref().and_then(|said| said.link);
            let (Some(said), Some(index)) = (said, link) else {
                *known = None;
                return;
            };
            let names = names.follow(index, &said);
            let is_agents = |name: &String| NetworkRecord::is_host_link(name);
            if names.is_empty() || !names.iter().all(is_agents) {
                *known = None;
            } else if let (libc::RTM_DELLINK, Some(known)) = (said.kind, known.as_mut()) {
                known.left.remove(&index);
            }
        };
        drain(socket, hear).map_err(NetlinkError::Exchange)
    }

    fn list(&mut self, own: &BTreeSet<String>) -> Result<Known, NetlinkError> {
        self.listings += 1;
        let mut netlink = Netlink::open()?;
        let connected = netlink.addresses()?.into_iter();
        let connected = connected.map(|entry| (entry.address, None, Some(entry.link_index)));
        let routed = netlink.routes()?.into_iter();
        let routed = routed.map(|entry| (entry.destination, entry.gateway, entry.link_index));
        let mut known = Known {
            foreign: BTreeSet::new(),
            left: BTreeMap::new(),
        };
        let there = connected.chain(routed);
        for (subnet, gateway, index) in there.filter(|(subnet, ..)| subnet.prefix_len() > 0) {
            let link = index.and_then(|index| self.name_of(&netlink, index));
            if link.as_ref().is_some_and(|link| own.contains(link)) {
                continue;
            }
            let is_left = link.as_deref().is_some_and(NetworkRecord::is_host_link);
            let entry = SubnetEntry {
                subnet: subnet.trunc(),
                gateway,
                link,
            };
            match index.filter(|_| is_left) {
                Some(index) => known.left.entry(index).or_default().insert(entry),
                None => known.foreign.insert(entry),
            };
        }
        Ok(known)
    }

    /// Each is asked for once: a list of all links costs the kernel ten times as much.
    fn name_of(&mut self, netlink: &Netlink, index: u32) -> Option<String> {
        let known = self.names.0.get(&index).cloned();
        let name = known.or_else(|| index_to_name(netlink.socket(), index).ok())?;
        self.names.0.insert(index, name.clone());
        Some(name)
    }
}

const GROUPS: [u32; 5] = [
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_ROUTE,
];
