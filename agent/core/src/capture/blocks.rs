//! Streams of blocks, which arrive cut anywhere.

use switch_core::pcapng::{Damaged, block_len};

/// Puts whole blocks together.
#[derive(Debug, Default)]
pub struct Blocks {
    bytes: Vec<u8>,
    /// Where the first block begins that was not handed out.
    start: usize,
}

impl Blocks {
    /// Takes what came next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole block, if it is there.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, Damaged> {
        let rest = &self.bytes[self.start..];
        let Some(block) = block_len(rest)?.and_then(|len| rest.get(..len)) else {
            return Ok(None);
        };
        self.start += block.len();
        Ok(Some(block))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switch_core::pcapng::write_section;

    use super::*;

    proptest! {
        #[test]
        fn blocks_are_whole_wherever_the_stream_is_cut(
            names in prop::collection::vec("[a-z]{0,40}", 1..8),
            cuts in prop::collection::vec(1..50_usize, 1..40),
        ) {
            let written = names.iter().map(|name| {
                let mut block = Vec::new();
                write_section(&mut block, name);
                block
            });
            let written: Vec<_> = written.collect();
            let stream = written.concat();
            let (mut rest, mut blocks, mut read) = (&stream[..], Blocks::default(), Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                blocks.push(now);
                while let Some(block) = blocks.pop().unwrap() {
                    read.push(block.to_vec());
                }
                rest = later;
            }
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let mut blocks = Blocks::default();
        blocks.push(b"HTTP/1.1");
        assert!(blocks.pop().is_err());
    }
}
