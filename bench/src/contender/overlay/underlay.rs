//! The underlay: a veth pair between two namespaces, set up to behave like one kind of wire or another.

use std::net::Ipv4Addr;
use std::process::Command;

use super::super::bridge::veth::in_namespace;
use crate::command::{self, ip};
use crate::netns::Netns;
use crate::trouble::Trouble;

/// What is between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Underlay {
    /// Bytes of an IP packet.
    pub(crate) mtu: u16,
    pub(crate) wire: Wire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// GSO trains cross whole, as between guests of one machine.
    Offloaded,
    /// Every packet walks alone, as on a cable.
    Segmented,
    /// The same, and each host loses one IP packet in a hundred of those that arrive.
    Lossy,
}

impl Underlay {
    pub(crate) const PLAIN: Self = Self {
        mtu: 1500,
        wire: Wire::Offloaded,
    };
}

/// A namespace that stands for a host.
#[derive(Debug)]
pub(in super::super) struct Host {
    pub(in super::super) netns: Netns,
    pub(in super::super) address: Ipv4Addr,
    /// The other host.
    pub(in super::super) remote: Ipv4Addr,
}

impl Host {
    /// Both of them, on `underlay`.
    pub(in super::super) fn pair(underlay: Underlay) -> Result<[Self; 2], Trouble> {
        let host = |address, remote| {
            Ok::<_, Trouble>(Self {
                netns: Netns::new("host")?,
                address,
                remote,
            })
        };
        let [first, second] = ADDRESSES;
        let hosts = [host(first, second)?, host(second, first)?];
        let (mtu, [one, two]) = (underlay.mtu, &hosts);
        ip(&format!(
            "-n {} link add {UNDERLAY} mtu {mtu} type veth peer name {UNDERLAY} mtu {mtu} netns {}",
            one.netns.name(),
            two.netns.name()
        ))?;
        for host in &hosts {
            host.raise(underlay.wire)?;
        }
        Ok(hosts)
    }

    pub(super) fn ip(&self, arguments: &str) -> Result<(), Trouble> {
        in_namespace(&self.netns, arguments)
    }

    /// Runs `command` inside to its end and gives its output.
    pub(super) fn run(&self, command: &mut Command) -> Result<String, Trouble> {
        self.netns.enter(|| command::run(command))?
    }

    fn raise(&self, wire: Wire) -> Result<(), Trouble> {
        if wire != Wire::Offloaded {
            self.run(Command::new("ethtool").args(["-K", UNDERLAY]).args(SINGLE))?;
        }
        if wire == Wire::Lossy {
            self.run(Command::new("nft").arg(LOSS))?;
        }
        self.ip(&format!("addr add {}/24 dev {UNDERLAY}", self.address))?;
        self.ip(&format!("link set {UNDERLAY} up"))
    }
}

/// The hosts' link to each other.
pub(super) const UNDERLAY: &str = "under0";
/// IPv4, UDP, VXLAN and the inner Ethernet header.
pub(super) const VXLAN_OVERHEAD: u16 = 20 + 8 + 8 + 14;
/// RFC 5737.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
/// Superframes are cut and checksums made before the veth.
const SINGLE: [&str; 8] = ["tso", "off", "gso", "off", "gro", "off", "tx", "off"];
/// Before anything looks at the packet, whoever's it is.
const LOSS: &str = "table netdev loss {
    chain arrive {
        type filter hook ingress device under0 priority 0
        meta protocol ip numgen random mod 100 == 0 counter drop
    }
}";
