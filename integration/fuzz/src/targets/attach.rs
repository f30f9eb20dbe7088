//! What clients of a container and its shim say to each other, and the log that is kept.

use agent_container::attach::{Decoder, Event, MAX_PAYLOAD, Message, Request};
use agent_container::log;

use crate::Target;
use crate::input::{kind, parts};

pub(crate) const TARGET: Target = Target {
    name: "attach",
    run,
    length_max: 1024,
    words: &[
        b"\x01\x00\x00\x00\x01\x00",
        b"\x84\x00\x00\x00\x04",
        b"{\"time_s\":1,\"stream\":\"stdout\",\"text\":\"",
        b"\"hex\":\"",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, rest)) = kind(input) else {
        return;
    };
    match kind % 3 {
        0 => converse::<Request>(rest),
        1 => converse::<Event>(rest),
        _ => read_log(rest),
    }
}

/// However a stream is cut, the same messages come out of it, and each is written as it was read.
fn converse<M: Message + PartialEq + std::fmt::Debug>(input: &[u8]) {
    let whole: Vec<u8> = parts(input).flatten().copied().collect();
    let at_once = decoded::<M>([&whole[..]].into_iter());
    let in_parts = decoded::<M>(parts(input));
    assert_eq!(at_once, in_parts);
    let written: Vec<u8> = at_once.iter().flat_map(Message::to_bytes).collect();
    // What is no text in an error becomes three bytes for one.
    assert!(written.len() <= 3 * whole.len());
    assert_eq!(decoded::<M>([&written[..]].into_iter()), at_once);
}

fn decoded<'i, M: Message>(stream: impl Iterator<Item = &'i [u8]>) -> Vec<M> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for part in stream {
        decoder.push(part);
        loop {
            match decoder.decode::<M>() {
                Ok(Some(message)) => {
                    assert!(message.payload().len() <= MAX_PAYLOAD);
                    messages.push(message);
                }
                Ok(None) => break,
                Err(_) => return messages,
            }
        }
    }
    messages
}

fn read_log(line: &[u8]) {
    if let Some(record) = log::parse(line) {
        assert!(
            record.bytes.len() <= line.len(),
            "nothing comes from nowhere"
        );
    }
}
