//! This host's own payloads to hosts behind relays.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use overlay_core::{DatagramHeader, Leg, RelayHeader};
use quinn_proto::{ConnectionHandle, SendDatagramError};

use super::Place;
use crate::quic::engine::Engine;
use crate::quic::link::Link;

impl Engine {
    /// Hands payloads for a place, each of `size` bytes but the last, to the connection with its relay. Returns that one, which
    /// has something to transmit then.
    pub(in crate::quic) fn send_over(
        &mut self,
        place: Place,
        payloads: &[u8],
        size: usize,
    ) -> io::Result<ConnectionHandle> {
        let lost = || io::Error::from(io::ErrorKind::NotConnected);
        let (relay, host) = self.relays.hosts_at(place).ok_or_else(lost)?;
        let host = host.clone();
        let remote = self.peers.get(relay).ok_or_else(lost)?;
        let (handle, _) = self.neighbor(remote).ok_or_else(lost)?;
        let link = self.links.get_mut(&handle).ok_or_else(lost)?;
        let header = RelayHeader {
            leg: Leg::ToRelay,
            host: host.as_str(),
        };
        let size = size.max(1);
        let count = payloads.len().div_ceil(size);
        // One allocation for all of them.
        self.arena
            .reserve(payloads.len() + count * head_len(&header));
        for payload in payloads.chunks(size) {
            let sent = wrap(link, &mut self.arena, &header, payload);
            sent.map_err(|error| match error {
                SendDatagramError::TooLarge => io::Error::from_raw_os_error(libc::EMSGSIZE),
                _ => io::ErrorKind::WouldBlock.into(),
            })?;
        }
        Ok(handle)
    }

    /// Where a host is, for people: its address, or over whom it is reached.
    pub(in crate::quic) fn origin(&self, address: SocketAddr) -> String {
        let hosts = Place::of(address).and_then(|place| self.relays.hosts_at(place));
        hosts.map_or_else(
            || address.to_string(),
            |(relay, host)| format!("{host} over {relay}"),
        )
    }
}

/// What stands before a payload, in bytes.
fn head_len(header: &RelayHeader<'_>) -> usize {
    DatagramHeader::Relay.to_bytes().1 + header.len()
}

/// Sends a payload to a relay, or on behalf of one.
pub(super) fn wrap(
    link: &mut Link,
    arena: &mut BytesMut,
    header: &RelayHeader<'_>,
    payload: &[u8],
) -> Result<(), SendDatagramError> {
    let (kind, len) = DatagramHeader::Relay.to_bytes();
    arena.reserve(head_len(header) + payload.len());
    arena.extend_from_slice(&kind[..len]);
    header.write(arena);
    arena.extend_from_slice(payload);
    let datagram = arena.split().freeze();
    link.connection.datagrams().send(datagram, false)
}
