//! Which packets the ring takes and the gate drops: the same ones, said twice.
//!
//! Untagged Ethernet, for this host; IPv4 without options, to the tunnel's address, whole; UDP to its port; short enough
//! for a slot. Everything else goes the ordinary way.

use std::net::Ipv4Addr;

use overlay_core::VXLAN_UDP_PORT;
use switch_io::PacketRing;

/// As a classic BPF program over the Ethernet frame: admits whole, or not at all.
pub(super) fn filter(local: Ipv4Addr) -> Vec<libc::sock_filter> {
    let conditions = [
        (byte(PACKET_TYPE), equals(0)),
        (byte(VLAN_TAG_PRESENT), equals(0)),
        (half(12), equals(0x0800)),
        (byte(14), equals(0x45)),
        (byte(23), equals(17)),
        (half(20), has_none_of(0x3fff)),
        (word(30), equals(local.to_bits())),
        (half(36), equals(u32::from(VXLAN_UDP_PORT))),
        (LENGTH, is_at_most(u32::from(PacketRing::PACKET_LEN_MAX))),
    ];
    let mut program = Vec::new();
    for (at, (load, condition)) in conditions.iter().enumerate() {
        // The rest of the conditions, two instructions each, and the one that admits.
        let rest = u8::try_from(2 * (conditions.len() - 1 - at) + 1).unwrap_or(u8::MAX);
        program.extend([*load, condition.or_else_skip(rest)]);
    }
    program.extend([admit(u32::from(u16::MAX)), admit(0)]);
    program
}

/// As a rule of nft, in a chain at the ingress of the link.
pub(super) fn rule(local: Ipv4Addr) -> String {
    let len_max = PacketRing::PACKET_LEN_MAX - ETHERNET_LEN;
    format!(
        "meta pkttype host ether type ip ip daddr {local} udp dport {VXLAN_UDP_PORT} ip version 4 ip hdrlength 5 \
         ip frag-off & 0x3fff == 0 meta length <= {len_max} drop"
    )
}

/// A jump, and whether it is taken when the condition holds.
struct Condition {
    code: u32,
    value: u32,
    must_hold: bool,
}

impl Condition {
    fn or_else_skip(&self, count: u8) -> libc::sock_filter {
        let (jt, jf) = if self.must_hold {
            (0, count)
        } else {
            (count, 0)
        };
        instruction(
            libc::BPF_JMP | self.code | libc::BPF_K,
            (jt, jf),
            self.value,
        )
    }
}

const fn equals(value: u32) -> Condition {
    Condition {
        code: libc::BPF_JEQ,
        value,
        must_hold: true,
    }
}

const fn has_none_of(value: u32) -> Condition {
    Condition {
        code: libc::BPF_JSET,
        value,
        must_hold: false,
    }
}

const fn is_at_most(value: u32) -> Condition {
    Condition {
        code: libc::BPF_JGT,
        value,
        must_hold: false,
    }
}

const fn byte(at: u32) -> libc::sock_filter {
    load(libc::BPF_B, at)
}

const fn half(at: u32) -> libc::sock_filter {
    load(libc::BPF_H, at)
}

const fn word(at: u32) -> libc::sock_filter {
    load(libc::BPF_W, at)
}

const fn load(size: u32, at: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, (0, 0), at)
}

const fn admit(bytes: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, (0, 0), bytes)
}

#[allow(clippy::cast_possible_truncation, reason = "codes have eight bits")]
const fn instruction(code: u32, (jt, jf): (u8, u8), k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

const LENGTH: libc::sock_filter =
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, (0, 0), 0);
/// What the kernel knows of a packet besides its bytes (linux/filter.h, `SKF_AD_OFF`).
const BESIDES: u32 = 0xffff_f000;
/// Zero: sent to this host by name.
const PACKET_TYPE: u32 = BESIDES + 4;
const VLAN_TAG_PRESENT: u32 = BESIDES + 48;
/// `meta length` counts from the IP header.
const ETHERNET_LEN: u16 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_jumps_to_the_end() {
        let program = filter(Ipv4Addr::new(192, 0, 2, 1));
        let end = program.len() - 1;
        assert_eq!(program[end].k, 0);
        assert_eq!(program[end - 1].k, 0xffff);
        for (at, step) in program.iter().enumerate() {
            let skip = usize::from(step.jt.max(step.jf));
            assert!(skip == 0 || at + 1 + skip == end, "instruction {at}");
        }
    }
}
