//! The connection to another host: what that says in its hellos, also in those of a run that takes the place of another, and what
//! becomes of connections meanwhile.
//!
//! An input is this end's part (`d`ials or `l`istens, `s` where it stands by), then what happens: a letter, and what belongs to it.

use std::time::Duration;

use overlay_core::{
    DatagramHeader, Epoch, Hello, HostId, Peer, PeerConfig, PeerEvent, Role, Timing,
};
use switch_core::Time;

use crate::Target;
use crate::input::parts;

pub(crate) const TARGET: Target = Target {
    name: "peer",
    run,
    length_max: 1024,
    words: &[
        b"\x00\x07chost-1",
        b"\x00\x07chost-9",
        b"m\x01\x00\x01\x01\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x09\x06host-1",
        b"r\x01\x01\x01\x01\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x0a\x06host-1",
        b"\x00\x02m\x02",
        b"\x00\x04m\x03hi",
        b"\x00\x01d",
        b"\x00\x01o",
        b"\x00\x01b",
        b"\x00\x01x",
        b"\x00\x01v",
        b"\x00\x02w\xff",
    ],
};

fn run(input: &[u8]) {
    times_up(input);
}

/// Takes one input through everything; returns how often frames could flow.
fn times_up(input: &[u8]) -> usize {
    let mut parts = parts(input);
    let mut end = End::new(parts.next().unwrap_or_default());
    parts.for_each(|part| end.step(part));
    end.ups
}

struct End {
    peer: Peer,
    now: Time,
    is_up: bool,
    ups: usize,
}

impl End {
    fn new(part: &[u8]) -> Self {
        let name = |name| HostId::new(name).unwrap();
        let config = PeerConfig {
            hello: Hello::new(name("host-2"), Epoch(5)),
            remote: name("host-1"),
            role: match part.contains(&b'd') {
                true => Role::Dials,
                false => Role::Listens,
            },
            is_needed: true,
            timing: Timing::default(),
            seed: 1,
        };
        let now = Time::from_millis(1000);
        let peer = match part.contains(&b's') {
            true => Peer::standing_by(config, now),
            false => Peer::new(config, now),
        };
        Self {
            peer,
            now,
            is_up: false,
            ups: 0,
        }
    }

    fn step(&mut self, part: &[u8]) {
        let Some((what, rest)) = part.split_first() else {
            return;
        };
        let (peer, now) = (&mut self.peer, self.now);
        match what {
            b'm' => peer.handle_input(now, rest),
            b'r' | b't' if peer.has_rivals() => drop(peer.handle_rival(now, rest, *what == b't')),
            b'b' if peer.is_up() => peer.handle_return(now),
            b'c' => peer.handle_connected(now, &String::from_utf8_lossy(rest)),
            b'd' => peer.handle_disconnected(now),
            b'f' => peer.handle_traffic(now),
            b'o' => peer.take_over(now),
            b'x' => peer.redial(now),
            b'v' => peer.revoke(),
            b'w' => self.wait(rest.first().copied().unwrap_or(0)),
            _ => {}
        }
        self.drain();
    }

    /// Up to 2.5 s, with a look whenever one is due.
    fn wait(&mut self, steps: u8) {
        let until = self.now + Duration::from_millis(10) * u32::from(steps);
        for _ in 0..LOOKS_MAX {
            match self.peer.poll_timeout() {
                Some(due) if due <= until => {
                    self.now = self.now.max(due);
                    self.peer.handle_timeout(self.now);
                    self.drain();
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("it has something to do all the time");
    }

    /// Whatever happens, few words and events come of it, and frames flow where the last of these says so.
    fn drain(&mut self) {
        let mut said = 0;
        while let Some(datagram) = self.peer.poll_transmit() {
            let (header, _) = DatagramHeader::parse(&datagram).expect("it is well formed");
            assert_eq!(header, DatagramHeader::Control);
            said += 1;
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::Up { version, .. } => {
                    assert_eq!(version, 1);
                    self.is_up = true;
                    self.ups += 1;
                }
                PeerEvent::Down => {
                    assert!(self.is_up, "down twice");
                    self.is_up = false;
                }
                PeerEvent::Letter(_) => assert!(self.is_up, "a letter of nobody"),
                PeerEvent::Dial | PeerEvent::Close(_) => {}
            }
            said += 1;
        }
        assert!(said <= SAID_MAX, "{said} words and events at once");
        assert_eq!(self.is_up, self.peer.is_up());
        let counts = self.peer.counts();
        assert!(counts.downs <= counts.ups, "{counts:?}");
    }
}

/// Of one thing that happens.
const SAID_MAX: usize = 6;
/// A keepalive comes every 125 ms at the most, a hello every 100.
const LOOKS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn stored_inputs_are_what_they_say() {
        for input in corpus::read("peer").unwrap() {
            let Some(name) = input.name() else { continue };
            let wanted = match name.rsplit_once("_up_") {
                Some((_, times)) => times.parse().unwrap(),
                None => 0,
            };
            assert_eq!(times_up(&input.bytes), wanted, "{name}");
        }
    }
}
