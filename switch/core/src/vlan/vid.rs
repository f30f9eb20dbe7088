//! VLAN identifiers.

use std::fmt;
use std::num::NonZeroU16;

/// A VLAN identifier that frames may have: 1 to 4094 (IEEE 802.1Q §9.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(NonZeroU16);

impl Vid {
    /// What every bridge begins with.
    pub const ONE: Self = Self(NonZeroU16::MIN);
    pub const MAX: u16 = 4094;

    /// `None` for 0, which says that there is none, and for 4095 and above.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(vid) if number <= Self::MAX => Some(Self(vid)),
            _ => None,
        }
    }

    /// Every one, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..).map_while(Self::new)
    }

    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vid_is_one_that_frames_may_have() {
        assert_eq!(Vid::new(0), None);
        assert_eq!(Vid::new(4095), None);
        assert_eq!(Vid::new(1), Some(Vid::ONE));
        assert_eq!(Vid::all().count(), 4094);
        assert_eq!(Vid::all().last().map(Vid::get), Some(Vid::MAX));
    }
}
