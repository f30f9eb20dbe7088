//! What the kernel says where no crate decodes it: messages of one read, and their attributes.

use agent_host::netlink::{attribute, messages, push_attribute};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "netlink",
    run,
    length_max: 1024,
    words: &[
        b"\x14\x00\x00\x00",
        b"\x04\x00\x01\x00",
        b"\x08\x00\x01\x80",
    ],
};

fn run(input: &[u8]) {
    let mut taken = 0;
    for message in messages(input) {
        assert!(message.len() >= HEADER_LENGTH);
        taken += message.len();
        nested(message.get(HEADER_LENGTH + 4..).unwrap_or_default(), 0);
    }
    assert!(taken <= input.len(), "no byte is read twice");
    nested(input, 0);
}

/// Every attribute lies in what holds it, and is read again as it is written.
fn nested(bytes: &[u8], depth: usize) {
    for kind in [1, 2, 3, 25] {
        let Some(value) = attribute(bytes, kind) else {
            continue;
        };
        assert!(value.len() + 4 <= bytes.len());
        let mut written = Vec::new();
        push_attribute(&mut written, kind, value);
        assert!(written.len().is_multiple_of(4));
        assert_eq!(attribute(&written, kind), Some(value));
        if depth < 4 {
            nested(value, depth + 1);
        }
    }
}

const HEADER_LENGTH: usize = 16;
