//! Hosts that come and go: telling of their tunnels by their names, and knowing since when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agent_api::EventType;
use agent_core::events::Notice;
use agent_core::shared::others;
use overlay_core::HostId;

use super::Sharing;
use super::flaps::News;
use crate::locks::lock;

impl Sharing {
    /// A tunnel that ought to be up went up or down.
    pub(super) fn note_tunnel(&self, host: &HostId, address: SocketAddr, is_up: bool) {
        let news = lock(&self.flaps).note(host, is_up, Instant::now());
        if let Some(news) = news {
            self.tell_tunnel(host, Some(address), news);
        }
    }

    /// A tunnel that is not wanted any more was closed.
    pub(super) fn forget_tunnel(&self, host: &HostId) {
        lock(&self.flaps).forget(host);
        let name = self.name_of(host);
        self.tell_of(host, &name, "close");
        tracing::info!(host = name, id = %host, "tunnel closed");
    }

    /// What was only counted so far, where it is time to tell it.
    pub(super) fn tell_flaps(&self) {
        let due = lock(&self.flaps).due(Instant::now());
        for (host, news) in due {
            self.tell_tunnel(&host, None, news);
        }
    }

    fn tell_tunnel(&self, host: &HostId, address: Option<SocketAddr>, news: News) {
        let name = self.name_of(host);
        self.tell_of(
            host,
            &name,
            match news {
                News::Up => "up",
                News::Down => "down",
                News::Flapped { .. } => "flap",
            },
        );
        let address = address.map(tracing::field::display);
        match news {
            News::Up => tracing::info!(host = name, id = %host, address, "tunnel up"),
            News::Down => tracing::warn!(
                host = name,
                id = %host,
                address,
                "tunnel down: no frame gets to this host; is it up, and is that UDP port open?"
            ),
            News::Flapped { times, is_up } => tracing::warn!(
                host = name,
                id = %host,
                times,
                is_up,
                "tunnel goes up and down"
            ),
        }
    }

    fn tell_of(&self, host: &HostId, name: &str, action: &'static str) {
        let notice = Notice::new(EventType::Tunnel, action, host);
        self.ground.events.tell(notice.with("host", name));
    }

    pub(crate) fn name_of(&self, host: &HostId) -> String {
        let member = self.member();
        let known = member.map(|member| others::name_of(&member.world(), host.as_str()));
        known.unwrap_or_else(|| host.to_string())
    }

    /// How long the tunnel to a host has been up, or down.
    pub(super) fn tunnel_age(&self, host: &HostId, is_up: bool) -> Option<Duration> {
        let since = lock(&self.flaps).since(host, is_up)?;
        Some(since.elapsed())
    }

    /// A host's lease is there, or has run out.
    pub(crate) fn note_presence(&self, host: &str, is_there: bool) {
        self.tell_presence(host, is_there);
        let mut away = lock(&self.away);
        if is_there {
            away.remove(host);
        } else if away.len() < AWAY_MAX {
            away.entry(host.to_owned()).or_insert_with(Instant::now);
        }
    }

    fn tell_presence(&self, host: &str, is_there: bool) {
        let mut present = lock(&self.present);
        let changed = match is_there {
            true => present.insert(host.to_owned()),
            false => present.remove(host),
        };
        drop(present);
        if changed {
            let member = self.member();
            let name = member.map(|member| others::name_of(&member.world(), host));
            let action = if is_there { "up" } else { "down" };
            let notice = Notice::new(EventType::Node, action, host);
            let name = name.unwrap_or_else(|| host.to_owned());
            self.ground.events.tell(notice.with("name", name));
        }
    }

    /// How long a host has been away, where that was noticed here.
    pub(super) fn away_for(&self, host: &str) -> Option<Duration> {
        let since = *lock(&self.away).get(host)?;
        Some(since.elapsed())
    }
}

/// Those that were revoked stay in the list.
const AWAY_MAX: usize = 4096;
