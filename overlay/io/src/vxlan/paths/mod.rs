//! How long a packet the path to each remote carries.
//!
//! # Theory of operation
//!
//! For each remote there is a search ([`PathMtu`]), and its ports carry no longer packets than it has found: what is longer is answered
//! as too big, and the MSS of SYNs is lowered, as for a link that is narrow. Probes and answers go from and to the VXLAN port, like
//! frames. A socket of its own sends the probes ([`Scout`]). The trunk's reader hands in what came, and drives the searches when the alarm rings.
//!
//! Nothing is done per frame. The first ones since the last round raise a flag ([`Traffic`]) and wake the reader; without traffic
//! there is no alarm. Ports whose packets may be fragmented have no search.

mod scout;
mod traffic;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use overlay_core::mtu::{Underlay, vxlan_inner, vxlan_underlay};
use overlay_core::{Bucket, PathFinding, PathMtu, PathProbe, PathProbeKind, SendProbe};
use quinn_udp::Transmit;
use switch_core::{Time, Vni};

use self::scout::Scout;
pub(super) use self::traffic::Traffic;
use super::heard::Heard;
use super::line::Line;
use super::unpacking::VxlanPorts;
use crate::clock::{Alarm, Clock};

/// The searches of a tunnel, by remote.
#[derive(Debug)]
pub(super) struct Paths {
    local: IpAddr,
    remote_udp_port: u16,
    clock: Clock,
    alarm: Alarm,
    /// To others' probes.
    answers: Bucket,
    all: BTreeMap<IpAddr, Path>,
}

#[derive(Debug)]
struct Path {
    remote: SocketAddr,
    /// Absent where there was no route when a port came.
    scout: Option<Scout>,
    search: PathMtu,
    traffic: Arc<Traffic>,
    /// What the ports there carry at most, by network.
    limits: BTreeMap<Vni, u32>,
    /// What they were told that the path carries.
    inner: u32,
}

impl Paths {
    /// None yet. Probes and answers go to `remote_udp_port`.
    pub(super) fn new(local: IpAddr, remote_udp_port: u16) -> io::Result<Self> {
        Ok(Self {
            local,
            remote_udp_port,
            clock: Clock::new(),
            alarm: Alarm::new()?,
            answers: Bucket::full(Time::from_millis(0), ANSWERS_RATE, ANSWERS_BURST),
            all: BTreeMap::new(),
        })
    }

    /// A port for `remote` in `vni` carries packets of up to `mtu` bytes, as far as the link is concerned. The network namespace is
    /// that of the calling thread.
    pub(super) fn limit(
        &mut self,
        ports: &VxlanPorts,
        (vni, remote): (Vni, IpAddr),
        mtu: u32,
    ) -> Arc<Traffic> {
        let now = self.clock.time(Instant::now());
        let remote = SocketAddr::new(remote, self.remote_udp_port);
        let path = self
            .all
            .entry(remote.ip())
            .or_insert_with(|| Path::new(remote));
        if path.scout.is_none() {
            path.scout = Scout::open(self.local, remote).ok();
        }
        path.limits.insert(vni, mtu);
        path.search.set_max(now, path.max());
        path.fit(ports);
        Arc::clone(&path.traffic)
    }

    pub(super) fn has(&self, vni: Vni, remote: IpAddr) -> bool {
        let path = self.all.get(&remote);
        path.is_some_and(|path| path.limits.contains_key(&vni))
    }

    /// The port for `remote` in `vni` has no search any more.
    pub(super) fn leave(&mut self, vni: Vni, remote: IpAddr) {
        if let Some(path) = self.all.get_mut(&remote) {
            path.limits.remove(&vni);
            if path.limits.is_empty() {
                self.all.remove(&remote);
            }
        }
    }

    pub(super) fn finding(&self, remote: IpAddr) -> Option<PathFinding> {
        Some(self.all.get(&remote)?.search.finding())
    }

    pub(super) fn is_due(&self) -> bool {
        self.alarm.is_due(Instant::now())
    }

    /// Takes what came, does what is due, and has the alarm ring when something is again.
    pub(super) fn tend(&mut self, line: &Line, ports: &VxlanPorts, heard: &[Heard]) {
        let instant = Instant::now();
        let now = self.clock.time(instant);
        if self.alarm.is_due(instant) {
            self.alarm.clear();
        }
        for one in heard {
            self.hear(now, line, *one);
        }
        for path in self.all.values_mut() {
            path.follow(now);
            while let Some(probe) = path.search.poll_transmit() {
                path.send(line, probe);
            }
            path.fit(ports);
        }
        let next = self
            .all
            .values()
            .filter_map(|path| path.search.poll_timeout());
        let next = next.min().map(|next| self.clock.instant(next));
        self.alarm.ring_by(next, instant);
    }

    fn hear(&mut self, now: Time, line: &Line, heard: Heard) {
        match heard.probe.kind {
            PathProbeKind::Probe if self.answers.take(now, 1) => {
                let to = SocketAddr::new(heard.from, self.remote_udp_port);
                send(line, to, &heard.probe.answer(heard.len).to_bytes());
            }
            PathProbeKind::Probe => {}
            PathProbeKind::Answer => {
                if let Some(path) = self.all.get_mut(&heard.from) {
                    let size = u32::from(heard.probe.len) + path.underlay().udp_overhead();
                    path.search.handle_answer(now, heard.probe.nonce, size);
                }
            }
        }
    }
}

impl AsFd for Paths {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }
}

impl Path {
    fn new(remote: SocketAddr) -> Self {
        Self {
            remote,
            scout: None,
            search: PathMtu::new(underlay(remote), PACKET_MAX, seed()),
            traffic: Arc::default(),
            limits: BTreeMap::new(),
            inner: PACKET_MAX,
        }
    }

    fn underlay(&self) -> Underlay {
        underlay(self.remote)
    }

    /// The longest packet that any port there makes.
    fn max(&self) -> u32 {
        let longest = self.limits.values().max().copied().unwrap_or(0);
        vxlan_underlay(self.underlay(), longest.min(PACKET_MAX)).min(PACKET_MAX)
    }

    fn follow(&mut self, now: Time) {
        let begins = self.traffic.is_raised() && !self.search.is_used();
        let is_due = self.search.poll_timeout().is_some_and(|due| due <= now);
        if !begins && !is_due {
            return;
        }
        if let Some(mtu) = self.scout.as_ref().and_then(Scout::look) {
            self.search.handle_told(now, mtu);
        }
        if begins {
            self.search.handle_traffic(now);
        }
        self.search.handle_timeout(now);
        if !self.search.is_used() {
            self.traffic.lower();
        }
    }

    fn send(&self, line: &Line, probe: SendProbe) {
        let len = probe.size.saturating_sub(self.underlay().udp_overhead());
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        let datagram = PathProbe::probe(len, probe.nonce).to_bytes();
        let Some(scout) = &self.scout else {
            return send(line, self.remote, &datagram);
        };
        // One that is lost looks like one that does not cross, and is sent again.
        if let Err(error) = scout.send(&datagram) {
            tracing::debug!(remote = %self.remote, len, %error, "a probe of the path was not sent");
        }
    }

    /// Has the ports carry what the path carries.
    fn fit(&mut self, ports: &VxlanPorts) {
        let current = self.search.current();
        let inner = vxlan_inner(self.underlay(), current);
        if inner != self.inner && self.search.finding() != PathFinding::Unknown {
            tracing::info!(remote = %self.remote, mtu = current, inner, "the path's MTU is another");
        }
        self.inner = inner;
        for (vni, limit) in &self.limits {
            if let Some(entry) = ports.find(&(*vni, self.remote.ip())) {
                entry.set_mtu(inner.min(*limit));
            }
        }
    }
}

fn send(line: &Line, to: SocketAddr, datagram: &[u8]) {
    let _ = line.flows.socket(0).send(&Transmit {
        destination: to,
        ecn: None,
        contents: datagram,
        segment_size: None,
        src_ip: None,
    });
}

const fn underlay(remote: SocketAddr) -> Underlay {
    match remote {
        SocketAddr::V4(_) => Underlay::V4,
        SocketAddr::V6(_) => Underlay::V6,
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // Whoever sees no probe answers none.
        Err(_) => u64::from(std::process::id()),
    }
}

/// In bytes.
const PACKET_MAX: u32 = 65_535;
/// Answers a second, and at once: hosts of a cluster ask once in three seconds, and a search some dozen times.
const ANSWERS_RATE: u64 = 1000;
const ANSWERS_BURST: u64 = 500;
