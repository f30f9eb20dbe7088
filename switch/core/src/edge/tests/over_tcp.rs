//! DNS over TCP, from a client with an IP stack of its own.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp as client_tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::*;

/// A client's TCP stack on the other side of the bridge.
struct Client {
    interface: Interface,
    device: Wire,
    sockets: SocketSet<'static>,
    now: u64,
    port: PortId,
}

impl Client {
    fn new() -> Self {
        Self::behind(CLIENT_PORT)
    }

    fn behind(port: PortId) -> Self {
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
            port,
        }
    }

    fn connect(&mut self, server: IpAddress, client_port: u16) -> SocketHandle {
        self.connect_with(server, client_port, 128 * 1024)
    }

    /// With room for so many bytes that nobody has read.
    fn connect_with(&mut self, server: IpAddress, client_port: u16, room: usize) -> SocketHandle {
        let buffer = |len| client_tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = client_tcp::Socket::new(buffer(room), buffer(128 * 1024));
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
                edge.handle_input(Time::from_millis(self.now), self.port, &frame);
            }
            if edge
                .poll_timeout()
                .is_some_and(|at| at.as_millis() <= self.now)
            {
                edge.handle_timeout(Time::from_millis(self.now));
            }
            while let Some(Transmit { egress, frame }) = edge.poll_transmit() {
                if egress != Some(self.port) {
                    continue;
                }
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
        let (first, carrier, message) = next_query(&mut edge).unwrap();
        assert_eq!((carrier, &message[..]), (Carrier::Tcp, &b"first"[..]));
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

/// Answers every query that waits with `length` bytes, and says how many there were.
fn answer_all(edge: &mut Edge, length: usize) -> usize {
    let waiting: Vec<_> = std::iter::from_fn(|| next_query(edge)).collect();
    for (query, ..) in &waiting {
        edge.answer(*query, &vec![7; length]);
    }
    waiting.len()
}

#[test]
fn long_answers_to_many_pipelined_queries_all_arrive() {
    for (count, length) in [(5, 30_000), (200, 8_000), (16, 65_535)] {
        let (mut edge, mut client) = (edge(), Client::new());
        let handle = client.connect(GATEWAY.into(), 4000);
        client.run(&mut edge, 5);
        for _ in 0..count {
            client.send(handle, &framed(b"query"));
        }
        let mut received = Vec::new();
        let mut most_waiting = 0;
        for _ in 0..2000 {
            client.run(&mut edge, 1);
            answer_all(&mut edge, length);
            most_waiting = most_waiting.max(edge.stack.waiting_bytes());
            received.extend(client.received(handle));
        }
        assert_eq!(received, framed(&vec![7; length]).repeat(count));
        assert_eq!(edge.counters().connections_reset, 0);
        assert!(
            most_waiting < 16 * 1024 + 16 * (length + 2),
            "{most_waiting}"
        );
    }
}

#[test]
fn a_slow_reader_gets_all_of_its_answers() {
    let (mut edge, mut client) = (edge(), Client::new());
    let handle = client.connect_with(GATEWAY.into(), 4000, 2048);
    client.run(&mut edge, 5);
    for _ in 0..30 {
        client.send(handle, &framed(b"query"));
    }
    let mut received = Vec::new();
    let mut answered = 0;
    // A tenth of a second for each two kilobytes, and once a pause that is longer than an idle connection lives.
    for round in 0..200 {
        client.run(&mut edge, if round == 20 { 15_000 } else { 100 });
        answered += answer_all(&mut edge, 8000);
        received.extend(client.received(handle));
    }
    assert_eq!(answered, 30);
    assert_eq!(received, framed(&[7; 8000]).repeat(30));
    assert_eq!(edge.counters().connections_reset, 0);
}

#[test]
fn who_never_reads_is_reset_in_the_end() {
    let (mut edge, mut client) = (edge(), Client::new());
    let handle = client.connect_with(GATEWAY.into(), 4000, 2048);
    client.run(&mut edge, 5);
    client.send(handle, &framed(b"query"));
    client.run(&mut edge, 5);
    answer_all(&mut edge, 30_000);
    client.run(&mut edge, 29_000);
    assert_eq!(edge.counters().connections_reset, 0);
    client.run(&mut edge, 2_000);
    assert_eq!(edge.counters().connections_reset, 1);
}

#[test]
fn ports_that_read_nothing_pay_for_it_themselves() {
    let mut edge = edge();
    let mut modest = Client::behind(PortId(1));
    let own = modest.connect_with(GATEWAY.into(), 3000, 2048);
    modest.run(&mut edge, 5);
    modest.send(own, &framed(b"query"));
    modest.run(&mut edge, 5);
    answer_all(&mut edge, 60_000);
    modest.run(&mut edge, 5);

    let mut greedy = Client::behind(PortId(2));
    for client_port in 5000..5063 {
        let handle = greedy.connect_with(GATEWAY6.into(), client_port, 2048);
        greedy.run(&mut edge, 5);
        for _ in 0..16 {
            greedy.send(handle, &framed(b"query"));
        }
        greedy.run(&mut edge, 5);
        answer_all(&mut edge, 65_535);
        assert!(edge.stack.waiting_bytes() <= 16 << 20);
    }
    assert!(edge.counters().connections_reset > 30);
    let mut received = Vec::new();
    for _ in 0..100 {
        modest.run(&mut edge, 20);
        received.extend(modest.received(own));
    }
    assert_eq!(received, framed(&vec![7; 60_000]));

    // Every place is taken by connections that are owed answers, and there is still one for the next client.
    for client_port in 6000..6064 {
        let handle = greedy.connect_with(GATEWAY6.into(), client_port, 2048);
        greedy.run(&mut edge, 5);
        // The newest may be the one that has to go.
        let _ = greedy.socket(handle).send_slice(&framed(b"query"));
        greedy.run(&mut edge, 5);
        answer_all(&mut edge, 8000);
    }
    let mut late = Client::behind(PortId(3));
    let handle = late.connect(GATEWAY.into(), 4000);
    late.run(&mut edge, 5);
    assert_eq!(late.socket(handle).state(), client_tcp::State::Established);
}

#[test]
fn segments_from_another_port_do_not_touch_a_connection() {
    let (mut edge, mut client) = (edge(), Client::new());
    let handle = client.connect(GATEWAY.into(), 4000);
    client.run(&mut edge, 5);
    client.send(handle, &framed(b"query"));
    client.port = PortId(99);
    let now = Instant::from_millis(6);
    client
        .interface
        .poll(now, &mut client.device, &mut client.sockets);
    for packet in std::mem::take(&mut client.device.sent) {
        let frame = frame::attach(CLIENT_MAC, GATEWAY_MAC, &packet).unwrap();
        edge.handle_input(Time::from_millis(6), client.port, &frame);
    }
    assert_eq!(next_query(&mut edge), None);
    assert!(edge.poll_transmit().is_none());
    assert_eq!(edge.counters().foreign_segments, 1);
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
    edge.handle_input(Time::default(), CLIENT_PORT, &frame);
    let (_, payload) = next_payload(&mut edge).unwrap();
    let packet = Icmpv4Packet::new_checked(&payload[..]).unwrap();
    assert_eq!(
        packet.msg_type(),
        smoltcp::wire::Icmpv4Message::DstUnreachable
    );
}

/// From a server of the client's to `10.0.0.1:33000`.
fn segment(control: TcpControl) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: 80,
        dst_port: 33000,
        control,
        seq_number: TcpSeqNumber(7),
        ack_number: (control == TcpControl::Psh).then_some(TcpSeqNumber(9)),
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: b"",
    };
    let (source, destination) = (CLIENT.into(), GATEWAY.into());
    let header = IpRepr::new(source, destination, IpProtocol::Tcp, tcp.buffer_len(), 64);
    ip_frame(&header, |payload| {
        let mut packet = TcpPacket::new_unchecked(payload);
        let checksums = ChecksumCapabilities::default();
        tcp.emit(&mut packet, &source, &destination, &checksums);
    })
}

#[test]
fn a_connection_of_the_hosts_is_not_ended_while_its_port_is_away() {
    let mut edge = edge();
    edge.handle_input(Time::default(), CLIENT_PORT, &segment(TcpControl::Psh));
    assert!(next_payload(&mut edge).is_none(), "the host answers later");
    // A new one may be told that nobody is there.
    edge.handle_input(Time::default(), CLIENT_PORT, &segment(TcpControl::Syn));
    let (_, refusal) = next_payload(&mut edge).unwrap();
    let refusal = TcpPacket::new_checked(&refusal[..]).unwrap();
    assert!(refusal.rst());
}
