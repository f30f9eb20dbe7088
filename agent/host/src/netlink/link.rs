//! Links: what they are, and what may be set on them.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage,
};
use nix::errno::Errno;

use super::attributes::attribute;
use super::error::NetlinkError;
use super::socket::{Netlink, Request};

/// What may be set on a link in one go; `None` leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    pub name: Option<String>,
    pub mac: Option<[u8; 6]>,
    /// Bytes of the network layer packet.
    pub mtu: Option<u32>,
    /// Packets the link's queue holds.
    pub tx_queue_length: Option<u32>,
    /// `false`: the kernel makes no link-local address, and so sends no router solicitation or DAD of its own.
    pub ipv6_link_local: Option<bool>,
    /// A text that stays with the link wherever it is moved, and whatever it is called there.
    pub alias: Option<String>,
    pub up: Option<bool>,
}

/// A link as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEntry {
    pub index: u32,
    pub name: String,
    /// Absent where the link has none of six bytes.
    pub mac: Option<[u8; 6]>,
    pub mtu: u32,
    pub tx_queue_length: u32,
    pub up: bool,
    /// The driver's word (`tun`, `veth`, `bridge`), absent for plain devices.
    pub kind: Option<String>,
    pub alias: Option<String>,
}

impl Netlink {
    pub fn link_by_name(&mut self, name: &str) -> Result<LinkEntry, NetlinkError> {
        let mut question = LinkMessage::default();
        question
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.link(question, || name.to_owned())
    }

    pub fn link_by_index(&mut self, index: u32) -> Result<LinkEntry, NetlinkError> {
        self.link(about(index), || format!("number {index}"))
    }

    pub fn set_link(&mut self, link: &LinkEntry, to: &LinkSettings) -> Result<(), NetlinkError> {
        self.run(vec![set_request(link.index, to)], |_, refusal| {
            let link = link.name.clone();
            match to.up {
                Some(true) => NetlinkError::Up { link, refusal },
                _ => NetlinkError::Configure { link, refusal },
            }
        })
    }

    pub fn rename_link(&mut self, link: &LinkEntry, name: &str) -> Result<(), NetlinkError> {
        let mut message = about(link.index);
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.run(vec![set(message)], |_, refusal| NetlinkError::Rename {
            link: link.name.clone(),
            name: name.to_owned(),
            refusal,
        })
    }

    /// Deletes the link. A link that is gone already counts as deleted.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let request = Request {
            message: RouteNetlinkMessage::DelLink(message),
            flags: 0,
        };
        match self.apply(vec![request])? {
            Some(refused) if refused.refusal.errno != Errno::ENODEV => Err(NetlinkError::Delete {
                link: name.to_owned(),
                refusal: refused.refusal,
            }),
            _ => Ok(()),
        }
    }

    pub fn loopback_up(&mut self) -> Result<(), NetlinkError> {
        self.run(vec![loopback_request()], |_, refusal| NetlinkError::Up {
            link: "lo".into(),
            refusal,
        })
    }

    pub fn links(&mut self) -> Result<Vec<LinkEntry>, NetlinkError> {
        let mut question = LinkMessage::default();
        question
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.dump_raw("links", RouteNetlinkMessage::GetLink(question), listed)
    }

    fn link(
        &mut self,
        question: LinkMessage,
        subject: impl FnOnce() -> String,
    ) -> Result<LinkEntry, NetlinkError> {
        match self.ask(RouteNetlinkMessage::GetLink(question))? {
            Ok(answer) => link_entry(&answer).ok_or(NetlinkError::Missing("link")),
            Err(refusal) if matches!(refusal.errno, Errno::ENODEV | Errno::ERANGE) => {
                Err(NetlinkError::NoSuchLink(subject()))
            }
            Err(refusal) => Err(NetlinkError::List {
                what: "a link",
                refusal,
            }),
        }
    }
}

pub(super) fn set_request(index: u32, to: &LinkSettings) -> Request {
    let mut message = about(index);
    if let Some(up) = to.up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags.set(LinkFlags::Up, up);
    }
    message
        .attributes
        .extend(to.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    message.attributes.extend(to.mtu.map(LinkAttribute::Mtu));
    message
        .attributes
        .extend(to.tx_queue_length.map(LinkAttribute::TxQueueLen));
    message
        .attributes
        .extend(to.ipv6_link_local.map(link_local));
    message
        .attributes
        .extend(to.name.clone().map(LinkAttribute::IfName));
    message
        .attributes
        .extend(to.alias.clone().map(LinkAttribute::IfAlias));
    set(message)
}

pub(super) fn loopback_request() -> Request {
    let up = LinkSettings {
        up: Some(true),
        ..LinkSettings::default()
    };
    set_request(LOOPBACK_INDEX, &up)
}

pub(super) const UP: LinkSettings = LinkSettings {
    name: None,
    mac: None,
    mtu: None,
    tx_queue_length: None,
    ipv6_link_local: None,
    alias: None,
    up: Some(true),
};

pub(super) fn about(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

pub(super) fn set(message: LinkMessage) -> Request {
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
    }
}

fn link_local(wanted: bool) -> LinkAttribute {
    let mode = if wanted {
        In6AddrGenMode::Eui64
    } else {
        In6AddrGenMode::None
    };
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
        mode,
    )])])
}

/// A link of a list.
///
/// ```text
/// nlmsghdr: length 4 | type 2 | flags 2 | sequence 4 | port id 4
/// ifinfomsg: family 1 | padding 1 | type 2 | index 4 | flags 4 | change 4         (linux/rtnetlink.h)
/// attributes
/// ```
fn listed(message: &[u8]) -> Option<LinkEntry> {
    let number = |at: usize| Some(u32::from_ne_bytes(*message.get(at..)?.first_chunk()?));
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    if kind != libc::RTM_NEWLINK {
        return None;
    }
    let attributes = message.get(32..)?;
    let value = |wanted| attribute(attributes, wanted);
    let number_of = |wanted| Some(u32::from_ne_bytes(value(wanted)?.try_into().ok()?));
    let info = value(libc::IFLA_LINKINFO).and_then(|info| attribute(info, libc::IFLA_INFO_KIND));
    Some(LinkEntry {
        index: number(20)?,
        name: text(value(libc::IFLA_IFNAME)?)?,
        mac: value(libc::IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()),
        mtu: number_of(libc::IFLA_MTU).unwrap_or_default(),
        tx_queue_length: number_of(libc::IFLA_TXQLEN).unwrap_or_default(),
        up: number(24)? & UP_FLAG != 0,
        kind: info.and_then(text),
        alias: value(libc::IFLA_IFALIAS).and_then(text),
    })
}

fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}

fn link_entry(message: &RouteNetlinkMessage) -> Option<LinkEntry> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut entry = LinkEntry {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        tx_queue_length: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        kind: None,
        alias: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => entry.name.clone_from(name),
            LinkAttribute::Address(mac) => entry.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => entry.mtu = *mtu,
            LinkAttribute::TxQueueLen(length) => entry.tx_queue_length = *length,
            LinkAttribute::IfAlias(alias) => entry.alias = Some(alias.clone()),
            LinkAttribute::LinkInfo(infos) => entry.kind = infos.iter().find_map(kind),
            _ => {}
        }
    }
    Some(entry)
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => Some(kind.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// The kernel makes `lo` first in every namespace.
const LOOPBACK_INDEX: u32 = 1;
/// `IFF_UP` of linux/if.h.
const UP_FLAG: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::push_attribute;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 14]);
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(UP_FLAG.to_ne_bytes());
        bytes.extend([0; 4]);
        for (kind, value) in attributes {
            push_attribute(&mut bytes, *kind, value);
        }
        bytes
    }

    #[test]
    fn a_listed_link_is_read() {
        let mut info = Vec::new();
        push_attribute(&mut info, libc::IFLA_INFO_KIND, b"tun\0");
        let bytes = message(
            libc::RTM_NEWLINK,
            &[
                (libc::IFLA_IFNAME, b"eth0\0"),
                (libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
                (libc::IFLA_MTU, &1400_u32.to_ne_bytes()),
                (libc::IFLA_LINKINFO, &info),
                (libc::IFLA_IFALIAS, b"mine\0"),
            ],
        );
        let expected = LinkEntry {
            index: 7,
            name: "eth0".into(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1400,
            tx_queue_length: 0,
            up: true,
            kind: Some("tun".into()),
            alias: Some("mine".into()),
        };
        assert_eq!(listed(&bytes), Some(expected));
        assert_eq!(listed(&message(libc::RTM_NEWADDR, &[])), None);
        for length in 0..bytes.len() {
            // Short of its end it may lack anything but its name.
            if let Some(link) = listed(&bytes[..length]) {
                assert_eq!(link.name, "eth0");
            }
        }
    }
}
