//! What the kernel's notifications are about.
//!
//! ```text
//! nlmsghdr: length 4 | type 2 | flags 2 | sequence 4 | port id 4                      (linux/netlink.h)
//! ifinfomsg: family 1 | padding 1 | type 2 | index 4 | flags 4 | change 4             (linux/rtnetlink.h)
//! ifaddrmsg: family 1 | prefix length 1 | flags 1 | scope 1 | index 4                 (linux/if_addr.h)
//! rtmsg: family 1 | lengths 2 | tos 1 | table 1 | protocol 1 | scope 1 | type 1 | flags 4
//! netconfmsg: family 1 | padding 3                                                    (linux/netconf.h)
//! attributes
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::attribute;

/// The link that a notification is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) kind: u16,
    /// Absent where it is about none, or about several.
    pub(super) link: Option<u32>,
    /// What it is called, where that is said.
    pub(super) name: Option<String>,
}

impl Subject {
    /// `None` where it is no notification of links, addresses, routes or settings.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
        let index = || Some(u32::from_ne_bytes(*message.get(20..)?.first_chunk()?));
        let (link, name) = match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                let name = attribute(message.get(32..)?, libc::IFLA_IFNAME).and_then(text);
                (Some(index()?), name)
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => (Some(index()?), None),
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                (number(message.get(28..)?, libc::RTA_OIF), None)
            }
            RTM_NEWNETCONF | RTM_DELNETCONF => {
                let of = number(message.get(20..)?, NETCONFA_IFINDEX);
                // `all` and `default` are below zero.
                (of.filter(|of| of.cast_signed() > 0), None)
            }
            _ => return None,
        };
        Some(Self { kind, link, name })
    }
}

/// What links are called, as far as it was said.
#[derive(Debug, Default)]
pub(super) struct Names(pub(super) BTreeMap<u32, String>);

impl Names {
    /// All names that a link had before this was said and has after it. It is forgotten where it has gone.
    pub(super) fn follow(&mut self, index: u32, said: &Subject) -> BTreeSet<String> {
        let before = match (said.kind, &said.name) {
            (libc::RTM_DELLINK, _) => self.0.remove(&index),
            (_, Some(name)) => self.0.insert(index, name.clone()),
            (_, None) => self.0.get(&index).cloned(),
        };
        before.into_iter().chain(said.name.clone()).collect()
    }
}

fn number(attributes: &[u8], wanted: u16) -> Option<u32> {
    let value = attribute(attributes, wanted)?;
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}

// linux/rtnetlink.h, linux/netconf.h
const RTM_NEWNETCONF: u16 = 80;
const RTM_DELNETCONF: u16 = 81;
const NETCONFA_IFINDEX: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::push_attribute;

    /// A message of that type: `fixed` behind its header, and one attribute.
    fn message(kind: u16, fixed: &[u8], (attribute, value): (u16, &[u8])) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(fixed);
        push_attribute(&mut bytes, attribute, value);
        bytes
    }

    fn about(index: u32, length: usize) -> Vec<u8> {
        let mut fixed = vec![0; 4];
        fixed.extend(index.to_ne_bytes());
        fixed.resize(length, 0);
        fixed
    }

    #[test]
    fn each_kind_says_its_link() {
        let link = |bytes: &[u8]| Subject::of(bytes).unwrap().link;
        let named = message(
            libc::RTM_NEWLINK,
            &about(7, 16),
            (libc::IFLA_IFNAME, b"eth0\0"),
        );
        let said = Subject::of(&named).unwrap();
        assert_eq!((said.link, said.name.as_deref()), (Some(7), Some("eth0")));
        let local = (libc::IFA_LOCAL, &[10, 0, 0, 1][..]);
        assert_eq!(
            link(&message(libc::RTM_DELADDR, &about(8, 8), local)),
            Some(8)
        );
        let by = (libc::RTA_OIF, &9_u32.to_ne_bytes()[..]);
        assert_eq!(link(&message(libc::RTM_NEWROUTE, &[0; 12], by)), Some(9));
        let several = (libc::RTA_MULTIPATH, &[0; 8][..]);
        assert_eq!(link(&message(libc::RTM_NEWROUTE, &[0; 12], several)), None);
        for (index, expected) in [(10_i32, Some(10)), (-1, None)] {
            let of = (NETCONFA_IFINDEX, &index.to_ne_bytes()[..]);
            assert_eq!(link(&message(RTM_NEWNETCONF, &[0; 4], of)), expected);
        }
        for length in 0..named.len() {
            // Short of its end it may lack its name.
            drop(Subject::of(&named[..length]));
        }
    }

    #[test]
    fn a_link_is_known_by_the_name_it_had_too() {
        let said = |kind, name: Option<&str>| Subject {
            kind,
            link: Some(7),
            name: name.map(str::to_owned),
        };
        let mut names = Names::default();
        let mut follow = |kind, name| Vec::from_iter(names.follow(7, &said(kind, name)));
        assert_eq!(follow(libc::RTM_NEWLINK, Some("one")), ["one"]);
        assert_eq!(follow(libc::RTM_NEWADDR, None), ["one"]);
        assert_eq!(follow(libc::RTM_NEWLINK, Some("two")), ["one", "two"]);
        assert_eq!(follow(libc::RTM_DELLINK, Some("two")), ["two"]);
        assert!(follow(libc::RTM_NEWADDR, None).is_empty());
    }
}
