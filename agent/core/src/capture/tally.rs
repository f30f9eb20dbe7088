//! What a capture took and lost.

use std::borrow::Cow;

use switch_core::pcapng::{Block, Statistics, write_statistics};

/// Follows a capture, block by block.
#[derive(Debug, Default)]
pub struct Tally {
    interfaces: Vec<Seen>,
    nanos: u64,
    comment: String,
}

/// One interface.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The last that was said of it.
    said: Statistics<'static>,
    taken: u64,
    lost: u64,
}

/// All interfaces together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Frames that came.
    pub taken: u64,
    /// Frames that should have come.
    pub lost: u64,
}

impl Tally {
    pub fn count(&mut self, block: &Block<'_>) {
        match block {
            Block::Interface(_) => self.interfaces.push(Seen::default()),
            Block::Packet(packet) => {
                self.nanos = self.nanos.max(packet.nanos);
                if let Some(seen) = self.at(packet.interface) {
                    seen.taken += 1;
                    seen.lost = seen.lost.saturating_add(packet.lost);
                }
            }
            Block::Statistics(statistics) => {
                self.nanos = self.nanos.max(statistics.nanos);
                if !statistics.comment.is_empty() {
                    self.comment = statistics.comment.to_string();
                }
                if let Some(seen) = self.at(statistics.interface) {
                    seen.said = Statistics {
                        comment: Cow::Borrowed(""),
                        ..*statistics
                    };
                }
            }
            Block::Section | Block::Other => {}
        }
    }

    /// Why the agent ended the capture, if it did.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub fn total(&self) -> Total {
        let mut total = Total::default();
        for seen in self.interfaces.iter().map(Seen::sum) {
            total.lost = total.lost.saturating_add(seen.lost);
        }
        total.taken = self.interfaces.iter().map(|seen| seen.taken).sum();
        total
    }

    /// Appends the last statistics of every interface.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (interface, seen) in (0..).zip(&self.interfaces) {
            let statistics = Statistics {
                interface,
                nanos: self.nanos,
                comment: Cow::Borrowed(&self.comment),
                ..seen.sum()
            };
            write_statistics(out, &statistics);
        }
    }

    fn at(&mut self, interface: u32) -> Option<&mut Seen> {
        self.interfaces.get_mut(usize::try_from(interface).ok()?)
    }
}

impl Seen {
    /// The agent counts ahead of what has arrived, and says so now and then: each number is what is known at least.
    fn sum(&self) -> Statistics<'static> {
        let lost = self.said.lost.max(self.lost);
        Statistics {
            lost,
            accepted: self.said.accepted.max(self.taken.saturating_add(lost)),
            ..Statistics::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switch_core::pcapng::{Interface, Packet};

    fn packet(interface: u32, lost: u64) -> Block<'static> {
        Block::Packet(Packet {
            interface,
            nanos: 7,
            direction: None,
            original_len: 60,
            bytes: &[],
            lost,
            comment: Cow::Borrowed(""),
        })
    }

    #[test]
    fn what_came_since_the_last_statistics_counts_too() {
        let mut tally = Tally::default();
        let said = Statistics {
            interface: 1,
            nanos: 9,
            lost: 1,
            accepted: 3,
            ..Statistics::default()
        };
        for block in [
            Block::Interface(Interface::default()),
            Block::Interface(Interface::default()),
            packet(1, 0),
            Block::Statistics(said),
            packet(1, 4),
            packet(0, 0),
            packet(7, 1),
        ] {
            tally.count(&block);
        }
        let total = Total { taken: 3, lost: 4 };
        assert_eq!(tally.total(), total);
    }

    #[test]
    fn the_last_statistics_say_why_the_agent_ended_it() {
        let mut tally = Tally::default();
        tally.count(&Block::Interface(Interface::default()));
        let said = Statistics {
            comment: "network \"lab\" is gone".into(),
            ..Statistics::default()
        };
        tally.count(&Block::Statistics(said));
        assert_eq!(tally.comment(), "network \"lab\" is gone");
        let mut out = Vec::new();
        tally.write(&mut out);
        assert!(String::from_utf8_lossy(&out).contains("is gone"));
    }
}
