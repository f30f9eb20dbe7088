//! The kernel's numbers for other namespaces, by which one socket hears of changes in all of them.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;

use super::error::NetlinkError;
use super::socket::{Netlink, Request};
use crate::namespace::Netns;

/// What another namespace is called by the one that the agent is in; as long as that other one is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetnsNumber(pub(super) i32);

impl Netlink {
    /// The number of a namespace, which it is given where it has none: from then on [`super::SandboxWatch`] hears of it.
    pub fn number(&mut self, netns: &Netns) -> Result<NetnsNumber, NetlinkError> {
        if let Some(number) = self.known_number(netns)? {
            return Ok(number);
        }
        let mut message = about(netns);
        message.attributes.push(NsidAttribute::Id(NONE));
        let request = Request {
            message: RouteNetlinkMessage::NewNsId(message),
            flags: 0,
        };
        match self.apply(vec![request])? {
            // Somebody else was faster.
            Some(refused) if refused.refusal.errno != Errno::EEXIST => Err(NetlinkError::List {
                what: "a namespace",
                refusal: refused.refusal,
            }),
            _ => {
                let number = self.known_number(netns)?;
                number.ok_or(NetlinkError::Missing("number of a namespace"))
            }
        }
    }

    fn known_number(&mut self, netns: &Netns) -> Result<Option<NetnsNumber>, NetlinkError> {
        let answer = self.ask(RouteNetlinkMessage::GetNsId(about(netns)))?;
        let answer = answer.map_err(|refusal| NetlinkError::List {
            what: "a namespace",
            refusal,
        })?;
        let RouteNetlinkMessage::NewNsId(found) = answer else {
            return Ok(None);
        };
        let number = found
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NsidAttribute::Id(number) => Some(*number),
                _ => None,
            });
        Ok(number.filter(|number| *number != NONE).map(NetnsNumber))
    }
}

fn about(netns: &Netns) -> NsidMessage {
    let mut message = NsidMessage::default();
    let descriptor = u32::try_from(netns.as_fd().as_raw_fd()).unwrap_or_default();
    message.attributes.push(NsidAttribute::Fd(descriptor));
    message
}

/// `NETNSA_NSID_NOT_ASSIGNED`.
const NONE: i32 = -1;
