//! A frame in words, as tcpdump has them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    ArpOperation, ArpPacketSlice, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type,
    LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice,
};
use switch_core::Mac;

use super::link::describe_link;

/// What a frame is, in one line without an end. `bytes` may be cut short; `original_len` is what the frame was long.
pub fn describe(bytes: &[u8], original_len: u32) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
        return format!("[a frame of {original_len} bytes]");
    };
    let tags = packet.link_exts.iter().map(|tag| match tag {
        LaxLinkExtSlice::Vlan(tag) => format!("vlan {}, ", tag.vlan_identifier().value()),
        LaxLinkExtSlice::Macsec(_) => "MACsec, ".to_owned(),
    });
    let mut line: String = tags.collect();
    match &packet.net {
        Some(LaxNetSlice::Arp(arp)) => line += &describe_arp(arp),
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let ends = (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
            );
            let headers = usize::from(header.ihl()) * 4;
            let len = usize::from(header.total_len()).saturating_sub(headers);
            let offset = header.fragments_offset().byte_offset();
            let fragment = header.is_fragmenting_payload().then_some(offset);
            let next = ip.payload_ip_number().0;
            line += "IP ";
            line += &describe_packet(ends, (next, len), fragment, packet.transport.as_ref());
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let ends = (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
            );
            let extensions = ip.extensions().slice().len();
            let len = usize::from(header.payload_length()).saturating_sub(extensions);
            let next = ip.payload().ip_number.0;
            let fragment = ip.is_payload_fragmented().then_some(0);
            line += "IP6 ";
            line += &describe_packet(ends, (next, len), fragment, packet.transport.as_ref());
        }
        None => line += &describe_link(&packet, bytes, original_len),
    }
    line
}

fn describe_arp(arp: &ArpPacketSlice<'_>) -> String {
    let ip = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).to_string(),
        _ => "?".to_owned(),
    };
    let (sender, target) = (
        ip(arp.sender_protocol_addr()),
        ip(arp.target_protocol_addr()),
    );
    match arp.operation() {
        ArpOperation::REQUEST if sender == target => format!("ARP, Announcement {sender}"),
        ArpOperation::REQUEST => format!("ARP, Request who-has {target} tell {sender}"),
        ArpOperation::REPLY => {
            let mac = arp.sender_hw_addr().try_into().map(Mac::new);
            let mac = mac.map_or_else(|_| "?".to_owned(), |mac| mac.to_string());
            format!("ARP, Reply {sender} is-at {mac}")
        }
        ArpOperation(other) => format!("ARP, operation {other}"),
    }
}

/// `next` is the protocol that the packet carries, and what of it is in this packet, in bytes.
fn describe_packet(
    (from, to): (IpAddr, IpAddr),
    (protocol, len): (u8, usize),
    fragment: Option<u16>,
    transport: Option<&TransportSlice<'_>>,
) -> String {
    let ports = match transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    };
    let mut line = match ports {
        Some((source, destination)) => format!("{from}.{source} > {to}.{destination}: "),
        None => format!("{from} > {to}: "),
    };
    match transport {
        Some(TransportSlice::Tcp(tcp)) => line += &describe_tcp(tcp, len),
        Some(TransportSlice::Udp(_)) => {
            // Writing to a string does not fail, here and below.
            let _ = write!(line, "UDP, length {}", len.saturating_sub(UDP_HEADER_LEN));
        }
        Some(TransportSlice::Icmpv4(icmp)) => line += &describe_icmpv4(icmp, len),
        Some(TransportSlice::Icmpv6(icmp)) => line += &describe_icmpv6(icmp, len),
        Some(TransportSlice::Igmp(_)) => {
            let _ = write!(line, "IGMP, length {len}");
        }
        None => {
            let _ = write!(line, "{}, length {len}", protocol_name(protocol));
        }
    }
    if let Some(offset) = fragment {
        let _ = write!(line, ", fragment at {offset}");
    }
    line
}

fn describe_tcp(tcp: &TcpSlice<'_>, len: usize) -> String {
    let flags = [
        (tcp.syn(), 'S'),
        (tcp.fin(), 'F'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.urg(), 'U'),
        (tcp.ece(), 'E'),
        (tcp.cwr(), 'W'),
        (tcp.ack(), '.'),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
    let flags: String = flags.map(|(_, letter)| letter).collect();
    let len = len.saturating_sub(usize::from(tcp.data_offset()) * 4);
    let seq = tcp.sequence_number();
    let mut line = format!("Flags [{flags}], seq {seq}");
    if len > 0 {
        let end = seq.wrapping_add(u32::try_from(len).unwrap_or(u32::MAX));
        let _ = write!(line, ":{end}");
    }
    if tcp.ack() {
        let _ = write!(line, ", ack {}", tcp.acknowledgment_number());
    }
    let _ = write!(line, ", win {}, length {len}", tcp.window_size());
    line
}

fn describe_icmpv4(icmp: &Icmpv4Slice<'_>, len: usize) -> String {
    let what = match icmp.icmp_type() {
        Icmpv4Type::EchoRequest(echo) => {
            format!("echo request, id {}, seq {}", echo.id, echo.seq)
        }
        Icmpv4Type::EchoReply(echo) => format!("echo reply, id {}, seq {}", echo.id, echo.seq),
        Icmpv4Type::DestinationUnreachable(_) => match icmp.code_u8() {
            0 => "net unreachable".to_owned(),
            1 => "host unreachable".to_owned(),
            3 => "port unreachable".to_owned(),
            4 => "unreachable, need to frag".to_owned(),
            code => format!("unreachable, code {code}"),
        },
        Icmpv4Type::Redirect(_) => "redirect".to_owned(),
        Icmpv4Type::TimeExceeded(_) => "time exceeded".to_owned(),
        _ => format!("type {}, code {}", icmp.type_u8(), icmp.code_u8()),
    };
    format!("ICMP {what}, length {len}")
}

fn describe_icmpv6(icmp: &Icmpv6Slice<'_>, len: usize) -> String {
    let what = match icmp.icmp_type() {
        Icmpv6Type::EchoRequest(echo) => {
            format!("echo request, id {}, seq {}", echo.id, echo.seq)
        }
        Icmpv6Type::EchoReply(echo) => format!("echo reply, id {}, seq {}", echo.id, echo.seq),
        Icmpv6Type::DestinationUnreachable(_) => format!("unreachable, code {}", icmp.code_u8()),
        Icmpv6Type::PacketTooBig { mtu } => format!("packet too big, mtu {mtu}"),
        Icmpv6Type::TimeExceeded(_) => "time exceeded".to_owned(),
        Icmpv6Type::RouterSolicitation => "router solicitation".to_owned(),
        Icmpv6Type::RouterAdvertisement(_) => "router advertisement".to_owned(),
        Icmpv6Type::NeighborSolicitation => "neighbor solicitation".to_owned(),
        Icmpv6Type::NeighborAdvertisement(_) => "neighbor advertisement".to_owned(),
        Icmpv6Type::Redirect => "redirect".to_owned(),
        _ => match icmp.type_u8() {
            130 => "multicast listener query".to_owned(),
            131 => "multicast listener report".to_owned(),
            143 => "multicast listener report v2".to_owned(),
            kind => format!("type {kind}, code {}", icmp.code_u8()),
        },
    };
    format!("ICMP6 {what}, length {len}")
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "ICMP".to_owned(),
        2 => "IGMP".to_owned(),
        4 | 41 => "IP in IP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        47 => "GRE".to_owned(),
        50 => "ESP".to_owned(),
        58 => "ICMP6".to_owned(),
        88 => "EIGRP".to_owned(),
        89 => "OSPF".to_owned(),
        112 => "VRRP".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}

const UDP_HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn said(frame: &[u8]) -> String {
        describe(frame, u32::try_from(frame.len()).unwrap())
    }

    fn built<T>(
        builder: etherparse::PacketBuilderStep<T>,
        payload: &[u8],
        write: impl FnOnce(
            etherparse::PacketBuilderStep<T>,
            &mut Vec<u8>,
            &[u8],
        ) -> Result<(), etherparse::err::packet::BuildWriteError>,
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        write(builder, &mut frame, payload).unwrap();
        frame
    }

    fn link() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
        PacketBuilder::ethernet2(A, B)
    }

    /// Destination, source, and what follows.
    fn raw(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&B[..], &A, &ethertype.to_be_bytes(), payload].concat()
    }

    #[test]
    fn packets_are_told_as_tcpdump_tells_them() {
        let v4 = || link().ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64);
        let udp = built(v4().udp(1000, 53), b"1234", |b, f, p| b.write(f, p));
        assert_eq!(said(&udp), "IP 10.0.0.2.1000 > 10.0.0.3.53: UDP, length 4");
        let tcp = v4().tcp(4000, 80, 7, 500).syn().ack(9);
        let tcp = built(tcp, b"", |b, f, p| b.write(f, p));
        assert_eq!(
            said(&tcp),
            "IP 10.0.0.2.4000 > 10.0.0.3.80: Flags [S.], seq 7, ack 9, win 500, length 0"
        );
        let ping = built(v4().icmpv4_echo_request(5, 6), &[0; 56], |b, f, p| {
            b.write(f, p)
        });
        assert_eq!(
            said(&ping),
            "IP 10.0.0.2 > 10.0.0.3: ICMP echo request, id 5, seq 6, length 64"
        );
        let v6 = link().ipv6([0xfe; 16], [0xfd; 16], 64);
        let ping = built(v6.icmpv6_echo_reply(1, 2), b"", |b, f, p| b.write(f, p));
        assert!(said(&ping).starts_with("IP6 fefe:"));
        assert!(said(&ping).ends_with(": ICMP6 echo reply, id 1, seq 2, length 8"));
    }

    #[test]
    fn a_frame_that_was_cut_keeps_its_lengths() {
        let tcp = link()
            .ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64)
            .tcp(1, 2, 100, 5);
        let tcp = built(tcp, &[0; 1000], |b, f, p| b.write(f, p));
        assert_eq!(
            describe(&tcp[..60], 1054),
            "IP 10.0.0.2.1 > 10.0.0.3.2: Flags [], seq 100:1100, win 5, length 1000"
        );
        assert_eq!(describe(&tcp[..10], 1054), "[a frame of 1054 bytes]");
        assert_eq!(describe(&tcp[..20], 1054), "IP, truncated, length 1054");
    }

    #[test]
    fn neighbours_and_tags_are_told() {
        let tagged = PacketBuilder::ethernet2(A, B)
            .single_vlan(100.try_into().unwrap())
            .ipv4([10, 0, 0, 2], [10, 0, 0, 3], 64)
            .udp(1, 2);
        let tagged = built(tagged, b"", |b, f, p| b.write(f, p));
        assert_eq!(
            said(&tagged),
            "vlan 100, IP 10.0.0.2.1 > 10.0.0.3.2: UDP, length 0"
        );
        let arp = |operation: u8| {
            let head = [0, 1, 8, 0, 6, 4, 0, operation];
            let ends = [&A[..], &[10, 0, 0, 2], &[0; 6], &[10, 0, 0, 3]].concat();
            raw(0x0806, &[&head[..], &ends].concat())
        };
        assert_eq!(said(&arp(1)), "ARP, Request who-has 10.0.0.3 tell 10.0.0.2");
        assert_eq!(said(&arp(2)), "ARP, Reply 10.0.0.2 is-at 02:00:00:00:00:01");
    }

    #[test]
    fn what_bridges_say_is_told() {
        let root = [&[0x80, 0][..], &A].concat();
        let sender = [&[0x90, 0][..], &B].concat();
        let bpdu = [
            &[0x42, 0x42, 3, 0, 0, 2, 2, 0x3c][..],
            &root,
            &[0; 4],
            &sender,
            &[0x80, 1],
            &[0; 10],
        ];
        assert_eq!(
            said(&raw(39, &bpdu.concat())),
            "STP 802.1w, Rapid STP, bridge-id 9000.02:00:00:00:00:02.8001, root 8000.02:00:00:00:00:01"
        );
        let tlvs = [
            &[2, 7, 4][..],
            &A,
            &[4, 5, 5],
            b"eth1",
            &[10, 5],
            b"leaf1",
            &[0, 0],
        ];
        assert_eq!(
            said(&raw(0x88cc, &tlvs.concat())),
            "LLDP, port eth1, system leaf1"
        );
        assert_eq!(said(&raw(0x8809, &[1, 1])), "LACP, length 16");
        assert_eq!(
            said(&raw(0x9999, &[])),
            "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 0x9999, length 14"
        );
    }

    #[test]
    fn an_escape_in_a_name_is_not_shown() {
        let tlvs = [&[10, 4][..], b"\x1b[2J", &[0, 0]].concat();
        assert_eq!(said(&raw(0x88cc, &tlvs)), "LLDP");
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_line(bytes: Vec<u8>, ethertype in prop::sample::select(vec![0, 0x800, 0x806, 0x8100, 0x86dd, 0x88cc, 0x88e5])) {
            for frame in [bytes.clone(), raw(ethertype, &bytes)] {
                let line = said(&frame);
                prop_assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
            }
        }
    }
}
