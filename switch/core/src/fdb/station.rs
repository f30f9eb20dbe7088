//! Who is looked up.

use std::fmt;

use crate::Mac;
use crate::vlan::Vid;

/// A MAC in a VLAN; in no VLAN where the network is not aware of any. As one number, which is hashed as such.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Station(u64);

impl Station {
    #[inline]
    pub fn new(vlan: Option<Vid>, mac: Mac) -> Self {
        let number = vlan.map_or(0, Vid::get);
        Self(u64::from(number) << MAC_BITS | mac.to_bits())
    }

    pub const fn mac(self) -> Mac {
        Mac::from_bits(self.0)
    }

    pub fn vlan(self) -> Option<Vid> {
        u16::try_from(self.0 >> MAC_BITS).ok().and_then(Vid::new)
    }
}

impl From<Mac> for Station {
    #[inline]
    fn from(mac: Mac) -> Self {
        Self::new(None, mac)
    }
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vlan() {
            Some(vid) => write!(f, "{} in {vid}", self.mac()),
            None => fmt::Debug::fmt(&self.mac(), f),
        }
    }
}

const MAC_BITS: u32 = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_is_a_mac_in_a_vlan() {
        let mac = Mac::new([0xfe, 1, 2, 3, 4, 5]);
        for vlan in [None, Some(Vid::ONE), Vid::new(Vid::MAX)] {
            let station = Station::new(vlan, mac);
            assert_eq!((station.vlan(), station.mac()), (vlan, mac));
        }
        assert_eq!(Station::from(mac), Station::new(None, mac));
        assert_ne!(Station::from(mac), Station::new(Some(Vid::ONE), mac));
    }
}
