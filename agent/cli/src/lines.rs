//! Streams of lines, which arrive cut anywhere.

/// Cuts chunks into whole lines.
#[derive(Default)]
pub(crate) struct Lines {
    /// The line that is not whole yet.
    rest: Vec<u8>,
}

impl Lines {
    /// All lines that end in this chunk.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(chunk);
        let Some(last) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.rest.split_off(last + 1);
        std::mem::replace(&mut self.rest, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_chunks() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"ab"), b"");
        assert_eq!(lines.take(b"c\nd\ne"), b"abc\nd\n");
        assert_eq!(lines.take(b"\n"), b"e\n");
    }
}
