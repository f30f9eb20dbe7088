//! Sets of VLANs, as people write them: `10,20-30`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Vid;

/// Some VLANs, as a bit each. Copies share them.
#[derive(Clone, PartialEq, Eq)]
pub struct VidSet(Arc<[u64; WORDS]>);

impl VidSet {
    /// Every VLAN.
    pub fn all() -> Self {
        Vid::all().collect()
    }

    #[inline]
    pub fn contains(&self, vid: Vid) -> bool {
        let (word, bit) = place(vid);
        self.0[word] & bit != 0
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn len(&self) -> usize {
        let bits = self.0.iter().map(|word| word.count_ones());
        usize::try_from(bits.sum::<u32>()).unwrap_or(usize::MAX)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Vid> + '_ {
        let words = self.0.iter().zip(0_u16..);
        words.flat_map(|(word, place)| {
            let numbers = bits(*word).map(move |bit| place * 64 + bit);
            numbers.filter_map(Vid::new)
        })
    }

    /// From and to, both among them, in order.
    pub fn ranges(&self) -> Vec<(Vid, Vid)> {
        let mut ranges: Vec<(Vid, Vid)> = Vec::new();
        for vid in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if last.get() + 1 == vid.get() => *last = vid,
                _ => ranges.push((vid, vid)),
            }
        }
        ranges
    }

    /// Takes in these, and one more.
    pub(crate) fn add(&mut self, others: &Self, one: Option<Vid>) {
        let words = Arc::make_mut(&mut self.0);
        for (word, more) in words.iter_mut().zip(others.0.iter()) {
            *word |= more;
        }
        if let Some((word, bit)) = one.map(place) {
            words[word] |= bit;
        }
    }

    /// The same without one.
    #[must_use]
    pub fn without(mut self, vid: Vid) -> Self {
        let (word, bit) = place(vid);
        Arc::make_mut(&mut self.0)[word] &= !bit;
        self
    }
}

impl Default for VidSet {
    fn default() -> Self {
        Self(Arc::new([0; WORDS]))
    }
}

impl FromIterator<Vid> for VidSet {
    fn from_iter<I: IntoIterator<Item = Vid>>(vids: I) -> Self {
        let mut words = [0; WORDS];
        for (word, bit) in vids.into_iter().map(place) {
            words[word] |= bit;
        }
        Self(Arc::new(words))
    }
}

impl fmt::Display for VidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (from, to)) in self.ranges().into_iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match from == to {
                true => write!(f, "{comma}{from}")?,
                false => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for VidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VidSet {
    type Err = ParseVids;

    /// Numbers and ranges with commas between, in any order; `all` for all of them.
    fn from_str(text: &str) -> Result<Self, ParseVids> {
        if text == "all" {
            return Ok(Self::all());
        }
        let bad = || ParseVids(text.chars().take(SHOWN).collect());
        let mut words = [0; WORDS];
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = read(from).zip(read(to)).ok_or_else(bad)?;
            if from > to {
                return Err(bad());
            }
            for vid in (from.get()..=to.get()).filter_map(Vid::new) {
                let (word, bit) = place(vid);
                words[word] |= bit;
            }
        }
        Ok(Self(Arc::new(words)))
    }
}

/// The text is no list of VLANs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no list of VLANs; write numbers from 1 to 4094 and ranges of them, such as 10,20-30, or all"
)]
pub struct ParseVids(String);

fn read(text: &str) -> Option<Vid> {
    let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).and_then(Vid::new)
}

/// The word and the bit in it.
#[inline]
fn place(vid: Vid) -> (usize, u64) {
    let number = usize::from(vid.get());
    // Below `WORDS`, as a VID has twelve bits.
    (number / 64 % WORDS, 1 << (number % 64))
}

/// The places of the bits that are set, the lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.checked_sub(1)?;
        u16::try_from(bit).ok()
    })
}

const WORDS: usize = 64;
/// Of a text that is refused.
const SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> VidSet {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_is_read_in_any_order_and_written_in_one() {
        for (text, told) in [
            ("10,20-30", "10,20-30"),
            ("30,10,20-25,24-29", "10,20-30"),
            ("7", "7"),
            ("all", "1-4094"),
        ] {
            assert_eq!(set(text).to_string(), told, "{text}");
        }
        assert_eq!(VidSet::default().to_string(), "");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "", "0", "4095", "10,", ",10", "20-10", "10-", "-10", "1 0", "+5", "ten", "1-4095",
            "65546",
        ] {
            assert!(text.parse::<VidSet>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sets_are_put_together() {
        let mut all = set("10,20");
        all.add(&set("20-22"), Vid::new(4094));
        assert_eq!(all.to_string(), "10,20-22,4094");
        all.add(&VidSet::default(), None);
        assert_eq!(all.len(), 5);
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_put_into_it(numbers in prop::collection::btree_set(1..=4094_u16, 0..60), taken in 1..=4094_u16) {
            let vids: BTreeSet<Vid> = numbers.iter().copied().filter_map(Vid::new).collect();
            let set: VidSet = vids.iter().copied().collect();
            prop_assert!(set.iter().eq(vids.iter().copied()));
            prop_assert_eq!((set.len(), set.is_empty()), (vids.len(), vids.is_empty()));
            if !vids.is_empty() {
                prop_assert_eq!(&set.to_string().parse::<VidSet>().unwrap(), &set);
            }
            let taken = Vid::new(taken).unwrap();
            let less = set.without(taken);
            prop_assert!(less.iter().eq(vids.into_iter().filter(|vid| *vid != taken)));
        }
    }
}
