//! A DHCPv4 client that leases an address for somebody else.
//!
//! # Theory of operation
//!
//! RFC 2131 §4.4, as a poll machine: frames and the clock go in, frames and events come out. One client leases one address
//! for one station, by the station's MAC (`chaddr`); the station itself need not be there, and knows nothing of it.
//!
//! ```text
//!  Selecting --offer--> Requesting --ack--> Bound --T1--> Renewing --T2--> Rebinding --end--> Selecting
//!      ^                    |                 ^________ack___|_______ack_______|
//!      |________nak_________|                     (a nak anywhere: Selecting, and the lease is lost)
//! ```
//!
//! A client that knows an address from before asks for that at once (INIT-REBOOT, §3.2). Everything is broadcast and asks to be
//! answered so, because the station's MAC may not be on the wire; only a renewal goes to the server.
//!
//! Answers are untrusted: one counts if it bears the transaction and the MAC, is a reply, and, after an offer, comes from that server.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, HType, Message, MessageType, Opcode, OptionCode, borrowed};
use etherparse::PacketBuilder;

use crate::dhcp::{CLIENT_PORT, MESSAGE_LEN_MIN, SERVER_PORT, address};
use crate::packet::{Packet, protocol};
use crate::{Frame, Mac, Time};

/// What a server leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub server: Ipv4Addr,
    pub prefix_len: Option<u8>,
    pub router: Option<Ipv4Addr>,
    pub duration: Duration,
}

/// What became of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// It is had, or had for longer.
    Bound(Lease),
    /// The server refuses it, or nobody confirmed it in time: its address is not to be used any more.
    Lost,
}

/// The client of one station.
#[derive(Debug)]
pub struct DhcpClient {
    mac: Mac,
    hostname: Option<String>,
    transaction: u32,
    state: State,
    /// When to act next, and how often it was acted in this state.
    next: Time,
    tries: u32,
    out: Option<Vec<u8>>,
    event: Option<LeaseEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Selecting,
    /// Of a server, or of whoever knows.
    Requesting {
        address: Ipv4Addr,
        server: Option<Ipv4Addr>,
    },
    Bound {
        lease: Lease,
        server_mac: Mac,
        since: Time,
    },
}

impl DhcpClient {
    /// `transaction` is random; `known`: the address that the station had before.
    pub fn new(
        mac: Mac,
        hostname: Option<String>,
        transaction: u32,
        known: Option<Ipv4Addr>,
        now: Time,
    ) -> Self {
        Self {
            mac,
            hostname,
            transaction,
            state: match known {
                None => State::Selecting,
                Some(address) => State::Requesting {
                    address,
                    server: None,
                },
            },
            next: now,
            tries: 0,
            out: None,
            event: None,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Time {
        self.next
    }

    /// A frame to be sent.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.take()
    }

    pub fn poll_event(&mut self) -> Option<LeaseEvent> {
        self.event.take()
    }

    /// The lease, while there is one.
    pub const fn lease(&self) -> Option<Lease> {
        match self.state {
            State::Bound { lease, .. } => Some(lease),
            _ => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Time) {
        if now < self.next {
            return;
        }
        match self.state {
            State::Selecting => {
                self.out = Some(self.broadcast(MessageType::Discover, None, None));
                self.wait(now);
            }
            State::Requesting { .. } if self.tries >= REQUESTS_MAX => self.begin_anew(now),
            State::Requesting { address, server } => {
                self.out = Some(self.broadcast(MessageType::Request, Some(address), server));
                self.wait(now);
            }
            State::Bound {
                lease,
                server_mac,
                since,
            } => self.hold(now, lease, server_mac, since),
        }
    }

    /// A frame from the LAN.
    pub fn handle_input(&mut self, now: Time, bytes: &[u8]) {
        let Some(answer) = Answer::read(bytes, self.mac, self.transaction) else {
            return;
        };
        match (self.state, answer.kind) {
            (State::Selecting, MessageType::Offer) => {
                let Some(server) = answer.server else {
                    return;
                };
                self.state = State::Requesting {
                    address: answer.address,
                    server: Some(server),
                };
                self.tries = 0;
                self.next = now;
                self.handle_timeout(now);
            }
            (State::Requesting { address, server }, MessageType::Ack)
                if address == answer.address && (server.is_none() || server == answer.server) =>
            {
                self.bind(now, &answer);
            }
            (State::Bound { lease, .. }, MessageType::Ack)
                if lease.address == answer.address && self.tries > 0 =>
            {
                self.bind(now, &answer);
            }
            (State::Requesting { server, .. }, MessageType::Nak)
                if server.is_none() || server == answer.server =>
            {
                self.event = Some(LeaseEvent::Lost);
                self.begin_anew(now);
            }
            (State::Bound { lease, .. }, MessageType::Nak)
                if answer.server == Some(lease.server) && self.tries > 0 =>
            {
                self.event = Some(LeaseEvent::Lost);
                self.begin_anew(now);
            }
            _ => {}
        }
    }

    /// The station goes: what is to be sent to give its address back (§4.4.6). Nothing where it has none.
    pub fn release(&self) -> Option<Vec<u8>> {
        let State::Bound {
            lease, server_mac, ..
        } = self.state
        else {
            return None;
        };
        let mut message = self.message(MessageType::Release);
        message.set_ciaddr(lease.address);
        message
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(lease.server));
        Some(self.frame(&message, (server_mac, lease.server), lease.address))
    }

    fn hold(&mut self, now: Time, lease: Lease, server_mac: Mac, since: Time) {
        let age = now.since(since);
        if age >= lease.duration {
            self.event = Some(LeaseEvent::Lost);
            return self.begin_anew(now);
        }
        let is_rebinding = age >= lease.duration / 8 * 7;
        let to = match is_rebinding {
            true => (Mac::BROADCAST, Ipv4Addr::BROADCAST),
            false => (server_mac, lease.server),
        };
        self.transaction = self.transaction.wrapping_add(1);
        let mut message = self.message(MessageType::Request);
        message.set_ciaddr(lease.address);
        self.out = Some(self.frame(&message, to, lease.address));
        self.tries += 1;
        // Half of what is left (§4.4.5), and not less than a minute unless the lease is so short.
        let left = lease.duration.saturating_sub(age);
        self.next = now + (left / 2).max(RENEWAL_GAP).min(left);
    }

    fn bind(&mut self, now: Time, answer: &Answer) {
        let lease = Lease {
            address: answer.address,
            server: answer.server.unwrap_or(Ipv4Addr::BROADCAST),
            prefix_len: answer.prefix_len,
            router: answer.router,
            duration: answer.duration,
        };
        self.state = State::Bound {
            lease,
            server_mac: answer.source,
            since: now,
        };
        self.tries = 0;
        self.next = now + lease.duration / 2;
        self.event = Some(LeaseEvent::Bound(lease));
    }

    fn begin_anew(&mut self, now: Time) {
        self.transaction = self.transaction.wrapping_add(1);
        self.state = State::Selecting;
        self.tries = 0;
        self.next = now + FIRST_GAP;
    }

    // §4.1: twice as long each time, up to about a minute.
    fn wait(&mut self, now: Time) {
        self.next = now + FIRST_GAP * (1 << self.tries.min(GAP_DOUBLINGS));
        self.tries += 1;
    }

    fn broadcast(
        &self,
        kind: MessageType,
        address: Option<Ipv4Addr>,
        server: Option<Ipv4Addr>,
    ) -> Vec<u8> {
        let mut message = self.message(kind);
        let options = message.opts_mut();
        if let Some(address) = address {
            options.insert(DhcpOption::RequestedIpAddress(address));
        }
        if let Some(server) = server {
            options.insert(DhcpOption::ServerIdentifier(server));
        }
        let everybody = (Mac::BROADCAST, Ipv4Addr::BROADCAST);
        self.frame(&message, everybody, Ipv4Addr::UNSPECIFIED)
    }

    fn message(&self, kind: MessageType) -> Message {
        let mut message = Message::default();
        message
            .set_opcode(Opcode::BootRequest)
            .set_htype(HType::Eth)
            .set_xid(self.transaction)
            .set_chaddr(&self.mac.octets());
        let flags = message.flags().set_broadcast();
        message.set_flags(flags);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        if kind != MessageType::Release {
            options.insert(DhcpOption::ParameterRequestList(vec![
                OptionCode::SubnetMask,
                OptionCode::Router,
                OptionCode::AddressLeaseTime,
            ]));
            if let Some(hostname) = &self.hostname {
                options.insert(DhcpOption::Hostname(hostname.clone()));
            }
        }
        message
    }

    fn frame(&self, message: &Message, to: (Mac, Ipv4Addr), from: Ipv4Addr) -> Vec<u8> {
        let mut payload = message.to_vec().unwrap_or_default();
        payload.resize(payload.len().max(MESSAGE_LEN_MIN), 0);
        let packet = PacketBuilder::ethernet2(self.mac.octets(), to.0.octets())
            .ipv4(from.octets(), to.1.octets(), 64)
            .udp(CLIENT_PORT, SERVER_PORT);
        let mut frame = Vec::with_capacity(packet.size(payload.len()));
        // A vector takes all that is written.
        let _ = packet.write(&mut frame, &payload);
        frame
    }
}

/// What a server says to this client.
struct Answer {
    kind: MessageType,
    source: Mac,
    address: Ipv4Addr,
    server: Option<Ipv4Addr>,
    prefix_len: Option<u8>,
    router: Option<Ipv4Addr>,
    duration: Duration,
}

impl Answer {
    fn read(bytes: &[u8], mac: Mac, transaction: u32) -> Option<Self> {
        let frame = Frame::parse(bytes).ok()?;
        let packet = Packet::parse(&frame).filter(|packet| packet.protocol == protocol::UDP)?;
        let datagram = packet.transport(&frame);
        if datagram.get(..4)? != [0, 67, 0, 68] {
            return None;
        }
        let message = borrowed::Message::new(datagram.get(8..)?).ok()?;
        let is_for_us = message.opcode() == Opcode::BootReply
            && message.htype() == HType::Eth
            && message.hlen() == 6
            && message.xid() == transaction
            && message.chaddr() == mac.octets();
        if !is_for_us {
            return None;
        }
        let mut answer = Self {
            kind: MessageType::Unknown(0),
            source: frame.src(),
            address: message.yiaddr(),
            server: None,
            prefix_len: None,
            router: None,
            duration: DURATION_DEFAULT,
        };
        for option in message.opts() {
            match (option.code(), option.data()) {
                (OptionCode::MessageType, &[value]) => answer.kind = MessageType::from(value),
                (OptionCode::ServerIdentifier, data) => answer.server = address(data),
                (OptionCode::Router, data) => answer.router = data.get(..4).and_then(address),
                (OptionCode::SubnetMask, data) => {
                    answer.prefix_len = address(data).and_then(prefix_len);
                }
                (OptionCode::AddressLeaseTime, &[a, b, c, d]) => {
                    let seconds = u32::from_be_bytes([a, b, c, d]).max(DURATION_MIN_S);
                    answer.duration = Duration::from_secs(seconds.into());
                }
                _ => {}
            }
        }
        let is_refusal = answer.kind == MessageType::Nak;
        let is_host = !answer.address.is_unspecified() && !answer.address.is_multicast();
        (is_refusal || is_host).then_some(answer)
    }
}

fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let is_mask = bits.leading_ones() + bits.trailing_zeros() >= 32;
    is_mask.then(|| u8::try_from(bits.leading_ones()).unwrap_or(32))
}

const FIRST_GAP: Duration = Duration::from_secs(1);
/// Up to 64 s.
const GAP_DOUBLINGS: u32 = 6;
/// Requests for one address before another is asked for.
const REQUESTS_MAX: u32 = 4;
const RENEWAL_GAP: Duration = Duration::from_secs(60);
/// What a server leases that does not say for how long.
const DURATION_DEFAULT: Duration = Duration::from_secs(3_600);
/// A server that leases for less is not followed so closely.
const DURATION_MIN_S: u32 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac::new([2, 0x42, 0, 0, 0, 9]);
    const SERVER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const GIVEN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
    const BY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn client(known: Option<Ipv4Addr>) -> DhcpClient {
        DhcpClient::new(MAC, Some("web".into()), 7, known, at(0))
    }

    fn sent(client: &mut DhcpClient) -> Message {
        use dhcproto::Decodable;
        let frame = client.poll_transmit().unwrap();
        let parsed = Frame::parse(&frame).unwrap();
        let packet = Packet::parse(&parsed).unwrap();
        let datagram = packet.transport(&parsed);
        crate::testing::assert_checksums(&frame);
        Message::decode(&mut dhcproto::Decoder::new(&datagram[8..])).unwrap()
    }

    fn answer(to: &Message, kind: MessageType, lease_s: u32) -> Vec<u8> {
        let mut message = Message::default();
        message
            .set_opcode(Opcode::BootReply)
            .set_htype(HType::Eth)
            .set_xid(to.xid())
            .set_yiaddr(GIVEN)
            .set_chaddr(&MAC.octets());
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ServerIdentifier(BY));
        options.insert(DhcpOption::SubnetMask([255, 255, 255, 0].into()));
        options.insert(DhcpOption::Router(vec![BY]));
        options.insert(DhcpOption::AddressLeaseTime(lease_s));
        let packet = PacketBuilder::ethernet2(SERVER.octets(), [0xff; 6])
            .ipv4(BY.octets(), [255; 4], 64)
            .udp(67, 68);
        let mut frame = Vec::new();
        packet
            .write(&mut frame, &message.to_vec().unwrap())
            .unwrap();
        frame
    }

    fn bound(client: &mut DhcpClient, now: Time) {
        client.handle_timeout(now);
        let discover = sent(client);
        client.handle_input(now, &answer(&discover, MessageType::Offer, 100));
        let request = sent(client);
        assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
        client.handle_input(now, &answer(&request, MessageType::Ack, 100));
        assert!(matches!(client.poll_event(), Some(LeaseEvent::Bound(_))));
    }

    #[test]
    fn an_address_is_leased_renewed_and_given_back() {
        let mut client = client(None);
        bound(&mut client, at(0));
        let lease = client.lease().unwrap();
        assert_eq!(
            (lease.address, lease.server, lease.router),
            (GIVEN, BY, Some(BY))
        );
        assert_eq!(lease.prefix_len, Some(24));
        assert_eq!(client.poll_timeout(), at(50));
        client.handle_timeout(at(50));
        let renewal = sent(&mut client);
        assert_eq!(renewal.ciaddr(), GIVEN);
        client.handle_input(at(50), &answer(&renewal, MessageType::Ack, 100));
        assert!(matches!(client.poll_event(), Some(LeaseEvent::Bound(_))));
        assert_eq!(client.poll_timeout(), at(100));
        assert!(client.release().is_some());
    }

    #[test]
    fn a_lease_that_nobody_confirms_is_lost_at_its_end() {
        let mut client = client(None);
        bound(&mut client, at(0));
        while client.lease().is_some() {
            let now = client.poll_timeout();
            client.handle_timeout(now);
            assert!(now <= at(100));
        }
        assert_eq!(client.poll_event(), Some(LeaseEvent::Lost));
        assert_eq!(client.release(), None);
    }

    #[test]
    fn a_known_address_is_asked_for_at_once_and_another_after_a_refusal() {
        let mut client = client(Some(GIVEN));
        client.handle_timeout(at(0));
        let request = sent(&mut client);
        assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
        client.handle_input(at(0), &answer(&request, MessageType::Nak, 0));
        assert_eq!(client.poll_event(), Some(LeaseEvent::Lost));
        client.handle_timeout(client.poll_timeout());
        let next = sent(&mut client);
        assert_eq!(next.opts().msg_type(), Some(MessageType::Discover));
    }

    #[test]
    fn what_is_for_another_transaction_or_station_is_not_heard() {
        let mut client = client(None);
        client.handle_timeout(at(0));
        let discover = sent(&mut client);
        let mut other = answer(&discover, MessageType::Offer, 100);
        other[42 + 4] ^= 1;
        client.handle_input(at(0), &other);
        assert_eq!(client.poll_transmit(), None);
        let mut other = answer(&discover, MessageType::Offer, 100);
        other[42 + 28] ^= 1;
        client.handle_input(at(0), &other);
        assert_eq!(client.poll_transmit(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400), from in 0..300_usize) {
            let mut client = client(None);
            client.handle_timeout(at(0));
            let mut offer = answer(&sent(&mut client), MessageType::Offer, 100);
            client.handle_input(at(0), &bytes);
            let from = from.min(offer.len());
            offer.truncate(from);
            offer.extend(&bytes);
            client.handle_input(at(0), &offer);
        }
    }
}
