//! The underlay: whether what one host sends to another arrives, each way by itself; and the tunnels over it.

pub(crate) const HOSTS: usize = 5;

pub(crate) struct Wires {
    /// By sender and receiver.
    cut: [[bool; HOSTS]; HOSTS],
    is_off: [bool; HOSTS],
    tunnels: [[Tunnel; HOSTS]; HOSTS],
}

#[derive(Clone, Copy, Default)]
struct Tunnel {
    is_up: bool,
    /// Since when it should be otherwise.
    differs_since: Option<u64>,
}

impl Wires {
    pub(crate) fn new() -> Self {
        Self {
            cut: [[false; HOSTS]; HOSTS],
            is_off: [false; HOSTS],
            tunnels: [[Tunnel::default(); HOSTS]; HOSTS],
        }
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from][to] = true;
    }

    pub(crate) fn mend(&mut self, one: usize, other: usize) {
        self.cut[one][other] = false;
        self.cut[other][one] = false;
    }

    /// Every host is in one of two parts, which hear nothing of each other.
    pub(crate) fn split(&mut self, is_in: impl Fn(usize) -> bool) {
        for from in 0..HOSTS {
            for to in 0..HOSTS {
                self.cut[from][to] |= is_in(from) != is_in(to);
            }
        }
    }

    pub(crate) fn mend_all(&mut self) {
        self.cut = [[false; HOSTS]; HOSTS];
        self.is_off = [false; HOSTS];
    }

    pub(crate) fn switch(&mut self, host: usize, is_on: bool) {
        self.is_off[host] = !is_on;
    }

    pub(crate) fn is_on(&self, host: usize) -> bool {
        !self.is_off[host]
    }

    pub(crate) fn carry(&self, from: usize, to: usize) -> bool {
        self.is_on(from) && self.is_on(to) && !self.cut[from][to]
    }

    pub(crate) fn carry_both(&self, one: usize, other: usize) -> bool {
        self.carry(one, other) && self.carry(other, one)
    }

    /// A tunnel is down on both sides when one of them heard nothing for a while, and is dialed again all the time.
    pub(crate) fn tick(&mut self, now_ms: u64, has_agent: [bool; HOSTS]) {
        for (one, other) in pairs() {
            let is_good = self.carry_both(one, other) && has_agent[one] && has_agent[other];
            let tunnel = &mut self.tunnels[one][other];
            if is_good == tunnel.is_up {
                tunnel.differs_since = None;
                continue;
            }
            let since = *tunnel.differs_since.get_or_insert(now_ms);
            let limit = if is_good { REDIAL_MS } else { SILENCE_MS };
            if now_ms - since >= limit {
                tunnel.is_up = is_good;
            }
        }
    }

    pub(crate) fn has_tunnel(&self, one: usize, other: usize) -> bool {
        self.tunnels[one.min(other)][one.max(other)].is_up
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..HOSTS).flat_map(|one| (one + 1..HOSTS).map(move |other| (one, other)))
}

const SILENCE_MS: u64 = 1000;
const REDIAL_MS: u64 = 500;
