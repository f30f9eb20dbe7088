//! An input that is more than one thing.

/// The parts of an input, each behind its length: 16 bits, big-endian. The last part may announce more than there is.
pub(crate) fn parts(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (part, rest) = rest.split_at(length);
        input = rest;
        Some(part)
    })
    .take(PARTS_MAX)
}

/// An input's first byte, which says what the rest of it is.
pub(crate) fn kind(input: &[u8]) -> Option<(u8, &[u8])> {
    input.split_first().map(|(kind, rest)| (*kind, rest))
}

const PARTS_MAX: usize = 64;
