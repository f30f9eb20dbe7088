//! What hosts say of the multicast groups they listen to.
//!
//! # Theory of operation
//!
//! Reports of IGMP versions 1 to 3 and of MLD versions 1 and 2 name groups; from each comes "joins" or "leaves" for the MAC
//! that the group's frames have. Groups of the link itself are left out: hosts report those that discovery uses, and for
//! discovery the budget against storms is made.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! | 22 hex or 143 |   reserved    |           checksum            |   RFC 3376 §4.2, RFC 3810 §5.2
//! +---------------+---------------+-------------------------------+
//! |           reserved            |       number of records       |
//! +---------------+---------------+-------------------------------+
//! | record type   | auxiliary len |       number of sources       |
//! +---------------+---------------+-------------------------------+
//! |               group, sources, auxiliary data                  |
//! +---------------------------------------------------------------+
//! ```

use crate::bytes::be16;
use crate::packet::{Fragment, Packet, Version, protocol};
use crate::{Frame, Mac};

/// Tells `hear` of every group in a report, by its MAC, and whether the sender listens to it from now on.
pub(crate) fn read(frame: &Frame<'_>, packet: &Packet, hear: impl FnMut(Mac, bool)) {
    if packet.fragment != Fragment::Whole {
        return;
    }
    let message = packet.transport(frame);
    let family = match (packet.version, packet.protocol) {
        (Version::V4, protocol::IGMP) => Family { address: 4, at: 4 },
        (Version::V6, protocol::ICMPV6) => Family { address: 16, at: 8 },
        _ => return,
    };
    match (packet.version, message.first()) {
        (Version::V4, Some(0x12 | 0x16)) | (Version::V6, Some(131)) => {
            family.read_one(message, true, hear);
        }
        (Version::V4, Some(0x17)) | (Version::V6, Some(132)) => {
            family.read_one(message, false, hear);
        }
        (Version::V4, Some(0x22)) | (Version::V6, Some(143)) => family.read_records(message, hear),
        _ => {}
    }
}

/// What differs between the two.
#[derive(Clone, Copy)]
struct Family {
    /// Length of an address, in bytes.
    address: usize,
    /// Where the group stands in a message of the older versions.
    at: usize,
}

impl Family {
    fn read_one(self, message: &[u8], joins: bool, mut hear: impl FnMut(Mac, bool)) {
        let group = message.get(self.at..self.at + self.address);
        if let Some(mac) = group.and_then(mac_of) {
            hear(mac, joins);
        }
    }

    fn read_records(self, message: &[u8], mut hear: impl FnMut(Mac, bool)) {
        let Some((head, mut rest)) = message.split_at_checked(8) else {
            return;
        };
        for _ in 0..be16(head, 6) {
            let Some((record, _)) = rest.split_at_checked(4 + self.address) else {
                return;
            };
            let sources = usize::from(be16(record, 2));
            let joins = match record[0] {
                // "Include" of nobody: the host has left.
                MODE_IS_INCLUDE | CHANGE_TO_INCLUDE => Some(sources > 0),
                MODE_IS_EXCLUDE | CHANGE_TO_EXCLUDE | ALLOW_NEW_SOURCES => Some(true),
                _ => None,
            };
            if let (Some(joins), Some(mac)) = (joins, mac_of(&record[4..])) {
                hear(mac, joins);
            }
            let len = record.len() + sources * self.address + usize::from(record[1]) * 4;
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

/// The MAC of a group that is wider than the link (RFC 1112 §6.4, RFC 2464 §7).
fn mac_of(group: &[u8]) -> Option<Mac> {
    match *group {
        [224..=239, b, c, d] => {
            let mac = Mac::new([1, 0, 0x5e, b & 0x7f, c, d]);
            // 224.0.0.0/24, and the groups that share its MACs.
            (b & 0x7f != 0 || c != 0).then_some(mac)
        }
        // Solicited-node groups are the link's, whatever their scope says.
        [0xff, scope, .., 0xff, _, _, _] if scope & 0x0f > LINK_SCOPE => None,
        [0xff, scope, .., a, b, c, d] if scope & 0x0f > LINK_SCOPE => {
            Some(Mac::new([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

const MODE_IS_INCLUDE: u8 = 1;
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;
const ALLOW_NEW_SOURCES: u8 = 5;
/// RFC 4291 §2.7.
const LINK_SCOPE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Mac = Mac::new([1, 0, 0x5e, 1, 2, 3]);
    const GROUP6: Mac = Mac::new([0x33, 0x33, 0, 1, 2, 3]);

    fn heard(version: Version, message: &[u8]) -> Vec<(Mac, bool)> {
        let stations = [1, 0, 0x5e, 0, 0, 22, 2, 0, 0, 0, 0, 2];
        let len = u16::try_from(message.len()).unwrap();
        let bytes = match version {
            // With the router alert option, as hosts send it.
            Version::V4 => [
                &stations[..],
                &[8, 0, 0x46, 0],
                &(24 + len).to_be_bytes(),
                &[
                    0, 0, 0x40, 0, 1, 2, 0, 0, 10, 0, 0, 1, 224, 0, 0, 22, 0x94, 4, 0, 0,
                ],
                message,
            ]
            .concat(),
            Version::V6 => [
                &stations[..],
                &[0x86, 0xdd, 0x60, 0, 0, 0],
                &(8 + len).to_be_bytes(),
                &[0, 1],
                &[0xfe; 16],
                &[0xff; 16],
                &[58, 0, 5, 2, 0, 0, 1, 0],
                message,
            ]
            .concat(),
        };
        let frame = Frame::parse(&bytes).unwrap();
        let mut heard = Vec::new();
        let packet = Packet::parse(&frame).unwrap();
        read(&frame, &packet, |group, joins| heard.push((group, joins)));
        heard
    }

    #[test]
    fn reports_of_every_version_are_understood() {
        let old = |kind| [kind, 0, 0, 0, 239, 129, 2, 3];
        for (kind, joins) in [(0x12, true), (0x16, true), (0x17, false)] {
            assert_eq!(heard(Version::V4, &old(kind)), [(GROUP, joins)]);
        }
        assert_eq!(heard(Version::V4, &old(0x11)), [], "a query");
        let group = [0xff, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
        let old = |kind| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &group].concat();
        for (kind, joins) in [(131, true), (132, false)] {
            assert_eq!(heard(Version::V6, &old(kind)), [(GROUP6, joins)]);
        }
        let records = |kind: u8, address: &[u8]| {
            let record = |kind, sources: u8| {
                let list = address.repeat(usize::from(sources));
                [&[kind, 1, 0, sources][..], address, &list, &[0; 4]].concat()
            };
            let head = [kind, 0, 0, 0, 0, 0, 0, 7];
            let known = [(2, 0), (4, 0), (3, 0), (1, 2), (5, 1), (6, 1)];
            let known = known.map(|(kind, sources)| record(kind, sources));
            // The seventh is cut.
            [&head[..], &known.concat(), &[4, 0, 0, 0, 239]].concat()
        };
        let expected = |mac| [true, true, false, true, true].map(|joins| (mac, joins));
        let message = records(0x22, &[239, 1, 2, 3]);
        assert_eq!(heard(Version::V4, &message), expected(GROUP));
        assert_eq!(heard(Version::V6, &records(143, &group)), expected(GROUP6));
    }

    #[test]
    fn groups_of_the_link_are_left_out() {
        for address in [[224, 0, 0, 251], [225, 0, 0, 251], [10, 0, 0, 1]] {
            assert_eq!(mac_of(&address), None);
        }
        let v6 = |scope, last: [u8; 4]| [&[0xff, scope][..], &[0; 10], &last].concat();
        for (scope, last, is_wide) in [
            (2, [0, 0, 0, 0xfb], false),
            (5, [0, 0, 0, 0xfb], true),
            (0x3e, [0, 1, 2, 3], true),
            (5, [0xff, 1, 2, 3], false),
        ] {
            assert_eq!(mac_of(&v6(scope, last)).is_some(), is_wide, "{scope}");
        }
    }
}
