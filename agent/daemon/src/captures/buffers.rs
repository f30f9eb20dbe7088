//! Buffers on their way to a client, which come back.
//!
//! A gigabyte a second in memory that is new every time costs the kernel as much as the copies do: it has to find and empty each page.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;

use crate::locks::lock;

/// Those of one capture.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// One that is sent.
struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// An empty one.
    pub(super) fn take(&self) -> Vec<u8> {
        lock(&self.0).pop().unwrap_or_default()
    }

    /// What is in the buffer, to be sent; the buffer comes back when it was.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        let home = self.clone();
        Bytes::from_owner(Lent { bytes, home })
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut kept = lock(&self.home.0);
        if kept.len() < KEPT_MAX {
            kept.push(bytes);
        }
    }
}

/// As many as may be on their way.
const KEPT_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_when_nobody_has_it_any_more() {
        let buffers = Buffers::default();
        let mut first = buffers.take();
        first.extend_from_slice(&[7; 1000]);
        let place = first.as_ptr();
        let sent = buffers.lend(first);
        let part = sent.slice(10..20);
        drop(sent);
        assert!(lock(&buffers.0).is_empty());
        assert_eq!(part, [7; 10][..]);
        drop(part);
        let again = buffers.take();
        assert!(again.is_empty() && again.as_ptr() == place);
    }

    #[test]
    fn no_more_are_kept_than_are_on_their_way() {
        let buffers = Buffers::default();
        let sent: Vec<_> = (0..20).map(|_| buffers.lend(vec![1])).collect();
        drop(sent);
        assert_eq!(lock(&buffers.0).len(), KEPT_MAX);
    }
}
