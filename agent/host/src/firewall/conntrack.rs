//! Forgetting connections that a change of published ports or of a container's addresses made wrong.
//!
//! The kernel decides about redirection once per connection and remembers it as long as packets come. A client that
//! keeps sending to a port from one source port (a resolver, a VPN) would so go on reaching the host, or a container that
//! is gone, for ever. TCP connections end by themselves, but not before their packets have reached whoever has the
//! container's address next.

use std::io;
use std::net::IpAddr;

use agent_api::TransportProtocol;
use agent_core::firewall::Published;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::netlink::{attribute, messages};

/// Deletes the associations with a host's own address that do not go where they should by now.
///
/// `published`: the ports as they are; `withdrawn`: those that were. Returns how many were deleted.
pub(super) fn forget_stale(
    published: &[Published],
    withdrawn: &[Published],
    own_addresses: &[IpAddr],
) -> io::Result<usize> {
    let is_udp = |port: &&Published| port.protocol == TransportProtocol::Udp;
    let published: Vec<&Published> = published.iter().filter(is_udp).collect();
    let withdrawn: Vec<&Published> = withdrawn.iter().filter(is_udp).collect();
    if published.is_empty() && withdrawn.is_empty() {
        return Ok(0);
    }
    forget(|connection| {
        let association = connection.association();
        association.is_some_and(|association| {
            own_addresses.contains(&association.to) && association.is_stale(&published, &withdrawn)
        })
    })
}

/// Deletes whatever began at one of these addresses or is answered by it, so that who has it next gets nothing of it.
pub(super) fn forget_addresses(addresses: &[IpAddr]) -> io::Result<usize> {
    if addresses.is_empty() {
        return Ok(0);
    }
    forget(|connection| {
        let ends = [connection.began(), connection.answers()];
        let is_released = |end: Option<IpAddr>| end.is_some_and(|end| addresses.contains(&end));
        ends.into_iter().any(is_released)
    })
}

fn forget(is_wrong: impl Fn(&Connection<'_>) -> bool) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let wrong: Vec<Vec<u8>> = dump(&socket)?
        .iter()
        .flat_map(|bytes| messages(bytes))
        .filter_map(Connection::parse)
        .filter(is_wrong)
        .map(|connection| connection.deletion())
        .collect();
    for deletion in &wrong {
        // One that ended meanwhile is refused, which is as good.
        socket.send(deletion, 0)?;
    }
    Ok(wrong.len())
}

/// An entry of connection tracking, of any protocol.
struct Connection<'a> {
    family: u8,
    /// The original direction, as the kernel wrote it.
    original: &'a [u8],
    reply: &'a [u8],
}

impl<'a> Connection<'a> {
    /// `nlmsghdr` 16 | `nfgenmsg` 4 | attributes
    fn parse(message: &'a [u8]) -> Option<Self> {
        let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
        if kind != CT_NEW {
            return None;
        }
        let family = *message.get(16)?;
        let attributes = message.get(20..)?;
        Some(Self {
            family,
            original: attribute(attributes, CTA_TUPLE_ORIG)?,
            reply: attribute(attributes, CTA_TUPLE_REPLY)?,
        })
    }

    fn began(&self) -> Option<IpAddr> {
        ip(self.original, CTA_IP_V4_SRC, CTA_IP_V6_SRC)
    }

    /// Who answers: a container where the packets are redirected.
    fn answers(&self) -> Option<IpAddr> {
        ip(self.reply, CTA_IP_V4_SRC, CTA_IP_V6_SRC)
    }

    fn association(&self) -> Option<Association> {
        let udp = attribute(attribute(self.original, CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)?;
        if *udp != [UDP] {
            return None;
        }
        Some(Association {
            to: ip(self.original, CTA_IP_V4_DST, CTA_IP_V6_DST)?,
            to_port: port(self.original, CTA_PROTO_DST_PORT)?,
            answers: self.answers()?,
            answers_port: port(self.reply, CTA_PROTO_SRC_PORT)?,
        })
    }

    /// The request to delete exactly this one.
    fn deletion(&self) -> Vec<u8> {
        let attribute_bytes = 4 + self.original.len();
        let padded = attribute_bytes.next_multiple_of(4);
        let mut request = header(CT_DELETE, NLM_F_REQUEST, self.family, padded);
        let length = u16::try_from(attribute_bytes).unwrap_or(u16::MAX);
        request.extend(length.to_ne_bytes());
        request.extend((CTA_TUPLE_ORIG | NLA_F_NESTED).to_ne_bytes());
        request.extend(self.original);
        request.resize(request.len().next_multiple_of(4), 0);
        request
    }
}

/// A client's datagrams to an address of this host.
struct Association {
    to: IpAddr,
    to_port: u16,
    answers: IpAddr,
    answers_port: u16,
}

impl Association {
    fn is_stale(&self, published: &[&Published], withdrawn: &[&Published]) -> bool {
        let redirected = self.answers != self.to;
        let mut wanted = published.iter().filter(|run| self.is_to(run)).peekable();
        if wanted.peek().is_some() {
            return !wanted.any(|run| self.reaches(run));
        }
        redirected
            && withdrawn
                .iter()
                .any(|run| self.is_to(run) && self.reaches(run))
    }

    fn is_to(&self, run: &Published) -> bool {
        let any = run.host_ip.is_none_or(|host_ip| host_ip.is_unspecified());
        run.target_of(self.to_port).is_some()
            && self.to.is_ipv4() == run.container.is_ipv4()
            && (any || run.host_ip == Some(self.to))
            && !self.is_proxied()
    }

    /// The filter leads no such packet on.
    fn is_proxied(&self) -> bool {
        match self.to {
            IpAddr::V4(_) => false,
            IpAddr::V6(to) => to.is_loopback() || to.is_unicast_link_local(),
        }
    }

    fn reaches(&self, run: &Published) -> bool {
        let answers = std::net::SocketAddr::new(self.answers, self.answers_port);
        run.target_of(self.to_port) == Some(answers)
    }
}

fn ip(tuple: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    let addresses = attribute(tuple, CTA_TUPLE_IP)?;
    if let Some(octets) = attribute(addresses, v4) {
        return Some(<[u8; 4]>::try_from(octets).ok()?.into());
    }
    let octets = attribute(addresses, v6)?;
    Some(<[u8; 16]>::try_from(octets).ok()?.into())
}

fn port(tuple: &[u8], which: u16) -> Option<u16> {
    let value = attribute(attribute(tuple, CTA_TUPLE_PROTO)?, which)?;
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

/// Every entry, as the kernel's reads.
fn dump(socket: &Socket) -> io::Result<Vec<Vec<u8>>> {
    let request = header(CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 0, 0);
    socket.send(&request, 0)?;
    let mut reads = Vec::new();
    loop {
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        socket.recv(&mut buffer, 0)?;
        if buffer.is_empty() || messages(&buffer).any(ends_dump) {
            reads.push(buffer);
            return Ok(reads);
        }
        reads.push(buffer);
    }
}

fn ends_dump(message: &[u8]) -> bool {
    message.get(4..6).is_some_and(|kind| {
        [NLMSG_DONE, NLMSG_ERROR].contains(&u16::from_ne_bytes([kind[0], kind[1]]))
    })
}

fn header(kind: u16, flags: u16, family: u8, attribute_bytes: usize) -> Vec<u8> {
    let length = u32::try_from(20 + attribute_bytes).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes
}

// linux/netlink.h
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 1 << 15;
// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1 << 8;
const CT_NEW: u16 = NFNL_SUBSYS_CTNETLINK;
const CT_GET: u16 = NFNL_SUBSYS_CTNETLINK | 1;
const CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const UDP: u8 = 17;
const RECEIVE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn published(host_ip: Option<&str>, container: &str) -> Published {
        Published {
            protocol: TransportProtocol::Udp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 53,
            container: container.parse().unwrap(),
            ports: 1,
        }
    }

    fn association(to: &str, answers: &str) -> Association {
        let to: std::net::SocketAddr = to.parse().unwrap();
        let answers: std::net::SocketAddr = answers.parse().unwrap();
        Association {
            to: to.ip(),
            to_port: to.port(),
            answers: answers.ip(),
            answers_port: answers.port(),
        }
    }

    #[test]
    fn what_goes_to_the_host_or_another_container_is_stale_once_published() {
        let now = published(None, "172.17.0.3:53");
        let stale = |answers| association("192.0.2.1:53", answers).is_stale(&[&now], &[]);
        assert!(stale("192.0.2.1:53"));
        assert!(stale("172.17.0.2:53"));
        assert!(!stale("172.17.0.3:53"));
        assert!(!association("192.0.2.1:54", "192.0.2.1:54").is_stale(&[&now], &[]));
        assert!(association("127.0.0.1:53", "127.0.0.1:53").is_stale(&[&now], &[]));
        let now = published(None, "[fd00::3]:53");
        assert!(!association("[::1]:53", "[::1]:53").is_stale(&[&now], &[]));
    }

    #[test]
    fn each_port_of_a_range_has_its_own_target() {
        let range = Published {
            ports: 10,
            ..published(None, "172.17.0.3:1053")
        };
        let stale = |to, answers| association(to, answers).is_stale(&[&range], &[]);
        assert!(!stale("192.0.2.1:60", "172.17.0.3:1060"));
        assert!(stale("192.0.2.1:60", "172.17.0.3:1053"));
        assert!(!stale("192.0.2.1:63", "192.0.2.1:63"));
    }

    #[test]
    fn what_goes_to_a_container_is_stale_once_withdrawn() {
        let then = published(Some("192.0.2.1"), "172.17.0.2:53");
        let stale = |to, answers| association(to, answers).is_stale(&[], &[&then]);
        assert!(stale("192.0.2.1:53", "172.17.0.2:53"));
        assert!(!stale("192.0.2.1:53", "192.0.2.1:53"));
        assert!(!stale("192.0.2.9:53", "172.17.0.2:53"));
    }

    #[test]
    fn truncated_entries_are_none() {
        let whole = header(CT_NEW, 0, 2, 0);
        for length in 0..whole.len() {
            assert!(Connection::parse(&whole[..length]).is_none());
        }
    }
}
