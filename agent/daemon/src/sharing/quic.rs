//! Connections to the other hosts of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_cluster::{
    ALIVE, AliveRecord, CertificateDer, Identity, KEY_LOG, Member, UseCluster, certificate_end_s,
    now_s,
};
use agent_host::netlink::NetlinkError;
use overlay_core::{Epoch, HostId, Timing};
use overlay_io::{QuicConfig, QuicEvent, QuicTunnel};

use super::Sharing;
use super::route::udp_payload_max;
use super::tunnels::OpenTunnel;
use crate::locks::lock;
use crate::panics::essential;
use crate::random::random_seed;

/// Why networks over QUIC do not reach other hosts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartTunnel {
    #[error(transparent)]
    Identity(#[from] UseCluster),
    #[error(transparent)]
    Mtu(#[from] NetlinkError),
    #[error(transparent)]
    Open(#[from] OpenTunnel),
    #[error("no thread for the tunnel's events: {0}")]
    Thread(#[from] std::io::Error),
    #[error("{0}")]
    Credentials(String),
}

impl Sharing {
    /// Opens this host's QUIC socket and keeps an eye on the certificates that peers show.
    pub(crate) fn start_quic(
        self: &Arc<Self>,
        member: &Member,
        host: &HostId,
    ) -> Result<(), StartTunnel> {
        let local = member.quic_address();
        let credentials = member.identity().credentials();
        let config = QuicConfig {
            local,
            host: host.clone(),
            epoch: Epoch(now_ms()),
            credentials: credentials
                .map_err(|error| StartTunnel::Credentials(error.to_string()))?,
            reset_key: member.reset_key()?,
            udp_payload_max: udp_payload_max(local.ip())?,
            timing: Timing::default(),
            seed: random_seed(),
            relays: self.ground.config.cluster.relay,
        };
        if config.credentials.key_log {
            self.ground.warn(format!(
                "the keys of tunnels are written to the file that {KEY_LOG} names: whoever reads it reads all traffic"
            ));
        }
        let tunnel = self.tunnels.start_quic(config, &peers_of(member))?;
        tunnel.prefer_relays(managers_of(member));
        let events = tunnel.events();
        let (sharing, tunnel) = (Arc::downgrade(self), Arc::downgrade(&tunnel));
        std::thread::Builder::new()
            .name("quic-events".to_owned())
            .spawn(move || essential(|| watch(&sharing, &tunnel, &events)))?;
        Ok(())
    }

    /// Takes the connections of a host that is alive and a member, and dials it while it is needed.
    pub(crate) fn meet(&self, member: &Member, host: &HostId) {
        let Some(tunnel) = self.tunnels.quic() else {
            return;
        };
        if host.as_str() == member.host() {
            return;
        }
        match quic_address_of(member, host) {
            Some(address) if member.knows(host.as_str()) => tunnel.expect(host, address),
            _ => {
                tunnel.remove_peer(host);
                lock(&self.flaps).forget(host);
            }
        }
    }

    pub(crate) fn renew_quic(&self, identity: &Identity) {
        let Some(tunnel) = self.tunnels.quic() else {
            return;
        };
        let renewed = identity
            .credentials()
            .map_err(|error| error.to_string())
            .and_then(|credentials| tunnel.renew(credentials).map_err(|error| error.to_string()));
        if let Err(why) = renewed {
            self.ground
                .warn(format!("tunnels do not have the new certificate: {why}"));
        }
    }
}

/// Tells of peers that come and go, and closes a connection whose certificate has ended, or is of a CA that is trusted no
/// more; the new one is shown then.
fn watch(sharing: &Weak<Sharing>, tunnel: &Weak<QuicTunnel>, events: &Receiver<QuicEvent>) {
    let mut shown: BTreeMap<HostId, CertificateDer<'static>> = BTreeMap::new();
    let mut ends_s: BTreeMap<HostId, u64> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    let mut cas = None;
    loop {
        match events.recv_timeout(TICK) {
            Ok(QuicEvent::PeerUp {
                host,
                address,
                certificate,
            }) => {
                closed.remove(&host);
                if let Some(sharing) = sharing.upgrade() {
                    sharing.note_tunnel(&host, address, true);
                }
                if let Some(certificate) = certificate {
                    let end_s = certificate_end_s(&certificate);
                    ends_s.insert(host.clone(), end_s.unwrap_or(u64::MAX));
                    shown.insert(host, certificate);
                }
            }
            Ok(QuicEvent::PeerDown { host }) => {
                if let (Some(sharing), Some(tunnel)) = (sharing.upgrade(), tunnel.upgrade()) {
                    match tunnel.peer(&host) {
                        // It comes back at once.
                        Some(_) if closed.remove(&host) => {}
                        Some(peer) if peer.is_needed => {
                            sharing.note_tunnel(&host, peer.address, false);
                        }
                        _ => sharing.forget_tunnel(&host),
                    }
                }
                ends_s.remove(&host);
                shown.remove(&host);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let (Some(sharing), Some(tunnel)) = (sharing.upgrade(), tunnel.upgrade()) else {
            return;
        };
        sharing.tunnels.forget_needs();
        sharing.tell_flaps();
        let Some(member) = sharing.member() else {
            continue;
        };
        tunnel.prefer_relays(managers_of(&member));
        let now_s = now_s();
        let mut void: Vec<_> = ends_s
            .iter()
            .filter(|(_, end_s)| **end_s <= now_s)
            .map(|(host, _)| host.clone())
            .collect();
        let identity = member.identity();
        if cas.as_ref() != Some(&identity.ca) {
            let strange = shown.iter().filter(|(_, shown)| !identity.trusts(shown));
            void.extend(strange.map(|(host, _)| host.clone()));
            cas = Some(identity.ca);
        }
        for host in void {
            tracing::info!(%host, "its certificate is void now: the connection is closed");
            ends_s.remove(&host);
            shown.remove(&host);
            closed.insert(host.clone());
            tunnel.close_peer(&host);
            sharing.meet(&member, &host);
        }
    }
}

fn quic_address_of(member: &Member, host: &HostId) -> Option<SocketAddr> {
    let (alive, _) = member
        .world()
        .find::<AliveRecord>(&format!("{ALIVE}{host}"))?;
    Some(SocketAddr::new(alive.address, alive.quic_udp_port?))
}

fn managers_of(member: &Member) -> BTreeSet<HostId> {
    let managers = member.managers();
    managers
        .iter()
        .filter_map(|manager| HostId::new(&manager.host).ok())
        .collect()
}

/// A number that grows from one run to the next; two of them may begin in the same second.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The hosts that are alive as far as is known.
fn peers_of(member: &Member) -> Vec<(HostId, SocketAddr)> {
    let hosts = member.hosts().into_iter();
    let others = hosts.filter(|host| host.id != member.host() && member.knows(&host.id));
    let peers = others.filter_map(|host| {
        let id = HostId::new(&host.id).ok()?;
        let address = quic_address_of(member, &id)?;
        Some((id, address))
    });
    peers.collect()
}

const TICK: Duration = Duration::from_secs(1);
