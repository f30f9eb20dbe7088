//! The peers of an engine: what their machines ask for, and what becomes of their connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use overlay_core::{Close, FrameIds, HostId, Peer, PeerConfig, PeerEvent, Role};
use quinn_proto::{ClientConfig, Connection, ConnectionError, ConnectionHandle};
use rustls::pki_types::CertificateDer;
use switch_core::Time;

use super::engine::Engine;
use super::events::QuicEvent;
use super::identity::host_of;
use super::link::{Link, Remote, Standing};
use super::path::PathWatch;
use super::refusal::{in_words, is_refusal};
use super::transport::transport;

impl Engine {
    /// Expects `host` at `address`; one that is known and has moved is dialed anew.
    pub(super) fn connect(&mut self, now: Instant, host: &HostId, address: SocketAddr) {
        let time = self.clock.time(now);
        match self.peers.get_mut(host) {
            Some(remote) => {
                let has_moved = remote.address != address;
                remote.address = address;
                let links = &self.links;
                let is_dialed = |handle: &mut ConnectionHandle| {
                    let link = links.get(handle);
                    link.is_none_or(Link::is_dialed)
                };
                if has_moved && let Some(handle) = remote.link.take_if(is_dialed) {
                    self.close(now, handle, "moved");
                    self.close_others(now, host);
                    self.peer(host, |machine| machine.handle_disconnected(time));
                }
                self.peer(host, |machine| machine.redial(time));
            }
            None => {
                let remote = self.remote(host, address, time);
                self.peers.insert(host.clone(), remote);
            }
        }
        self.changed.push(host.clone());
        self.settle(now);
    }

    /// Ends the connection to a host whose certificate is void, and takes none until [`Self::connect`].
    pub(super) fn revoke(&mut self, now: Instant, host: &HostId) {
        self.peer(host, Peer::revoke);
        self.close_others(now, host);
        self.settle(now);
    }

    pub(super) fn forget(&mut self, now: Instant, host: &HostId) {
        self.revoke(now, host);
        self.peers.remove(host);
    }

    /// Carries out what a machine asks for.
    pub(super) fn obey(&mut self, now: Instant, host: &HostId) {
        while let Some(remote) = self.peers.get_mut(host) {
            let Some(event) = remote.machine.poll_event() else {
                break;
            };
            match event {
                PeerEvent::Dial => self.dial(now, host),
                PeerEvent::Close(reason) => {
                    tracing::info!(%host, %reason, "peer connection closed");
                    if let Some(handle) = remote.link.take() {
                        self.close(now, handle, "refused");
                    }
                    // What this host dialed in vain says nothing of what the other one did.
                    if reason != Close::NoAnswer {
                        self.close_others(now, host);
                    }
                }
                PeerEvent::Up { version, .. } => self.went_up(host, version),
                PeerEvent::Down => {
                    tracing::info!(%host, "peer down");
                    self.events
                        .emit(&QuicEvent::PeerDown { host: host.clone() });
                }
            }
        }
        self.send_messages(host);
        if let Some(remote) = self.peers.get(host) {
            let due = remote.machine.poll_timeout();
            self.alarm
                .ring_by(due.map(|due| self.clock.instant(due)), now);
        }
    }

    fn went_up(&self, host: &HostId, version: u8) {
        let Some((remote, link)) = self.linked(host) else {
            return;
        };
        let address = link.connection.remote_address();
        tracing::info!(%host, %address, version, "peer up");
        let certificate = chain_of(&link.connection).and_then(|chain| chain.into_iter().next());
        self.events.emit(&QuicEvent::PeerUp {
            host: host.clone(),
            address,
            certificate,
        });
        debug_assert!(remote.machine.is_up());
    }

    fn linked(&self, host: &HostId) -> Option<(&Remote, &Link)> {
        let remote = self.peers.get(host)?;
        Some((remote, self.links.get(&remote.link?)?))
    }

    fn send_messages(&mut self, host: &HostId) {
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        while let Some(message) = remote.machine.poll_transmit() {
            let Some(handle) = remote.link else {
                continue;
            };
            if let Some(link) = self.links.get_mut(&handle) {
                // A message that is lost is sent again by the machine.
                let _ = link.connection.datagrams().send(Bytes::from(message), true);
                self.touched.push(handle);
            }
        }
    }

    fn dial(&mut self, now: Instant, host: &HostId) {
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        let watch = PathWatch::new(now);
        let mut config = ClientConfig::new(Arc::clone(&self.tls.client) as _);
        config.transport_config(Arc::new(transport(
            self.udp_payload_max,
            Arc::clone(&watch),
        )));
        match self
            .endpoint
            .connect(now, config, remote.address, host.as_str())
        {
            Ok((handle, connection)) => {
                remote.link = Some(handle);
                let mut link = Link::new(connection, watch);
                link.host = Some(host.clone());
                self.links.insert(handle, link);
                self.touched.push(handle);
            }
            Err(error) => {
                tracing::warn!(%host, %error, "peer cannot be dialed");
                let time = self.clock.time(now);
                self.peer(host, |machine| machine.handle_disconnected(time));
            }
        }
    }

    /// A handshake is complete: who is it?
    pub(super) fn connected(&mut self, now: Instant, handle: ConnectionHandle) {
        let Some(link) = self.links.get_mut(&handle) else {
            return;
        };
        let is_dialed = link.is_dialed();
        let host = chain_of(&link.connection).and_then(|chain| host_of(&chain));
        let remote = host.as_ref().and_then(|host| self.peers.get_mut(host));
        let (Some(host), Some(remote)) = (host.clone(), remote) else {
            self.counts.refused += 1;
            let address = link.connection.remote_address();
            if self.strangers.is_news(address.ip(), now) {
                let host = host.map(|host| host.to_string());
                tracing::warn!(%address, host, "connection from a host that is not expected");
            }
            return self.close(now, handle, "not expected");
        };
        link.host = Some(host.clone());
        let is_rival = match is_dialed {
            true => remote.link != Some(handle),
            false => remote.machine.has_rivals(),
        };
        let place = match is_rival {
            true => &mut remote.rival,
            false => &mut remote.link,
        };
        let replaced = place.replace(handle).filter(|old| *old != handle);
        if let Some(old) = replaced {
            self.close(now, old, "replaced");
        }
        if is_rival {
            // Its hello may have come in the same train as the end of the handshake.
            self.backlog.push(handle);
            return;
        }
        let time = self.clock.time(now);
        self.peer(&host, |machine| {
            machine.handle_connected(time, host.as_str())
        });
    }

    pub(super) fn lost(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        reason: &ConnectionError,
    ) {
        let Some(link) = self.links.get(&handle) else {
            return;
        };
        let address = link.connection.remote_address();
        let Some(host) = link.host.clone() else {
            return self.refused(now, address, reason);
        };
        if is_refusal(reason) {
            self.refused(now, address, reason);
        }
        let Some(remote) = self.peers.get_mut(&host) else {
            return;
        };
        let standing = remote.standing(handle);
        remote.part_with(handle);
        if standing != Some(Standing::Counts) {
            return;
        }
        tracing::debug!(%host, %address, %reason, "connection lost");
        remote.link = remote.elder.take().filter(|_| remote.machine.is_up());
        let goes_on = remote.link.is_some();
        let time = self.clock.time(now);
        self.peer(&host, |machine| match goes_on {
            true => machine.handle_return(time),
            false => machine.handle_disconnected(time),
        });
    }

    /// All connections to the host but the one that counts.
    fn close_others(&mut self, now: Instant, host: &HostId) {
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        let others = [remote.elder.take(), remote.rival.take()];
        for handle in others.into_iter().flatten() {
            self.close(now, handle, "refused");
        }
    }

    /// This host, or the other, was not content with what it was shown.
    fn refused(&mut self, now: Instant, address: SocketAddr, reason: &ConnectionError) {
        self.counts.refused += 1;
        if self.strangers.is_news(address.ip(), now) {
            let reason = in_words(reason);
            tracing::warn!(%address, reason, "connection refused");
        }
    }

    fn peer(&mut self, host: &HostId, act: impl FnOnce(&mut Peer)) {
        if let Some(remote) = self.peers.get_mut(host) {
            act(&mut remote.machine);
            self.changed.push(host.clone());
        }
    }

    fn remote(&self, host: &HostId, address: SocketAddr, time: Time) -> Remote {
        let role = Role::between(&self.hello.host, host);
        let config = PeerConfig {
            hello: self.hello.clone(),
            remote: host.clone(),
            role,
            timing: self.timing,
            seed: self.seed,
        };
        Remote {
            address,
            role,
            machine: match self.stands_by {
                true => Peer::standing_by(config, time),
                false => Peer::new(config, time),
            },
            link: None,
            elder: None,
            rival: None,
            ids: FrameIds::new(),
        }
    }
}

/// The certificates the other end proved to have.
fn chain_of(connection: &Connection) -> Option<Vec<CertificateDer<'static>>> {
    let identity = connection.crypto_session().peer_identity()?;
    identity.downcast().ok().map(|chain| *chain)
}
