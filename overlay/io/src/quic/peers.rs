//! The peers of an engine: what their machines ask for, and what becomes of their connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use overlay_core::{
    Close, DirectTries, FrameIds, HostId, Peer, PeerConfig, PeerEvent, Role, Way, Ways,
};
use quinn_proto::{ClientConfig, ConnectError, Connection, ConnectionError, ConnectionHandle};
use rustls::pki_types::CertificateDer;
use switch_core::Time;

use super::early::Early;
use super::engine::Engine;
use super::events::QuicEvent;
use super::identity::host_of;
use super::link::{Link, Remote, Standing};
use super::place::Place;
use super::refusal::{in_words, is_refusal};

impl Engine {
    /// Takes connections of `host`, which is at `address`; one that is known and has moved is dialed anew.
    pub(super) fn expect(&mut self, now: Instant, host: &HostId, address: SocketAddr) {
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

    /// Those hosts, and no others, are to be connected.
    pub(super) fn need(&mut self, now: Instant, hosts: BTreeSet<HostId>) {
        self.needed = hosts;
        self.seek_no_more(|host, needed| !needed.contains(host));
        self.follow_needs(now);
        self.settle(now);
    }

    /// Tells the machines what is needed now.
    pub(super) fn follow_needs(&mut self, now: Instant) {
        let time = self.clock.time(now);
        let wanted = &self.needed | &self.relays.wanted;
        let before = std::mem::replace(&mut self.wanted, wanted);
        let changed: Vec<_> = before.symmetric_difference(&self.wanted).cloned().collect();
        for host in changed {
            let is_needed = self.wanted.contains(&host);
            self.peer(&host, |machine| match is_needed {
                true => machine.need(time),
                false => machine.release(time),
            });
        }
    }

    /// Ends the connection to a host whose certificate is void, and takes none until [`Self::expect`].
    pub(super) fn revoke(&mut self, now: Instant, host: &HostId) {
        self.peer(host, Peer::revoke);
        self.close_others(now, host);
        self.settle(now);
    }

    pub(super) fn forget(&mut self, now: Instant, host: &HostId) {
        self.revoke(now, host);
        if let Some(remote) = self.peers.remove(host) {
            self.relays.forget(remote.number);
        }
        self.seek_no_more(|sought, _| sought == host);
        self.follow_needs(now);
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
                    tracing::debug!(%host, %reason, "peer connection closed");
                    if let Some(handle) = remote.link.take() {
                        let said = match reason {
                            Close::NotNeeded => "not needed",
                            _ => "refused",
                        };
                        self.close(now, handle, said);
                    }
                    if matches!(reason, Close::NoAnswer | Close::Silent) {
                        self.seek_relays(now, host);
                    }
                    // What this host dialed in vain says nothing of what the other one did.
                    if reason != Close::NoAnswer {
                        self.close_others(now, host);
                    }
                }
                PeerEvent::Up { version, .. } => {
                    self.note_way(now, host);
                    self.went_up(host, version);
                    self.send_early(now, host);
                }
                PeerEvent::Letter(body) => self.letters.put(host, body),
                PeerEvent::Down => {
                    tracing::debug!(%host, "peer down");
                    self.note_way(now, host);
                    self.events
                        .emit(&QuicEvent::PeerDown { host: host.clone() });
                }
            }
        }
        self.try_directly(now, host);
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
        let origin = self.origin(link.connection.remote_address());
        tracing::debug!(%host, origin, version, "peer up");
        let address = self.address_of(remote, link);
        let certificate = chain_of(&link.connection).and_then(|chain| chain.into_iter().next());
        self.events.emit(&QuicEvent::PeerUp {
            host: host.clone(),
            address,
            certificate,
        });
        debug_assert!(remote.machine.is_up());
    }

    /// Where a host is on the underlay, as far as that is known.
    pub(super) fn address_of(&self, remote: &Remote, link: &Link) -> SocketAddr {
        match link.place() {
            None => link.connection.remote_address(),
            Some(_) => remote.address,
        }
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
                link.is_greeted = true;
                self.touched.push(handle);
            }
        }
    }

    fn dial(&mut self, now: Instant, host: &HostId) {
        let candidates = self.relay_candidates(host);
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        let (direct, number) = (remote.address, remote.number);
        let address = match remote.ways.dial(&candidates) {
            Way::Direct => direct,
            Way::Via(relay) => self.peers.get(&relay).map_or(direct, |relay| {
                Place {
                    relay: relay.number,
                    host: number,
                }
                .address()
            }),
        };
        match self.open(now, host, address) {
            Ok(handle) => {
                if let Some(remote) = self.peers.get_mut(host) {
                    remote.link = Some(handle);
                }
            }
            Err(error) => {
                tracing::warn!(%host, %error, "peer cannot be dialed");
                let time = self.clock.time(now);
                self.peer(host, |machine| machine.handle_disconnected(time));
            }
        }
    }

    /// Begins to open a connection to a host at an address.
    pub(super) fn open(
        &mut self,
        now: Instant,
        host: &HostId,
        address: SocketAddr,
    ) -> Result<ConnectionHandle, ConnectError> {
        let (transport, path) = self.transport_to(now, address);
        let mut config = ClientConfig::new(Arc::clone(&self.tls.client) as _);
        config.transport_config(transport);
        let opened = self.endpoint.connect(now, config, address, host.as_str());
        let (handle, connection) = opened?;
        let mut link = Link::new(connection, path);
        link.host = Some(host.clone());
        self.links.insert(handle, link);
        self.touched.push(handle);
        Ok(handle)
    }

    /// A handshake is complete: who is it?
    pub(super) fn connected(&mut self, now: Instant, handle: ConnectionHandle) {
        let Some(link) = self.links.get_mut(&handle) else {
            return;
        };
        let is_dialed = link.is_dialed();
        let host = chain_of(&link.connection).and_then(|chain| host_of(&chain));
        let address = link.connection.remote_address();
        // Of a relay that speaks for itself.
        let is_elsewhere = Place::of(address).is_some_and(|place| {
            let (_, behind) = self.relays.hosts_at(place).unzip();
            behind != host.as_ref()
        });
        let known = host.as_ref().filter(|_| !is_elsewhere);
        let remote = known.and_then(|host| self.peers.get_mut(host));
        let (Some(host), Some(remote)) = (host.clone(), remote) else {
            self.counts.refused += 1;
            if self.strangers.is_news(address.ip(), now) {
                let host = host.map(|host| host.to_string());
                let origin = self.origin(address);
                tracing::warn!(origin, host, "connection from a host that is not expected");
            }
            return self.close(now, handle, "not expected");
        };
        link.host = Some(host.clone());
        let is_rival = remote.is_rival(handle, is_dialed);
        if remote.trial == Some(handle) {
            remote.tries.connected(self.clock.time(now));
            self.changed.push(host.clone());
        }
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
        if *reason != ConnectionError::TimedOut
            && let Some(remote) = self.peers.get_mut(&host)
            && !remote.machine.is_up()
            && remote.link == Some(handle)
        {
            remote.ways.was_answered();
        }
        tracing::debug!(%host, %address, %reason, "connection lost");
        self.part(now, &host, handle);
    }

    /// A connection to a host is gone. If it counted, the one before it does again.
    pub(super) fn part(&mut self, now: Instant, host: &HostId, handle: ConnectionHandle) {
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        let standing = remote.standing(handle);
        remote.part_with(handle);
        if standing != Some(Standing::Counts) {
            return;
        }
        remote.link = remote.elder.take().filter(|_| remote.machine.is_up());
        let goes_on = remote.link.is_some();
        let time = self.clock.time(now);
        self.peer(host, |machine| match goes_on {
            true => machine.handle_return(time),
            false => machine.handle_disconnected(time),
        });
        if goes_on {
            self.note_way(now, host);
        }
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
            let (origin, reason) = (self.origin(address), in_words(reason));
            tracing::warn!(origin, reason, "connection refused");
        }
    }

    pub(super) fn peer(&mut self, host: &HostId, act: impl FnOnce(&mut Peer)) {
        if let Some(remote) = self.peers.get_mut(host) {
            act(&mut remote.machine);
            self.changed.push(host.clone());
        }
    }

    fn remote(&mut self, host: &HostId, address: SocketAddr, time: Time) -> Remote {
        let role = Role::between(&self.hello.host, host);
        let config = PeerConfig {
            hello: self.hello.clone(),
            remote: host.clone(),
            role,
            is_needed: self.wanted.contains(host),
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
            number: self.relays.number(host),
            ways: Ways::default(),
            tries: DirectTries::new(role, self.timing),
            trial: None,
            early: Early::default(),
        }
    }
}

/// The certificates the other end proved to have.
fn chain_of(connection: &Connection) -> Option<Vec<CertificateDer<'static>>> {
    let identity = connection.crypto_session().peer_identity()?;
    identity.downcast().ok().map(|chain| *chain)
}
