//! What a DHCPv4 server and a client have in common (RFC 2131).

use std::net::Ipv4Addr;

/// An option's value that is one address.
pub(crate) fn address(data: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)
}

/// Where servers and relays listen (§4.1).
pub(crate) const SERVER_PORT: u16 = 67;
pub(crate) const CLIENT_PORT: u16 = 68;
/// Old servers and clients drop shorter messages: the size of one of BOOTP (RFC 951 §3).
pub(crate) const MESSAGE_LEN_MIN: usize = 300;
