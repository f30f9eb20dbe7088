//! DNS over TCP, from a client with an IP stack of its own.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp as client_tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::*;

/// A client's TCP stack on the other side of the bridge.
struct Client {
    interface: Interface,
    device: Wire,
    sockets: SocketSet<'static>,
    now: u64,
}

impl Client {
    fn new() -> Self {
        let mut device = Wire::default();
        let mut interface =
            Interface::new(Config::new(HardwareAddress::Ip), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(CLIENT.into(), 24)).unwrap();
            addresses.push(IpCidr::new(CLIENT6.into(), 64)).unwrap();
        });
        Self {
            interface,
            device,
            sockets: SocketSet::new(Vec::new()),
            now: 0,
        }
    }

    fn connect(&mut self, server: IpAddress, client_port: u16) -> SocketHandle {
        let buffer = || client_tcp::SocketBuffer::new(vec![0; 128 * 1024]);
        let mut socket = client_tcp::Socket::new(buffer(), buffer());
        socket
            .connect(self.interface.context(), (server, 53), client_port)
            .unwrap();
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut client_tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn send(&mut self, handle: SocketHandle, bytes: &[u8]) {
        assert_eq!(self.socket(handle).send_slice(bytes), Ok(bytes.len()));
    }

    fn received(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut bytes = vec![0; 128 * 1024];
        let length = self.socket(handle).recv_slice(&mut bytes).unwrap_or(0);
        bytes.truncate(length);
        bytes
    }

    /// Carries packets both ways for `millis` of both clocks.
    fn run(&mut self, edge: &mut Edge, millis: u64) {
        let end = self.now + millis;
        while self.now <= end {
            let now = Instant::from_millis(i64::try_from(self.now).unwrap());
            self.interface
                .poll(now, &mut self.device, &mut self.sockets);
            let sent = std::mem::take(&mut self.device.sent);
            let quiet = sent.is_empty();
            for packet in sent {
                let frame = frame::attach(CLIENT_MAC, GATEWAY_MAC, &packet).unwrap();
                edge.handle_input(Time::from_millis(self.now), &frame);
            }
            if edge
                .poll_timeout()
                .is_some_and(|at| at.as_millis() <= self.now)
            {
                edge.handle_timeout(Time::from_millis(self.now));
            }
            while let Some(frame) = edge.poll_transmit() {
                let ethernet = Ethernet::parse(&frame).unwrap();
                assert_eq!(ethernet.destination, CLIENT_MAC);
                assert!(ethernet.packet.len() <= 1500);
                self.device.received.push_back(ethernet.packet.to_vec());
            }
            if quiet && self.device.received.is_empty() {
                self.now += 1;
            }
        }
    }
}

#[derive(Default)]
struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

struct Incoming(Vec<u8>);

impl phy::RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_packet: F) -> R {
        use_packet(&self.0)
    }
}

struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        self.0.push(packet);
        result
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

#[test]
fn tcp_connection_carries_queries_and_answers_in_any_order() {
    for server in [IpAddress::from(GATEWAY), IpAddress::from(GATEWAY6)] {
        let (mut edge, mut client) = (edge(), Client::new());
        let handle = client.connect(server, 4000);
        client.run(&mut edge, 5);
        let mut bytes = framed(b"first");
        bytes.extend(framed(b"second"));
        let (head, tail) = bytes.split_at(9);
        client.send(handle, head);
        client.run(&mut edge, 5);
        let (first, transport, message) = next_query(&mut edge).unwrap();
        assert_eq!((transport, &message[..]), (Transport::Tcp, &b"first"[..]));
        assert!(edge.poll_event().is_none());
        client.send(handle, tail);
        client.run(&mut edge, 5);
        let (second, _, message) = next_query(&mut edge).unwrap();
        assert_eq!(message, b"second");
        edge.answer(second, b"SECOND");
        edge.answer(first, b"FIRST");
        client.run(&mut edge, 5);
        let mut expected = framed(b"SECOND");
        expected.extend(framed(b"FIRST"));
        assert_eq!(client.received(handle), expected);
    }
}

#[test]
fn longest_answer_crosses_a_tcp_connection() {
    let (mut edge, mut client) = (edge(), Client::new());
    let handle = client.connect(GATEWAY.into(), 4000);
    client.run(&mut edge, 5);
    client.send(handle, &framed(b"query"));
    client.run(&mut edge, 5);
    let (query, _, _) = next_query(&mut edge).unwrap();
    let answer: Vec<u8> = (0..=u8::MAX).cycle().take(65_535).collect();
    edge.answer(query, &answer);
    client.run(&mut edge, 50);
    assert_eq!(client.received(handle), framed(&answer));
}

#[test]
fn connection_closes_after_the_client_and_the_last_answer() {
    let (mut edge, mut client) = (edge(), Client::new());
    let handle = client.connect(GATEWAY.into(), 4000);
    client.run(&mut edge, 5);
    client.send(handle, &framed(b"query"));
    client.socket(handle).close();
    client.run(&mut edge, 5);
    assert_eq!(client.socket(handle).state(), client_tcp::State::FinWait2);
    let (query, _, _) = next_query(&mut edge).unwrap();
    edge.answer(query, b"answer");
    client.run(&mut edge, 20);
    assert_eq!(client.received(handle), framed(b"answer"));
    assert_eq!(client.socket(handle).state(), client_tcp::State::TimeWait);
    assert_eq!(edge.counters().connections_reset, 0);
    assert_eq!(edge.poll_timeout(), None);
}

#[test]
fn idle_connection_is_reset_after_ten_seconds() {
    let (mut edge, mut client) = (edge(), Client::new());
    let handle = client.connect(GATEWAY.into(), 4000);
    client.run(&mut edge, 9_000);
    assert_eq!(
        client.socket(handle).state(),
        client_tcp::State::Established
    );
    client.run(&mut edge, 1_500);
    assert_eq!(client.socket(handle).state(), client_tcp::State::Closed);
    assert_eq!(edge.counters().connections_reset, 1);
    assert_eq!(edge.poll_timeout(), None);
}

#[test]
fn broken_framing_resets_the_connection() {
    for bytes in [vec![0, 0, 1, 2], vec![0xff, 0xff, 1, 2]] {
        let (mut edge, mut client) = (edge(), Client::new());
        let handle = client.connect(GATEWAY.into(), 4000);
        client.run(&mut edge, 5);
        client.send(handle, &bytes);
        client.run(&mut edge, 5);
        assert_eq!(client.socket(handle).state(), client_tcp::State::Closed);
        assert!(edge.poll_event().is_none());
    }
}

#[test]
fn unanswered_queries_of_a_connection_are_bounded() {
    let (mut edge, mut client) = (edge(), Client::new());
    let handle = client.connect(GATEWAY.into(), 4000);
    client.run(&mut edge, 5);
    for _ in 0..40 {
        client.send(handle, &framed(b"query"));
    }
    client.run(&mut edge, 5);
    let waiting: Vec<_> = std::iter::from_fn(|| next_query(&mut edge)).collect();
    assert_eq!(waiting.len(), 16);
    for (query, _, _) in waiting {
        edge.answer(query, b"answer");
    }
    client.run(&mut edge, 5);
    assert_eq!(std::iter::from_fn(|| next_query(&mut edge)).count(), 16);
}

#[test]
fn silent_connections_make_room_for_a_new_client() {
    let (mut edge, mut client) = (edge(), Client::new());
    for client_port in 0..500 {
        client.connect(GATEWAY.into(), 5000 + client_port);
        client.run(&mut edge, 10);
    }
    client.run(&mut edge, 400);
    let handle = client.connect(GATEWAY.into(), 4000);
    client.run(&mut edge, 5);
    assert_eq!(
        client.socket(handle).state(),
        client_tcp::State::Established
    );
    client.send(handle, &framed(b"query"));
    client.run(&mut edge, 5);
    assert_eq!(next_query(&mut edge).unwrap().2, b"query");
}

#[test]
fn closed_ports_of_the_gateway_refuse() {
    let mut edge = edge();
    let frame = udp_frame("10.0.0.2:4000", "10.0.0.1:9", b"x");
    edge.handle_input(Time::default(), &frame);
    let (_, payload) = next_payload(&mut edge).unwrap();
    let packet = Icmpv4Packet::new_checked(&payload[..]).unwrap();
    assert_eq!(
        packet.msg_type(),
        smoltcp::wire::Icmpv4Message::DstUnreachable
    );
}
