//! A capture as lines.

use std::fmt::Write as _;

use agent_core::capture::describe;
use switch_core::pcapng::{Direction, Packet};
use time::{OffsetDateTime, UtcOffset};

use crate::failure::Failure;
use crate::moment;
use crate::output;

/// Prints a line for each frame.
#[derive(Debug)]
pub(super) struct Text {
    offset: UtcOffset,
    interfaces: Vec<String>,
    lines: String,
}

impl Text {
    /// Times are of the zone that this process is in.
    pub(super) fn new() -> Self {
        Self {
            offset: moment::zone(),
            interfaces: Vec::new(),
            lines: String::new(),
        }
    }

    pub(super) fn interface(&mut self, name: &str) {
        self.interfaces.push(printable(name));
    }

    pub(super) fn packet(&mut self, packet: &Packet<'_>) {
        let at = usize::try_from(packet.interface).ok();
        let name = at.and_then(|at| self.interfaces.get(at));
        let name = name.map_or("?", String::as_str);
        if packet.lost > 0 {
            // Writing to a string does not fail, here and below.
            let _ = writeln!(self.lines, "[{} frames lost]", packet.lost);
        }
        let way = match packet.direction {
            Some(Direction::Inbound) => "In ",
            Some(Direction::Outbound) => "Out",
            None => "?  ",
        };
        let _ = write!(
            self.lines,
            "{} {name} {way} {}",
            self.time_of(packet.nanos),
            describe(packet.bytes, packet.original_len)
        );
        let _ = match packet.comment.as_ref() {
            "" => writeln!(self.lines),
            comment => writeln!(self.lines, " [{}]", printable(comment)),
        };
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let printed = output::print(&self.lines);
        self.lines.clear();
        printed
    }

    fn time_of(&self, nanos: u64) -> String {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .to_offset(self.offset);
        let (hour, minute, second, micro) = time.time().as_hms_micro();
        format!("{hour:02}:{minute:02}:{second:02}.{micro:06}")
    }
}

/// What a terminal may be shown.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line() {
        let mut text = Text::new();
        text.offset = UtcOffset::from_hms(1, 0, 0).unwrap();
        text.interface("web:eth0\x1b[31m");
        let packet = Packet {
            interface: 0,
            nanos: 1_700_000_000_123_456_789,
            direction: Some(Direction::Inbound),
            original_len: 60,
            bytes: b"short",
            lost: 2,
            comment: "dropped: guard".into(),
        };
        text.packet(&packet);
        text.packet(&Packet {
            interface: 9,
            direction: Some(Direction::Outbound),
            lost: 0,
            comment: "".into(),
            ..packet
        });
        insta::assert_snapshot!(text.lines, @r"
        [2 frames lost]
        23:13:20.123456 web:eth0[31m In  [a frame of 60 bytes] [dropped: guard]
        23:13:20.123456 ? Out [a frame of 60 bytes]
        ");
    }
}
