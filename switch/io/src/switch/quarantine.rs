//! Ports that sent a BPDU although they are guarded against that.
//!
//! # Theory of operation
//!
//! Such a port is blocked when its first BPDU is seen, and open again after the time that its guard says, to be blocked anew by the next
//! one: whoever connected a switch by mistake and took it away again need not know of this. It may also be opened by hand, which is
//! nothing to whoever waits here.

use std::sync::{Arc, Weak};

use switch_core::{Block, Bridge, PortId, Time};

#[derive(Debug, Default)]
pub(super) struct Quarantine {
    blocked: Vec<Blocked>,
}

#[derive(Debug)]
struct Blocked {
    bridge: Weak<Bridge>,
    port: PortId,
    /// When it is to be open again; never where absent.
    until: Option<Time>,
}

impl Quarantine {
    /// Blocks the port, unless it is not guarded any more. Whether that is news.
    pub(super) fn take_in(&mut self, now: Time, bridge: &Arc<Bridge>, port: PortId) -> bool {
        let config = bridge.port_config(port);
        let Some(recovery) = config.and_then(|config| config.guards.bpdu) else {
            return false;
        };
        if !bridge.block(port, Block::Bpdu) {
            return false;
        }
        tracing::warn!(port = port.0, "a port is blocked: it sent a BPDU");
        self.blocked.retain(|blocked| blocked.port != port);
        self.blocked.push(Blocked {
            bridge: Arc::downgrade(bridge),
            port,
            until: (!recovery.is_zero()).then(|| now + recovery),
        });
        true
    }

    /// When [`Self::let_go`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.blocked
            .iter()
            .filter_map(|blocked| blocked.until)
            .min()
    }

    /// Opens the ports whose time is over, and says which.
    pub(super) fn let_go(&mut self, now: Time) -> Vec<PortId> {
        let is_over = |blocked: &Blocked| blocked.until.is_some_and(|until| until <= now);
        let over: Vec<_> = self
            .blocked
            .extract_if(.., |blocked| is_over(blocked))
            .collect();
        let open = over.into_iter().filter(|blocked| {
            let bridge = blocked.bridge.upgrade();
            bridge.is_some_and(|bridge| bridge.unblock(blocked.port, Block::Bpdu))
        });
        open.map(|blocked| blocked.port).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switch_core::{BridgeConfig, PortConfig, PortGuards, PortKind};

    use super::*;

    fn bridge(bpdu: Option<Duration>) -> Arc<Bridge> {
        let bridge = Bridge::new(BridgeConfig::default());
        let guards = PortGuards {
            bpdu,
            ..PortGuards::NONE
        };
        let config = PortConfig {
            guards,
            ..PortConfig::new(PortKind::Tap, 1500)
        };
        bridge.add_port(PortId(1), config);
        Arc::new(bridge)
    }

    #[test]
    fn a_port_is_open_again_after_the_time_that_its_guard_says() {
        let at = Time::from_millis;
        let mut quarantine = Quarantine::default();
        let timed = bridge(Some(Duration::from_secs(30)));
        assert!(quarantine.take_in(at(1000), &timed, PortId(1)));
        assert!(!quarantine.take_in(at(2000), &timed, PortId(1)), "no news");
        assert_eq!(timed.blocked(PortId(1)), Some(Block::Bpdu));
        assert_eq!(quarantine.poll_timeout(), Some(at(31_000)));
        assert_eq!(quarantine.let_go(at(30_999)), []);
        assert_eq!(quarantine.let_go(at(31_000)), [PortId(1)]);
        assert_eq!(timed.blocked(PortId(1)), None);
        let forever = bridge(Some(Duration::ZERO));
        assert!(quarantine.take_in(at(1000), &forever, PortId(1)));
        assert_eq!(quarantine.poll_timeout(), None);
        assert!(!quarantine.take_in(at(1000), &bridge(None), PortId(1)));
    }
}
