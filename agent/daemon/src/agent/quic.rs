//! Connections to the other hosts of the cluster.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use overlay_core::{Epoch, HostId, Timing};
use overlay_io::{QuicConfig, QuicEvent, QuicTunnel};

use super::Agent;
use super::overlay::udp_payload_max;
use super::state::State;
use crate::cluster::{ALIVE, AliveRecord, Identity, KEY_LOG, Member, certificate_end_s, now_s};
use crate::random::random_seed;

impl Agent {
    /// Opens this host's QUIC socket and keeps an eye on the certificates that peers show.
    pub(super) fn start_quic(
        self: &Arc<Self>,
        state: &mut State,
        member: &Member,
        host: &HostId,
    ) -> Result<(), String> {
        let local = member.quic_address();
        let credentials = member.identity().credentials();
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let config = QuicConfig {
            local,
            host: host.clone(),
            // Any number that grows from life to life.
            epoch: Epoch(now_s()),
            credentials: credentials.map_err(|error| text(&error))?,
            reset_key: member.reset_key().map_err(|error| text(&error))?,
            udp_payload_max: udp_payload_max(local.ip()).map_err(|error| text(&error))?,
            timing: Timing::default(),
            seed: random_seed(),
        };
        if config.credentials.key_log {
            self.warn(format!(
                "the keys of tunnels are written to the file that {KEY_LOG} names: whoever reads it reads all traffic"
            ));
        }
        let tunnel = state.tunnels.start_quic(&self.switch, config)?;
        let events = tunnel.events();
        let (agent, tunnel) = (Arc::downgrade(self), Arc::downgrade(&tunnel));
        std::thread::Builder::new()
            .name("quic-events".to_owned())
            .spawn(move || watch(&agent, &tunnel, &events))
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Keeps a connection to a host that is alive and a member.
    pub(super) fn meet(&self, state: &State, member: &Member, host: &HostId) {
        let Some(tunnel) = state.tunnels.quic() else {
            return;
        };
        if host.as_str() == member.host() {
            return;
        }
        match quic_address_of(member, host) {
            Some(address) if member.knows(host.as_str()) => tunnel.connect(host, address),
            _ => tunnel.remove_peer(host),
        }
    }

    pub(super) fn renew_quic(&self, identity: &Identity) {
        let state = self.state();
        let Some(tunnel) = state.tunnels.quic() else {
            return;
        };
        let renewed = identity
            .credentials()
            .map_err(|error| error.to_string())
            .and_then(|credentials| tunnel.renew(credentials).map_err(|error| error.to_string()));
        if let Err(why) = renewed {
            self.warn(format!("tunnels do not have the new certificate: {why}"));
        }
    }
}

/// Tells of peers that come and go, and closes a connection whose certificate has ended; the new one is shown then.
fn watch(agent: &Weak<Agent>, tunnel: &Weak<QuicTunnel>, events: &Receiver<QuicEvent>) {
    let mut ends_s: HashMap<HostId, u64> = HashMap::new();
    loop {
        match events.recv_timeout(TICK) {
            Ok(QuicEvent::PeerUp {
                host,
                address,
                certificate,
            }) => {
                tracing::info!(%host, %address, "tunnel up");
                if let Some(end_s) = certificate.as_ref().and_then(certificate_end_s) {
                    ends_s.insert(host, end_s);
                }
            }
            Ok(QuicEvent::PeerDown { host }) => {
                tracing::info!(%host, "tunnel down");
                ends_s.remove(&host);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let (Some(agent), Some(tunnel)) = (agent.upgrade(), tunnel.upgrade()) else {
            return;
        };
        let now_s = now_s();
        let expired: Vec<_> = ends_s
            .extract_if(|_, end_s| *end_s <= now_s)
            .map(|(host, _)| host)
            .collect();
        for host in expired {
            tracing::info!(%host, "its certificate has ended: the connection is closed");
            tunnel.close_peer(&host);
            if let Some(member) = agent.member() {
                agent.meet(&agent.state(), &member, &host);
            }
        }
    }
}

fn quic_address_of(member: &Member, host: &HostId) -> Option<SocketAddr> {
    let (alive, _) = member
        .world()
        .find::<AliveRecord>(&format!("{ALIVE}{host}"))?;
    Some(SocketAddr::new(alive.address, alive.quic_udp_port?))
}

const TICK: Duration = Duration::from_secs(1);
