//! Sets of rules as bits, and the first that several have in common.

/// Rules in a row.
pub(super) const BITS: usize = WORDS * 64;
const WORDS: usize = 16;

/// One bit for each rule, and one for each word that is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Row {
    words: [u64; WORDS],
    summary: u64,
}

impl Row {
    /// Those of `count` rules that are admitted.
    pub(super) fn of(count: usize, is_admitted: impl Fn(usize) -> bool) -> Self {
        let mut row = Self::default();
        for index in 0..count.min(BITS) {
            if is_admitted(index) {
                row.set(index, true);
            }
        }
        row
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 != 0
    }

    pub(super) fn set(&mut self, index: usize, on: bool) {
        let (word, bit) = (index / 64, 1 << (index % 64));
        match on {
            true => self.words[word] |= bit,
            false => self.words[word] &= !bit,
        }
        let some = u64::from(self.words[word] != 0) << word;
        self.summary = self.summary & !(1 << word) | some;
    }
}

/// The lowest bit that is in every row, if there is one.
#[inline]
pub(super) fn first_match<const N: usize>(rows: [&Row; N]) -> Option<usize> {
    let mut summary = rows.iter().fold(u64::MAX, |all, row| all & row.summary);
    while summary != 0 {
        // Below the number of words, by the summary.
        let word = summary.trailing_zeros() as usize % WORDS;
        let bits = rows.iter().fold(u64::MAX, |all, row| all & row.words[word]);
        if bits != 0 {
            return Some(word * 64 + bits.trailing_zeros() as usize);
        }
        summary &= summary - 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_common_bit_is_found_in_any_word() {
        for index in [0, 1, 63, 64, 700, 1023] {
            let all = Row::of(BITS, |_| true);
            let one = Row::of(BITS, |other| other >= index);
            let other = Row::of(BITS, |other| other % 1024 <= index);
            assert_eq!(first_match([&all, &one, &other]), Some(index));
        }
        let even = Row::of(BITS, |index| index % 2 == 0);
        let odd = Row::of(BITS, |index| index % 2 == 1);
        assert_eq!(first_match([&even, &odd]), None);
        let mut row = Row::default();
        row.set(700, true);
        row.set(700, false);
        assert_eq!(row, Row::default());
    }
}
