//! Asks a name server for one name again and again (RFC 1035).

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::interrupt;
use crate::netns::Netns;
use crate::trouble::Trouble;

/// In a namespace, with a question of its own.
pub(crate) struct Asker {
    socket: UdpSocket,
    question: Vec<u8>,
    name: String,
}

impl Asker {
    /// For the IPv4 address of a name of one label.
    pub(crate) fn new(netns: &Netns, server: Ipv4Addr, name: &str) -> Result<Self, Trouble> {
        let connect = || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((server, DNS_UDP_PORT))?;
            socket.set_read_timeout(Some(ANSWER_LIMIT))?;
            Ok(socket)
        };
        let socket = netns
            .enter(connect)?
            .map_err(Trouble::io("cannot ask a name server"))?;
        Ok(Self {
            socket,
            question: question(name),
            name: name.to_owned(),
        })
    }

    /// When the first answer came that has an address.
    pub(crate) fn first_answer(
        &self,
        every: Duration,
        limit: Duration,
    ) -> Result<Instant, Trouble> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            interrupt::check()?;
            let asked = Instant::now();
            if self.has_answer() {
                return Ok(Instant::now());
            }
            std::thread::sleep(every.saturating_sub(asked.elapsed()));
        }
        Err(Trouble::Late {
            what: format!("{} has an address", self.name),
            limit,
        })
    }

    /// A question that is lost, or whose answer is, is asked again.
    fn has_answer(&self) -> bool {
        let mut reply = [0; 512];
        if self.socket.send(&self.question).is_err() {
            return false;
        }
        let length = self.socket.recv(&mut reply).unwrap_or(0);
        is_answer(&reply[..length])
    }
}

fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x5a, 0x5a, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.push(u8::try_from(name.len()).unwrap_or(LABEL_LEN_MAX));
    message.extend(name.bytes().take(LABEL_LEN_MAX.into()));
    // The root; then an A record of the Internet.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// A reply without error and with a record in its answer.
fn is_answer(reply: &[u8]) -> bool {
    let [_, _, flags, code, _, _, high, low, ..] = reply else {
        return false;
    };
    flags & 0x80 != 0 && code & 0x0f == 0 && (*high, *low) != (0, 0)
}

const DNS_UDP_PORT: u16 = 53;
/// Longer than an answer from a host takes that has it.
const ANSWER_LIMIT: Duration = Duration::from_millis(50);
const LABEL_LEN_MAX: u8 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label_and_the_root() {
        let question = question("web");
        assert_eq!(question[12..], *b"\x03web\x00\x00\x01\x00\x01");
    }

    #[test]
    fn an_answer_has_no_error_and_something_in_it() {
        let head = |flags: u8, code: u8, answers: u8| {
            [0x5a, 0x5a, flags, code, 0, 1, 0, answers, 0, 0, 0, 0]
        };
        assert!(is_answer(&head(0x85, 0x80, 1)));
        assert!(!is_answer(&head(0x85, 0x83, 0)), "no such name");
        assert!(!is_answer(&head(0x85, 0x80, 0)), "no such record");
        assert!(!is_answer(&head(0x05, 0, 1)), "a question");
        assert!(!is_answer(&[]));
    }
}
