//! Clients that ask, and what they are told.

use dhcproto::Decodable;
use proptest::prelude::*;

use super::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT: Mac = Mac::new([0x02, 0x42, 10, 0, 0, 2]);

fn config() -> EdgeConfig {
    EdgeConfig {
        gateway_mac: Mac::new([0x02, 0x42, 10, 0, 0, 1]),
        v4: Some((GATEWAY, 16)),
        v6: None,
        mtu: 1450,
        dns_servers: Vec::new(),
        domain: Some("lab".to_owned()),
        lease_s: 3600,
        routed: true,
        seed: 0,
    }
}

fn hosts() -> HashMap<Mac, HostRecord> {
    let record = HostRecord {
        ipv4: ADDRESS,
        hostname: Some("web".to_owned()),
        dns_servers: Vec::new(),
    };
    HashMap::from([(CLIENT, record)])
}

fn request(kind: MessageType, options: &[DhcpOption]) -> Message {
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootRequest)
        .set_htype(HType::Eth)
        .set_xid(77)
        .set_chaddr(&CLIENT.octets());
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

fn ask(message: &Message) -> Option<(Message, Mac, Ipv4Addr)> {
    let reply = reply(&config(), &hosts(), CLIENT, &message.to_vec().unwrap()).ok()?;
    assert_eq!(reply.udp_port, CLIENT_PORT);
    let message = Message::from_bytes(&reply.message).unwrap();
    Some((message, reply.mac, reply.address))
}

fn kind_of(reply: Option<(Message, Mac, Ipv4Addr)>) -> Option<MessageType> {
    reply?.0.opts().msg_type()
}

#[test]
fn discover_is_offered_what_ipam_gave() {
    let (offer, mac, address) = ask(&request(MessageType::Discover, &[])).unwrap();
    assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
    assert_eq!((offer.xid(), offer.yiaddr()), (77, ADDRESS));
    assert_eq!((mac, address), (CLIENT, ADDRESS));
    for expected in [
        DhcpOption::ServerIdentifier(GATEWAY),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 0, 0)),
        DhcpOption::BroadcastAddr(Ipv4Addr::new(10, 0, 255, 255)),
        DhcpOption::Router(vec![GATEWAY]),
        DhcpOption::DomainNameServer(vec![GATEWAY]),
        DhcpOption::DomainName("lab".to_owned()),
        DhcpOption::Hostname("web".to_owned()),
        DhcpOption::InterfaceMtu(1450),
        DhcpOption::AddressLeaseTime(3600),
        DhcpOption::Renewal(1800),
        DhcpOption::Rebinding(3150),
    ] {
        assert_eq!(
            offer.opts().get(OptionCode::from(&expected)),
            Some(&expected)
        );
    }
}

#[test]
fn broadcast_flag_is_heeded() {
    let mut discover = request(MessageType::Discover, &[]);
    discover.set_flags(discover.flags().set_broadcast());
    let (_, mac, address) = ask(&discover).unwrap();
    assert_eq!((mac, address), (Mac::BROADCAST, Ipv4Addr::BROADCAST));
}

#[test]
fn request_of_another_address_is_refused_by_broadcast() {
    let other = DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 0, 0, 3));
    let (nak, mac, address) = ask(&request(MessageType::Request, &[other])).unwrap();
    assert_eq!(nak.opts().msg_type(), Some(MessageType::Nak));
    assert!(nak.yiaddr().is_unspecified());
    assert_eq!((mac, address), (Mac::BROADCAST, Ipv4Addr::BROADCAST));
}

#[test]
fn request_is_acknowledged_in_all_four_states() {
    let requested = DhcpOption::RequestedIpAddress(ADDRESS);
    let server = DhcpOption::ServerIdentifier(GATEWAY);
    let selecting = request(MessageType::Request, &[requested.clone(), server]);
    assert_eq!(kind_of(ask(&selecting)), Some(MessageType::Ack));
    let rebooting = request(MessageType::Request, &[requested]);
    assert_eq!(kind_of(ask(&rebooting)), Some(MessageType::Ack));
    let mut renewing = request(MessageType::Request, &[]);
    renewing.set_ciaddr(ADDRESS);
    let (ack, mac, address) = ask(&renewing).unwrap();
    assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
    assert_eq!((mac, address), (CLIENT, ADDRESS));
}

#[test]
fn request_to_another_server_is_left_alone() {
    let options = [
        DhcpOption::RequestedIpAddress(ADDRESS),
        DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 9)),
    ];
    assert!(ask(&request(MessageType::Request, &options)).is_none());
}

#[test]
fn inform_gets_parameters_without_a_lease() {
    let mut inform = request(MessageType::Inform, &[]);
    inform.set_ciaddr(ADDRESS);
    let (ack, _, address) = ask(&inform).unwrap();
    assert!(ack.yiaddr().is_unspecified());
    assert!(ack.opts().get(OptionCode::AddressLeaseTime).is_none());
    assert!(ack.opts().contains(OptionCode::DomainNameServer));
    assert_eq!(address, ADDRESS);
}

#[test]
fn release_decline_and_strangers_meet_silence() {
    assert!(ask(&request(MessageType::Release, &[])).is_none());
    assert!(ask(&request(MessageType::Decline, &[])).is_none());
    let discover = request(MessageType::Discover, &[]).to_vec().unwrap();
    let nobody = reply(&config(), &HashMap::new(), CLIENT, &discover);
    assert_eq!(nobody.unwrap_err(), Silence::Unknown(CLIENT));
    let stranger = Mac::new([2, 0, 0, 0, 0, 9]);
    let for_another = reply(&config(), &hosts(), stranger, &discover);
    assert_eq!(for_another.unwrap_err(), Silence::Ignored);
}

const RELAY: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

fn relayed(mut message: Message, relay: Ipv4Addr) -> Result<Reply, Silence> {
    message.set_giaddr(relay).set_hops(1);
    let mut bytes = message.to_vec().unwrap();
    append_relay_information(&mut bytes, &[1, 2, b'p', b'1']);
    reply(&config(), &hosts(), RELAY, &bytes)
}

#[test]
fn a_relay_gets_the_reply_with_what_it_said_about_itself() {
    let address = Ipv4Addr::new(10, 0, 0, 9);
    let offer = relayed(request(MessageType::Discover, &[]), address).unwrap();
    assert_eq!(
        (offer.mac, offer.address, offer.udp_port),
        (RELAY, address, SERVER_PORT)
    );
    // The last option before the end (RFC 3046 §2.1).
    let end = offer.message.iter().rposition(|byte| *byte == END).unwrap();
    assert_eq!(offer.message[end - 6..end], [82, 4, 1, 2, b'p', b'1']);
    let offer = Message::from_bytes(&offer.message).unwrap();
    assert_eq!((offer.giaddr(), offer.yiaddr()), (address, ADDRESS));
    assert_eq!(offer.chaddr(), CLIENT.octets());
    let other = DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 0, 0, 3));
    let nak = relayed(request(MessageType::Request, &[other]), address).unwrap();
    assert_eq!((nak.mac, nak.address), (RELAY, address));
    let nak = Message::from_bytes(&nak.message).unwrap();
    assert!(nak.flags().broadcast());
}

#[test]
fn a_relay_elsewhere_is_ignored_and_its_unknown_clients_are_told_of() {
    let discover = || request(MessageType::Discover, &[]);
    for relay in [
        Ipv4Addr::new(192, 0, 2, 1),
        GATEWAY,
        Ipv4Addr::new(10, 0, 255, 255),
    ] {
        assert_eq!(relayed(discover(), relay).unwrap_err(), Silence::Ignored);
    }
    let unknown = Mac::new([0, 0x0c, 1, 2, 3, 4]);
    let mut message = discover();
    message.set_chaddr(&unknown.octets());
    let outcome = relayed(message, Ipv4Addr::new(10, 0, 0, 9));
    assert_eq!(outcome.unwrap_err(), Silence::Unknown(unknown));
}

#[test]
fn endpoint_servers_replace_those_of_the_network() {
    let mut hosts = hosts();
    let own = Ipv4Addr::new(8, 8, 8, 8);
    hosts.get_mut(&CLIENT).unwrap().dns_servers = vec![own];
    let discover = request(MessageType::Discover, &[]).to_vec().unwrap();
    let offer = reply(&config(), &hosts, CLIENT, &discover).unwrap();
    let offer = Message::from_bytes(&offer.message).unwrap();
    assert_eq!(
        offer.opts().get(OptionCode::DomainNameServer),
        Some(&DhcpOption::DomainNameServer(vec![own]))
    );
}

#[test]
fn mask_covers_every_prefix() {
    assert_eq!(mask_of(0), Ipv4Addr::UNSPECIFIED);
    assert_eq!(mask_of(20), Ipv4Addr::new(255, 255, 240, 0));
    assert_eq!(mask_of(32), Ipv4Addr::BROADCAST);
    assert_eq!(mask_of(200), Ipv4Addr::BROADCAST);
}

proptest! {
    #[test]
    fn no_message_panics(
        header in proptest::collection::vec(any::<u8>(), 236),
        options in proptest::collection::vec(any::<u8>(), 0..120),
        hardware_len in prop_oneof![Just(6_u8), any::<u8>()],
    ) {
        let mut bytes = header;
        bytes[0] = 1;
        bytes[1] = 1;
        bytes[2] = hardware_len;
        bytes[24..28].fill(0);
        bytes[28..34].copy_from_slice(&CLIENT.octets());
        bytes.extend([99, 130, 83, 99]);
        bytes.extend([53, 1, 1]);
        bytes.extend(options);
        let _ = reply(&config(), &hosts(), CLIENT, &bytes);
    }
}
