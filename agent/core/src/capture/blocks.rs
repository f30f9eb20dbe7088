//! Streams of blocks, which arrive cut anywhere.

use std::ops::ControlFlow;

use switch_core::pcapng::{Damaged, block_len};

/// Finds whole blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    /// The beginning of one whose end has not arrived.
    begun: Vec<u8>,
}

impl Blocks {
    /// Takes what came next, and hands out every block that is whole now, in their order, until `each` breaks: what is left then goes. A
    /// block that arrived in one piece is handed out where it is.
    pub fn take<E: From<Damaged>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        while !self.begun.is_empty() {
            let len = block_len(&self.begun)?;
            let wanted = len.unwrap_or(HEAD_LEN) - self.begun.len();
            let (next, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.begun.extend_from_slice(next);
            bytes = rest;
            if next.len() < wanted {
                return Ok(ControlFlow::Continue(()));
            }
            if len.is_some() {
                let flow = each(&self.begun)?;
                self.begun.clear();
                if flow.is_break() {
                    return Ok(flow);
                }
            }
        }
        while let Some((block, rest)) =
            block_len(bytes)?.and_then(|len| bytes.split_at_checked(len))
        {
            bytes = rest;
            if each(block)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.begun.extend_from_slice(bytes);
        Ok(ControlFlow::Continue(()))
    }
}

/// Type and length of a block, of which at least so much has to be there.
const HEAD_LEN: usize = 8;

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
                let flow = blocks.take(now, |block| {
                    read.push(block.to_vec());
                    Ok::<_, Damaged>(ControlFlow::Continue(()))
                });
                prop_assert_eq!(flow, Ok(ControlFlow::Continue(())));
                rest = later;
            }
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let mut blocks = Blocks::default();
        let mut take =
            |bytes: &[u8]| blocks.take(bytes, |_| Ok::<_, Damaged>(ControlFlow::Continue(())));
        assert_eq!(take(b"HTTP"), Ok(ControlFlow::Continue(())));
        assert!(take(b"/1.1").is_err());
    }

    #[test]
    fn nothing_is_handed_out_behind_the_block_that_was_enough() {
        let mut stream = Vec::new();
        (0..3).for_each(|_| write_section(&mut stream, "x"));
        let mut seen = 0;
        let flow = Blocks::default().take(&stream, |_| {
            seen += 1;
            Ok::<_, Damaged>(match seen {
                2 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        });
        assert_eq!((flow, seen), (Ok(ControlFlow::Break(())), 2));
    }
}
