//! Questions to hosts: what do you listen to?
//!
//! # Theory of operation
//!
//! Queries are always of the newest versions, IGMPv3 and MLDv2: hosts of older ones read what they know of them (RFC 3376 §7.2.1),
//! and hosts of the newest answer with the sources that they want. They bear the router alert option and die on the link.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |  11 hex, 130  | response code |           checksum            |   RFC 3376 §4.1: the code here
//! +---------------+---------------+-------------------------------+
//! |     response code, zero       |  (MLD only)                   |   RFC 3810 §5.1: the code here
//! +---------------------------------------------------------------+
//! |               group, or zeros: whatever there is              |
//! +-------+-+-----+---------------+-------------------------------+
//! | zeros |S| QRV |     QQIC      |       number of sources       |
//! +-------+-+-----+---------------+-------------------------------+
//! |                            sources                            |
//! +---------------------------------------------------------------+
//! ```

use std::net::IpAddr;
use std::time::Duration;

use super::address::{Address, Family};
use crate::bytes::put_be16;
use crate::checksum;
use crate::neighbors::link_local;
use crate::{Mac, ethertype};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) mac: Mac,
    /// RFC 4541 §2.1.1: of nobody, zeros. Who asks so wants to know, and does not stand for election.
    pub(crate) v4: [u8; 4],
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) family: Family,
    pub(crate) group: Option<Address>,
    pub(crate) sources: Vec<Address>,
    /// Within which hosts answer.
    pub(crate) response: Duration,
}

impl Asker {
    /// A bridge that asks for itself alone.
    pub(crate) const NOBODY: Self = Self {
        mac: Mac::new([2, 0x74, 0x61, 0x70, 0x65, 2]),
        v4: [0; 4],
    };

    /// In that family; zeros where it has none.
    pub(crate) fn address(&self, family: Family) -> Address {
        match family {
            Family::V4 => IpAddr::from(self.v4).into(),
            Family::V6 => IpAddr::from(link_local(self.mac)).into(),
        }
    }
}

impl Question {
    /// The frame.
    pub(crate) fn write(&self, asker: &Asker) -> Vec<u8> {
        let to = self.group.unwrap_or_else(|| all_hosts(self.family));
        let (ethertype, packet) = match self.family {
            Family::V4 => (ethertype::IPV4, self.igmp(asker, to)),
            Family::V6 => (ethertype::IPV6, self.mld(asker, to)),
        };
        [
            &to.group_mac().octets()[..],
            &asker.mac.octets(),
            &ethertype.to_be_bytes(),
            &packet,
        ]
        .concat()
    }

    fn igmp(&self, asker: &Asker, to: Address) -> Vec<u8> {
        let mut message = vec![0x11, encode(self.tenths()), 0, 0];
        message.extend(self.group.map_or(vec![0; 4], Address::to_wire));
        self.push_tail(&mut message);
        let sum = checksum::finish(checksum::sum(0, &message));
        put_be16(&mut message, 2, sum);
        let total = u16::try_from(HEADER_V4 + message.len()).unwrap_or(u16::MAX);
        // Router alert (RFC 2113) in six words of header; internetwork control (RFC 791); not to be forwarded.
        let mut packet = vec![0x46, 0xc0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 1, 2, 0, 0]);
        packet.extend(asker.v4);
        packet.extend(to.to_wire());
        packet.extend([0x94, 4, 0, 0]);
        let sum = checksum::finish(checksum::sum(0, &packet));
        put_be16(&mut packet, 10, sum);
        packet.extend(message);
        packet
    }

    fn mld(&self, asker: &Asker, to: Address) -> Vec<u8> {
        let millis = u32::try_from(self.response.as_millis()).unwrap_or(u32::MAX);
        let mut message = vec![130, 0, 0, 0];
        message.extend(encode_long(millis).to_be_bytes());
        message.extend([0, 0]);
        message.extend(self.group.map_or(vec![0; 16], Address::to_wire));
        self.push_tail(&mut message);
        let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
        let addresses = [asker.address(Family::V6).to_wire(), to.to_wire()].concat();
        let pseudo = checksum::sum(0, &addresses) + checksum::number(58) + checksum::number(len);
        let sum = checksum::finish(checksum::sum(pseudo, &message));
        put_be16(&mut message, 2, sum);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((len + 8).to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(addresses);
        // Router alert: MLD (RFC 2711).
        packet.extend([58, 0, 5, 2, 0, 0, 1, 0]);
        packet.extend(message);
        packet
    }

    fn push_tail(&self, message: &mut Vec<u8>) {
        let count = u16::try_from(self.sources.len()).unwrap_or(u16::MAX);
        message.extend([ROBUSTNESS, QUERY_INTERVAL_S]);
        message.extend(count.to_be_bytes());
        let sources = self.sources.iter().copied();
        message.extend(sources.flat_map(Address::to_wire));
    }

    fn tenths(&self) -> u32 {
        u32::try_from(self.response.as_millis() / 100).unwrap_or(u32::MAX)
    }
}

fn all_hosts(family: Family) -> Address {
    let address: IpAddr = match family {
        Family::V4 => [224, 0, 0, 1].into(),
        Family::V6 => [0xff02, 0, 0, 0, 0, 0, 0, 1].into(),
    };
    address.into()
}

/// A number below 128 as it is; no interval of ours is longer.
fn encode(number: u32) -> u8 {
    u8::try_from(number.min(127)).unwrap_or(127)
}

fn encode_long(number: u32) -> u16 {
    u16::try_from(number.min(32_767)).unwrap_or(32_767)
}

/// RFC 3376 §8.1, RFC 3810 §9.1.
pub(crate) const ROBUSTNESS: u8 = 2;
/// RFC 3376 §8.2, RFC 3810 §9.2.
pub(crate) const QUERY_INTERVAL_S: u8 = 125;
const HEADER_V4: usize = 24;
