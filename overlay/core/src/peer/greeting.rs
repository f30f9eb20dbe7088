//! Hellos: by which both ends come to know each other.

use switch_core::Time;

use super::liveness::Liveness;
use super::message::Outgoing;
use super::{Close, Hello, Peer, PeerEvent, PeerState};

impl Peer {
    pub(super) fn greet(&mut self, now: Time) {
        self.state = PeerState::Greeting;
        self.deadline = Some(now + self.config.timing.hello);
        self.send_hello(now);
    }

    pub(super) fn handle_hello(&mut self, now: Time, hello: &Hello, heard: bool) {
        if hello.host != self.config.remote {
            self.close(now, Close::WrongHost(hello.host.clone()));
            return;
        }
        let Some(version) = self.version(hello) else {
            self.close(now, Close::NoCommonVersion(hello.versions));
            return;
        };
        let capabilities = hello.capabilities.common(self.config.hello.capabilities);
        self.heard_hello = true;
        self.told = hello.capabilities;
        self.rank.epoch = hello.epoch;
        if !heard {
            self.send_hello(now);
        }
        if !self.is_up() {
            self.state = PeerState::Up;
            self.up_since = now;
            self.backoff = self.config.timing.backoff_min;
            self.counts.ups += 1;
            self.events.push_back(PeerEvent::Up {
                version,
                capabilities,
                epoch: hello.epoch,
            });
            self.next_hello = None;
            self.life = Liveness::new(self.config.timing, self.config.role, now);
            self.deadline = Some(self.life.due());
        }
    }

    /// The highest that both speak.
    pub(super) fn version(&self, hello: &Hello) -> Option<u8> {
        let ours = self.config.hello.versions;
        let version = hello.versions.1.min(ours.1);
        (version >= hello.versions.0.max(ours.0)).then_some(version)
    }

    pub(super) fn send_hello(&mut self, now: Time) {
        self.transmit(Outgoing::Hello {
            heard: self.heard_hello,
        });
        let is_again = self.state == PeerState::Greeting || self.hellos_left > 0;
        self.hellos_left = self.hellos_left.saturating_sub(1);
        self.next_hello = is_again.then(|| now + self.config.timing.hello_again);
    }
}
