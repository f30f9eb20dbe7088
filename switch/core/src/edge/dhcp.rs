//! A DHCPv4 server without a pool: it confirms what IPAM decided.
//!
//! # Theory of operation
//!
//! Addresses belong to endpoints, not to leases, so there is no state: the registered host of the asking MAC decides
//! every answer. A MAC that is not registered gets silence, never a NAK, so that another DHCP server on a shared
//! segment keeps its clients (RFC 2131 §4.3.2); the owner is told, for a client that waits in vain is hard to understand.
//! RELEASE and DECLINE change nothing, for the address stays the endpoint's.
//!
//! The hardware address in a message must be the frame's source: one host does not ask for another's. A relay does (RFC 1542
//! §4.1): then the answer goes to the relay, which must have an address in the subnet, with what it said about itself
//! (RFC 3046 §2.2).
//!
//! Messages are untrusted bytes. Only the fields and options that decide anything are decoded, by dhcproto's lazy
//! reader: its full decoder asserts the lengths of options that no client of ours needs.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use dhcproto::Encodable;
use dhcproto::v4::{
    DhcpOption, DhcpOptions, HType, Message, MessageType, Opcode, OptionCode, borrowed,
};

use super::config::{EdgeConfig, HostRecord};
use crate::Mac;
use crate::dhcp::{CLIENT_PORT, MESSAGE_LEN_MIN, SERVER_PORT, address};

/// A reply and where it goes: the caller frames it, since the client may not have its address yet.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) message: Vec<u8>,
    pub(super) mac: Mac,
    pub(super) address: Ipv4Addr,
    pub(super) udp_port: u16,
    /// Whose address it confirms.
    pub(super) leased: Option<(Mac, Ipv4Addr)>,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Malformed, for another server, or nothing that is answered.
    Ignored,
    /// The client is no registered host.
    Unknown(Mac),
}

/// Answers `request`, a UDP payload from a frame sent by `source`.
pub(super) fn reply(
    config: &EdgeConfig,
    hosts: &HashMap<Mac, HostRecord>,
    source: Mac,
    request: &[u8],
) -> Result<Reply, Silence> {
    let subnet = config.v4.ok_or(Silence::Ignored)?;
    let request = Request::decode(request, source, subnet).ok_or(Silence::Ignored)?;
    let host = hosts.get(&request.client);
    let host = host.ok_or(Silence::Unknown(request.client))?;
    let kind = request.kind_of_reply(subnet.0, host);
    let kind = kind.ok_or(Silence::Ignored)?;
    let message = compose(config, &request, kind, host, subnet);
    let (mac, address) = request.destination(kind, source, host);
    let mut bytes = message.to_vec().map_err(|_| Silence::Ignored)?;
    if let Some(information) = &request.relay_information {
        append_relay_information(&mut bytes, information);
    }
    if bytes.len() < MESSAGE_LEN_MIN {
        bytes.resize(MESSAGE_LEN_MIN, 0);
    }
    Ok(Reply {
        message: bytes,
        mac,
        address,
        udp_port: if request.is_relayed() {
            SERVER_PORT
        } else {
            CLIENT_PORT
        },
        leased: request
            .is_leased(kind)
            .then_some((request.client, host.ipv4)),
    })
}

/// As the last option (RFC 3046 §2.1), byte for byte.
fn append_relay_information(message: &mut Vec<u8>, information: &[u8]) {
    let Ok(len) = u8::try_from(information.len()) else {
        return;
    };
    if message.pop_if(|last| *last == END).is_some() {
        message.extend([RELAY_INFORMATION, len]);
        message.extend(information);
        message.push(END);
    }
}

/// What a client said, as far as it matters.
struct Request<'a> {
    message: borrowed::Message<'a>,
    client: Mac,
    kind: MessageType,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client_id: Option<Vec<u8>>,
    /// What a relay said about itself and the client.
    relay_information: Option<Vec<u8>>,
}

impl<'a> Request<'a> {
    /// `None` unless this is a well-formed request that `source` makes for itself, or that a relay in the subnet passes on.
    /// The hardware length is checked first: dhcproto takes it at its word.
    fn decode(bytes: &'a [u8], source: Mac, subnet: (Ipv4Addr, u8)) -> Option<Self> {
        let message = borrowed::Message::new(bytes).ok()?;
        let is_request = message.opcode() == Opcode::BootRequest
            && message.htype() == HType::Eth
            && message.hlen() == 6;
        if !is_request {
            return None;
        }
        let client = Mac::new(message.chaddr().try_into().ok()?);
        let relay = message.giaddr();
        let is_asked_rightly = if relay.is_unspecified() {
            client == source
        } else {
            client.is_station() && is_host_of(subnet, relay)
        };
        if !is_asked_rightly {
            return None;
        }
        let mut kind = None;
        let (mut requested, mut server, mut client_id) = (None, None, None);
        let mut relay_information = None;
        for option in message.opts() {
            match (option.code(), option.data()) {
                (OptionCode::MessageType, &[value]) => kind = Some(MessageType::from(value)),
                (OptionCode::RequestedIpAddress, data) => requested = address(data),
                (OptionCode::ServerIdentifier, data) => server = address(data),
                (OptionCode::ClientIdentifier, data) => client_id = Some(data.to_vec()),
                (OptionCode::RelayAgentInformation, data) => {
                    relay_information = Some(data.to_vec());
                }
                _ => {}
            }
        }
        client_id = client_id.filter(|id| (2..=MAX_CLIENT_ID).contains(&id.len()));
        relay_information = relay_information.filter(|_| !relay.is_unspecified());
        Some(Self {
            message,
            client,
            kind: kind?,
            requested,
            server,
            client_id,
            relay_information,
        })
    }

    fn is_relayed(&self) -> bool {
        !self.message.giaddr().is_unspecified()
    }

    /// Who informs has its address from elsewhere.
    fn is_leased(&self, kind: MessageType) -> bool {
        kind == MessageType::Ack && self.kind == MessageType::Request
    }

    /// `None`: nothing is to be said.
    fn kind_of_reply(&self, gateway: Ipv4Addr, host: &HostRecord) -> Option<MessageType> {
        match self.kind {
            MessageType::Discover => Some(MessageType::Offer),
            MessageType::Request => self.judge(gateway, host),
            MessageType::Inform if !self.message.ciaddr().is_unspecified() => {
                Some(MessageType::Ack)
            }
            _ => None,
        }
    }

    /// RFC 2131 §4.3.2: which of its four states the client is in, and whether it may have what it asks for.
    fn judge(&self, gateway: Ipv4Addr, host: &HostRecord) -> Option<MessageType> {
        if self.server.is_some_and(|server| server != gateway) {
            // SELECTING, and another server was chosen.
            return None;
        }
        // SELECTING and INIT-REBOOT carry the option, RENEWING and REBINDING the field.
        let wanted = self.requested.unwrap_or(self.message.ciaddr());
        if wanted.is_unspecified() {
            return None;
        }
        Some(if wanted == host.ipv4 {
            MessageType::Ack
        } else {
            MessageType::Nak
        })
    }

    /// RFC 2131 §4.1: a relay gets everything; else a NAK is broadcast, a client with an address gets it there, one that asked for broadcast gets
    /// that, and any other gets its new address at its hardware address.
    fn destination(&self, kind: MessageType, source: Mac, host: &HostRecord) -> (Mac, Ipv4Addr) {
        if self.is_relayed() {
            (source, self.message.giaddr())
        } else if kind == MessageType::Nak {
            (Mac::BROADCAST, Ipv4Addr::BROADCAST)
        } else if !self.message.ciaddr().is_unspecified() {
            (source, self.message.ciaddr())
        } else if self.message.flags().broadcast() {
            (Mac::BROADCAST, Ipv4Addr::BROADCAST)
        } else {
            (source, host.ipv4)
        }
    }
}

fn compose(
    config: &EdgeConfig,
    request: &Request<'_>,
    kind: MessageType,
    host: &HostRecord,
    (gateway, prefix): (Ipv4Addr, u8),
) -> Message {
    let informed = request.kind == MessageType::Inform;
    let mut message = header_of(&request.message, kind);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(gateway));
    if let Some(id) = &request.client_id {
        // RFC 6842 §3: the server returns what it got.
        options.insert(DhcpOption::ClientIdentifier(id.clone()));
    }
    if kind == MessageType::Nak {
        return message;
    }
    insert_parameters(options, config, host, gateway, prefix);
    if !informed {
        insert_lease(options, config.lease_s);
        message.set_yiaddr(host.ipv4);
    }
    message
}

/// The fields that every reply copies (RFC 2131 §4.3.1, table 3).
fn header_of(request: &borrowed::Message<'_>, kind: MessageType) -> Message {
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootReply)
        .set_htype(HType::Eth)
        .set_xid(request.xid())
        .set_flags(request.flags())
        .set_giaddr(request.giaddr())
        .set_chaddr(request.chaddr());
    if kind == MessageType::Nak && !request.giaddr().is_unspecified() {
        // RFC 2131 §4.3.2: the client may have no address at which the relay could tell it.
        message.set_flags(request.flags().set_broadcast());
    }
    if kind == MessageType::Ack {
        message.set_ciaddr(request.ciaddr());
    }
    message
}

fn insert_parameters(
    options: &mut DhcpOptions,
    config: &EdgeConfig,
    host: &HostRecord,
    gateway: Ipv4Addr,
    prefix: u8,
) {
    let mask = mask_of(prefix);
    options.insert(DhcpOption::SubnetMask(mask));
    options.insert(DhcpOption::BroadcastAddr(gateway | !mask));
    options.insert(DhcpOption::InterfaceMtu(config.mtu));
    if config.routed {
        options.insert(DhcpOption::Router(vec![gateway]));
    }
    options.insert(DhcpOption::DomainNameServer(name_servers(
        config, host, gateway,
    )));
    if let Some(domain) = &config.domain {
        options.insert(DhcpOption::DomainName(domain.clone()));
    }
    if let Some(hostname) = &host.hostname {
        options.insert(DhcpOption::Hostname(hostname.clone()));
    }
}

fn name_servers(config: &EdgeConfig, host: &HostRecord, gateway: Ipv4Addr) -> Vec<Ipv4Addr> {
    let chosen = if host.dns_servers.is_empty() {
        &config.dns_servers
    } else {
        &host.dns_servers
    };
    if chosen.is_empty() {
        return vec![gateway];
    }
    chosen.iter().copied().take(MAX_NAME_SERVERS).collect()
}

/// Lease, renewal and rebinding times (RFC 2131 §4.4.5: T1 at a half, T2 at seven eighths).
fn insert_lease(options: &mut DhcpOptions, lease_s: u32) {
    options.insert(DhcpOption::AddressLeaseTime(lease_s));
    options.insert(DhcpOption::Renewal(lease_s / 2));
    options.insert(DhcpOption::Rebinding(lease_s - lease_s / 8));
}

/// Whether somebody other than the gateway may have the address in its subnet.
fn is_host_of((gateway, prefix): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    let mask = mask_of(prefix);
    let network = gateway & mask;
    address & mask == network
        && address != network
        && address != gateway
        && address != gateway | !mask
}

fn mask_of(prefix: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(u32::from(prefix));
    Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}

const RELAY_INFORMATION: u8 = 82;
const END: u8 = 255;
/// Longest client identifier returned, in bytes.
const MAX_CLIENT_ID: usize = 64;
/// Keeps replies inside the 576 bytes that every client takes.
const MAX_NAME_SERVERS: usize = 8;

#[cfg(test)]
mod tests;
