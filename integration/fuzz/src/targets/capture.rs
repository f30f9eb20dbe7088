//! What the agent sends of a capture, as the command reads it: blocks, however they are cut, and the frames in them in words.

use std::ops::ControlFlow;

use agent_core::capture::{Blocks, Tally, describe};
use switch_core::pcapng::{
    Block, Damaged, read_block, write_interface, write_packet, write_statistics,
};

use crate::Target;
use crate::input::parts;

pub(crate) const TARGET: Target = Target {
    name: "capture",
    run,
    length_max: 4096,
    words: &[
        // Kinds of blocks.
        b"\x0a\x0d\x0d\x0a",
        b"\x4d\x3c\x2b\x1a",
        b"\x01\x00\x00\x00",
        b"\x05\x00\x00\x00",
        b"\x06\x00\x00\x00",
        // Ethertypes, and what bridges and their neighbours say.
        b"\x08\x00\x45\x00",
        b"\x08\x06\x00\x01",
        b"\x86\xdd\x60",
        b"\x81\x00",
        b"\x88\xcc",
        b"\x42\x42\x03",
    ],
};

fn run(input: &[u8]) {
    let (mut blocks, mut tally) = (Blocks::default(), Tally::default());
    for part in parts(input) {
        let line = describe(part, 60);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let taken = blocks.take(part, |bytes| {
            let block = read_block(bytes)?;
            tally.count(&block);
            assert_eq!(read_block(&written(&block, bytes)).as_ref(), Ok(&block));
            Ok::<_, Damaged>(ControlFlow::Continue(()))
        });
        if taken.is_err() {
            return;
        }
    }
    let mut end = Vec::new();
    tally.write(&mut end);
    assert!(tally.total().taken == 0 || !end.is_empty());
}

/// The same block, as we write it.
fn written(block: &Block<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match block {
        Block::Interface(interface) => write_interface(&mut out, interface),
        Block::Packet(packet) => write_packet(&mut out, packet),
        Block::Statistics(statistics) => write_statistics(&mut out, statistics),
        Block::Section | Block::Other => out.extend_from_slice(bytes),
    }
    out
}
