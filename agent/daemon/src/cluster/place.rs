//! Where this host is on the underlay, and going elsewhere.
//!
//! # Theory of operation
//!
//! A host is known by the address that it was given when it came into the cluster, for as long as it has that address. When it
//! loses it, its place is the address of its way to the signer, and follows that way from then on.
//!
//! A host that has moved speaks to etcd from its new address over new connections, because those that are there hang until
//! their time is over. Its session goes on: it tells under the same lease where it is now, so that nobody takes it for gone.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use super::error::UseCluster;
use super::etcd_access::etcd_options;
use super::files::Settings;
use super::hex;
use super::member::{Member, lock};
use super::records::{ALIVE, AliveRecord, HOSTS, HostRecord};
use crate::store::{Change, Expected, LeaseId, Store, StoreError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    address: IpAddr,
    /// Whether it is the address of the way to the signer, whichever that is.
    follows_way: bool,
    /// Whether the others know.
    is_told: bool,
}

impl Place {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            address: settings.address,
            follows_way: settings.follows_way,
            // The first session tells.
            is_told: true,
        }
    }
}

impl Member {
    /// Where this host's tunnels end.
    pub(crate) fn address(&self) -> IpAddr {
        lock(&self.place).address
    }

    /// And where those over QUIC do.
    pub(crate) fn quic_address(&self) -> SocketAddr {
        SocketAddr::new(self.address(), self.settings.quic_udp_port)
    }

    /// Whether the address is that of this host's way to the signer, and changes with it.
    pub(crate) fn follows_way(&self) -> bool {
        lock(&self.place).follows_way
    }

    /// Where hosts are admitted; `None` on the host that does it.
    pub(crate) fn signer(&self) -> Option<IpAddr> {
        (!self.settings.signs).then(|| self.settings.signer.ip())
    }

    /// Tunnels end at `address` from now on. The others learn it at once where etcd answers, else when it does.
    pub(crate) fn move_to(&self, address: IpAddr) -> Result<(), UseCluster> {
        *lock(&self.place) = Place {
            address,
            follows_way: true,
            is_told: false,
        };
        self.files.save_settings(&Settings {
            address,
            follows_way: true,
            ..self.settings.clone()
        })?;
        self.moves.fetch_add(1, Ordering::Relaxed);
        let options = etcd_options(&self.options, &self.settings, &self.identity())?;
        self.store.start_over(&options)?;
        self.tell_place()
    }

    /// Tells the others where this host is, if they do not know. Without a session the next one tells them.
    pub(crate) fn tell_place(&self) -> Result<(), UseCluster> {
        let is_told = lock(&self.place).is_told;
        if let (false, Some(session)) = (is_told, self.session()) {
            self.put_place(session.lease)?;
        }
        lock(&self.place).is_told = true;
        Ok(())
    }

    /// As the store does it, again where this host moved meanwhile.
    pub(super) fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let moves = self.moves.load(Ordering::Relaxed);
        match self.store.keep_alive(lease) {
            Err(_) if self.moves.load(Ordering::Relaxed) != moves => self.store.keep_alive(lease),
            kept => kept,
        }
    }

    /// What says that this host is alive, and where.
    pub(super) fn alive(&self, lease: LeaseId) -> Result<Change, StoreError> {
        let place = self.quic_address();
        let alive = AliveRecord {
            address: place.ip(),
            quic_udp_port: Some(place.port()),
            run: hex::encode(&hex::random::<8>()),
        };
        let key = format!("{ALIVE}{}", self.settings.host);
        Ok(Change::encode(key, &alive, Expected::Anything)?.under(lease))
    }

    fn put_place(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.transact(&[self.alive(lease)?])?;
        let key = format!("{HOSTS}{}", self.settings.host);
        let Some(entry) = self.store.get(&key)? else {
            return Ok(());
        };
        let host = HostRecord {
            address: self.address(),
            ..entry.decode()?
        };
        let expected = Expected::Revision(entry.revision);
        let changed = self
            .store
            .transact(&[Change::encode(key, &host, expected)?]);
        match changed {
            // It is renewing its certificate; what counts is the record before.
            Err(StoreError::Changed { .. }) => Ok(()),
            changed => changed.map(drop),
        }
    }
}
