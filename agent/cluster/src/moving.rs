//! Going elsewhere on the underlay, and finding the signer that went.
//!
//! # Theory of operation
//!
//! A host joins with an address, and keeps it as its place as long as it has that address. Where others dial another one that
//! is translated to it ([`crate::place`]), they go on doing so wherever the host is. When it loses the address, its
//! place becomes the address from which it reaches the signer, and from then on changes with that.
//!
//! When the signer moves, its TCP port and the etcd that it runs move with it. The other hosts then do not reach it at the old
//! place. They look where its QUIC connection comes from: the signer dialed that connection, so it follows the signer.
//!
//! A host that has moved opens new connections to etcd from its new address; the old ones would hang until their time is
//! over. Its session goes on: the host tells its new place under the same lease, so nobody takes it for gone.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use agent_core::shared::{ALIVE, AliveRecord, HOSTS, HostRecord, MANAGERS, ManagerRecord};
use agent_store::{Change, ChangeMembers, EtcdMember, Expected, LeaseId, StoreError};

use crate::error::UseCluster;
use crate::follow::Follow;
use crate::lock::lock;
use crate::member::Member;
use crate::place::Place;
use crate::settings::peer_url;

impl Member {
    /// From now on tunnels end at `address`, and the signer admits hosts there. The others learn it as soon as etcd answers.
    pub fn move_to(&self, address: IpAddr) -> Result<(), UseCluster> {
        {
            let mut place = lock(&self.place);
            *place = Place {
                address,
                follows_way: true,
                is_told: false,
                signer: match self.signs() {
                    true => SocketAddr::new(address, place.signer.port()),
                    false => place.signer,
                },
                is_served: !self.signs(),
            };
        }
        self.files.save_settings(&self.present_settings())?;
        self.moves.fetch_add(1, Ordering::Relaxed);
        if self.signs() {
            return self.tell_place();
        }
        self.start_over()?;
        self.tell_place()
    }

    /// Tells the others where this host is, if they do not know. Without a session the next one tells them.
    pub fn tell_place(&self) -> Result<(), UseCluster> {
        let Place {
            is_told, is_served, ..
        } = *lock(&self.place);
        if !is_served {
            self.serve_elsewhere()?;
            lock(&self.place).is_served = true;
            self.start_over()?;
        }
        if let (false, Some(session)) = (is_told, self.session()) {
            self.put_place(session.lease)?;
            self.tell_manager()?;
            self.align_etcd();
        }
        lock(&self.place).is_told = true;
        Ok(())
    }

    /// Looks for the signer where it may be now, when it does not answer where it was. `seen` is the far end of its QUIC
    /// connection; without one, etcd may have told where the signer is.
    pub(crate) fn seek_signer(&self, seen: Option<IpAddr>) -> Result<(), UseCluster> {
        let Some(host) = self.signer_host() else {
            return Ok(());
        };
        let told = || {
            let alive = self.world().find::<AliveRecord>(&format!("{ALIVE}{host}"));
            alive.map(|(alive, _)| alive.address)
        };
        let (known, told_first) = (self.signer(), self.settings.signer.ip());
        let Some(found) = seen.or_else(told) else {
            return Ok(());
        };
        // The far end of a connection may be an address translator, which leads nowhere.
        let next = if found == known.ip() {
            told_first
        } else {
            found
        };
        if self.signs() || next == known.ip() {
            return Ok(());
        }
        tracing::info!(old = %known.ip(), new = %next, "looking for the signer elsewhere");
        lock(&self.place).signer = SocketAddr::new(next, known.port());
        self.start_over()
    }

    /// Writes down where the signer was found, for the next start.
    pub(crate) fn keep_signer(&self) {
        let settings = self.present_settings();
        if settings.signer != self.settings.signer
            && let Err(error) = self.files.save_settings(&settings)
        {
            tracing::warn!(%error, "the signer would not be found after a restart");
        }
    }

    /// The manager that this host prefers, as far as it is known which one that is.
    fn signer_host(&self) -> Option<String> {
        let signer = self.signer();
        let world = self.world();
        let mut managers = world.under::<ManagerRecord>(MANAGERS);
        let served = managers.find(|(_, manager)| manager.address == signer);
        let served = served.map(|(host, _)| host.to_owned());
        let first = || self.settings.signer_host.clone();
        let host = served.or_else(first);
        host.filter(|host| *host != self.settings.host)
    }

    pub(crate) fn look_for_signer(&self, follower: &dyn Follow) {
        let host = self.signer_host();
        let seen = host.and_then(|host| follower.locate(&host));
        if let Err(error) = self.seek_signer(seen) {
            tracing::warn!(%error, "the signer is not looked for elsewhere");
        }
    }

    /// As the signer, at an address that is new.
    pub(crate) fn serve_elsewhere(&self) -> Result<(), UseCluster> {
        self.listen()?;
        let admission = lock(&self.admission).clone();
        match admission {
            Some(admission) => admission.move_to(self.present_settings()),
            None => Ok(()),
        }
    }

    /// As a manager that runs etcd: tells its members where this host's is, if they know another place. Before managers
    /// could be several, that was loopback.
    pub(crate) fn align_etcd(&self) {
        let duty = lock(&self.duty).clone();
        let Some(etcd) = self.access.etcd().filter(|_| duty.etcd_managed) else {
            return;
        };
        let url = peer_url(self.signer_told());
        let aligned = etcd
            .members()
            .map_err(ChangeMembers::from)
            .and_then(|members| {
                let is_own = |member: &&EtcdMember| member.name == self.settings.host;
                let sole = members.first().filter(|_| members.len() == 1);
                match members.iter().find(is_own).or(sole) {
                    Some(own) if own.peer_urls != [&*url] => etcd.move_member(own.id, &url),
                    _ => Ok(()),
                }
            });
        if let Err(error) = aligned {
            tracing::warn!(%error, "the other managers' etcd does not know where this one is");
        }
    }

    pub(crate) fn start_over(&self) -> Result<(), UseCluster> {
        let settings = self.present_settings();
        self.access.start_over(&self.means(&settings))
    }

    /// What says that this host is alive, and where.
    pub(crate) fn alive(&self, lease: LeaseId) -> Result<Change, StoreError> {
        let key = format!("{ALIVE}{}", self.settings.host);
        Ok(Change::encode(key, &self.sign_of_life(), Expected::Anything)?.under(lease))
    }

    pub(crate) fn sign_of_life(&self) -> AliveRecord {
        let (own, place) = (self.address(), self.told());
        AliveRecord {
            address: place.ip(),
            inside: (own != place.ip()).then_some(own),
            quic_udp_port: Some(place.port()),
            run: self.run.clone(),
            certificate: self.identity().shared(),
        }
    }

    /// Keeps the lease alive; tries once more where this host has moved during the first try.
    pub(crate) fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let moves = self.moves.load(Ordering::Relaxed);
        match self.store().keep_alive(lease) {
            Err(_) if self.moves.load(Ordering::Relaxed) != moves => self.store().keep_alive(lease),
            kept => kept,
        }
    }

    fn put_place(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store().transact(&[self.alive(lease)?])?;
        let key = format!("{HOSTS}{}", self.settings.host);
        let Some(entry) = self.store().get(&key)? else {
            return Ok(());
        };
        let host = HostRecord {
            address: self.told().ip(),
            ..entry.decode()?
        };
        let expected = Expected::written(&entry);
        let changed = self
            .store()
            .transact(&[Change::encode(key, &host, expected)?]);
        match changed {
            // The record is being written by somebody else; what counts for others is the one above.
            Err(StoreError::Changed { .. }) => Ok(()),
            changed => changed.map(drop),
        }
    }
}
