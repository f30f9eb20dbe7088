//! A route netlink socket: groups of requests, their refusals, dumps.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use super::attributes::{attribute, messages};
use super::error::{NetlinkError, Refusal};
use crate::namespace::Netns;

/// A socket to the kernel's routing tables of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// One change: the message and its extra flags (`NLM_F_CREATE` and the like).
pub(super) struct Request {
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
}

/// A refused request of a group: which one, and why.
pub(super) struct Refused {
    pub(super) request: usize,
    pub(super) refusal: Refusal,
}

impl Netlink {
    /// A socket in the calling thread's namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::new(NETLINK_ROUTE).map_err(NetlinkError::Open)?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(NetlinkError::Open)?;
        // Sentences instead of bare numbers, without the request echoed; older kernels do without.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// A socket in another namespace, where it stays.
    pub fn open_in(netns: &Netns) -> Result<Self, NetlinkError> {
        netns.run(Self::open)?
    }

    /// What else than messages can be asked of the namespace.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Applies a group; `describe` names the request (by its place) that was refused.
    pub(super) fn run(
        &mut self,
        requests: Vec<Request>,
        describe: impl FnOnce(usize, Refusal) -> NetlinkError,
    ) -> Result<(), NetlinkError> {
        match self.apply(requests)? {
            None => Ok(()),
            Some(refused) => Err(describe(refused.request, refused.refusal)),
        }
    }

    /// Sends the requests as one group and returns the first refusal.
    pub(super) fn apply(
        &mut self,
        requests: Vec<Request>,
    ) -> Result<Option<Refused>, NetlinkError> {
        let Some(last) = requests.len().checked_sub(1) else {
            return Ok(None);
        };
        let first_sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            let acknowledge = if index == last { NLM_F_ACK } else { 0 };
            self.append(
                &mut bytes,
                request.message,
                NLM_F_REQUEST | request.flags | acknowledge,
            );
        }
        self.send(&bytes)?;
        self.read_refusals(first_sequence, last)
    }

    /// Everything the kernel lists for `message`.
    pub(super) fn dump(
        &mut self,
        what: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, NLM_F_REQUEST | NLM_F_DUMP);
        self.send(&bytes)?;
        let mut entries = Vec::new();
        loop {
            for answer in self.receive()? {
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(entry) => entries.push(entry),
                    NetlinkPayload::Done(_) => return Ok(entries),
                    NetlinkPayload::Error(error) => {
                        let refusal = refusal(&error);
                        return Err(NetlinkError::List { what, refusal });
                    }
                    _ => {}
                }
            }
        }
    }

    /// The same where `read` knows a message as the kernel wrote it: decoding all of it costs many times what writing it did.
    pub(super) fn dump_raw<T>(
        &mut self,
        what: &'static str,
        message: RouteNetlinkMessage,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, NLM_F_REQUEST | NLM_F_DUMP);
        self.send(&bytes)?;
        let mut entries = Vec::new();
        loop {
            let buffer = self.receive_raw()?;
            for raw in messages(&buffer) {
                if raw.get(SEQUENCE) != Some(&self.sequence.to_ne_bytes()[..]) {
                    continue;
                }
                if let Some(entry) = read(raw) {
                    entries.push(entry);
                    continue;
                }
                match NetlinkMessage::<RouteNetlinkMessage>::deserialize(raw)?.payload {
                    NetlinkPayload::Done(_) => return Ok(entries),
                    NetlinkPayload::Error(error) => {
                        let refusal = refusal(&error);
                        return Err(NetlinkError::List { what, refusal });
                    }
                    _ => {}
                }
            }
        }
    }

    /// Lists what a request asks for alone, where the kernel can (since 4.20): others list all there is.
    pub(super) fn filter_dumps(&self) {
        let _ = self.socket.set_netlink_get_strict_chk(true);
    }

    /// The kernel's one answer to a question, or its refusal.
    pub(super) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Result<RouteNetlinkMessage, Refusal>, NetlinkError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, NLM_F_REQUEST);
        self.send(&bytes)?;
        loop {
            for answer in self.receive()? {
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(entry) => return Ok(Ok(entry)),
                    NetlinkPayload::Error(error) => return Ok(Err(refusal(&error))),
                    _ => {}
                }
            }
        }
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut bytes[start..]);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        self.socket
            .send(bytes, 0)
            .map(|_| ())
            .map_err(NetlinkError::Exchange)
    }

    fn read_refusals(
        &self,
        first_sequence: u32,
        last: usize,
    ) -> Result<Option<Refused>, NetlinkError> {
        let mut first = None;
        loop {
            for answer in self.receive()? {
                let offset = answer.header.sequence_number.wrapping_sub(first_sequence);
                let Ok(request) = usize::try_from(offset) else {
                    continue;
                };
                let NetlinkPayload::Error(error) = answer.payload else {
                    continue;
                };
                if request > last {
                    continue;
                }
                if error.code.is_some() && first.is_none() {
                    let refusal = refusal(&error);
                    first = Some(Refused { request, refusal });
                }
                if request == last {
                    return Ok(first);
                }
            }
        }
    }

    fn receive(&self) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>, NetlinkError> {
        parse(&self.receive_raw()?)
    }

    fn receive_raw(&self) -> Result<Vec<u8>, NetlinkError> {
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        loop {
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => return Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NetlinkError::Exchange(error)),
            }
        }
    }
}

fn parse(mut bytes: &[u8]) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>, NetlinkError> {
    let mut parsed = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)?;
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        // Never, since what is shorter than its header was refused before.
        let length = length.max(HEADER_BYTES);
        parsed.push(message);
        bytes = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
    }
    Ok(parsed)
}

fn refusal(error: &ErrorMessage) -> Refusal {
    Refusal {
        errno: Errno::from_raw(error.raw_code().saturating_abs()),
        kernel_says: sentence(&error.header),
    }
}

/// `NLMSGERR_ATTR_MSG`: attributes follow the refused request's header, which `NETLINK_CAP_ACK` cut short.
fn sentence(after_code: &[u8]) -> Option<String> {
    let value = attribute(after_code.get(HEADER_BYTES..)?, NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(value);
    Some(text.trim_end_matches(['\0', '.']).to_owned())
}

const HEADER_BYTES: usize = 16;
/// Where a message has its sequence number (linux/netlink.h: struct nlmsghdr).
const SEQUENCE: Range<usize> = 8..12;
const ALIGNMENT: usize = 4;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// What the kernel fills at most per read of a dump.
const RECEIVE_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sentence_is_read_after_the_header() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend([12, 0, 1, 0]);
        bytes.extend(b"Too bad\0");
        assert_eq!(sentence(&bytes).as_deref(), Some("Too bad"));
    }

    #[test]
    fn a_short_error_has_no_sentence() {
        assert_eq!(sentence(&[0; 3]), None);
        assert_eq!(sentence(&[0; HEADER_BYTES]), None);
        assert_eq!(sentence(&[0; HEADER_BYTES + 4]), None);
    }
}
