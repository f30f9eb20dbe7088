//! Which VLANs a port belongs to.

use super::{Vid, VidSet};

/// The VLANs of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortVlans {
    /// Where frames without tag belong, and whose frames leave without one.
    native: Option<Vid>,
    /// Never the native one.
    tagged: VidSet,
}

/// How frames of a VLAN pass a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Untagged,
    Tagged,
}

impl PortVlans {
    /// Of a station that knows nothing of VLANs.
    pub fn access(vid: Vid) -> Self {
        Self::trunk(Some(vid), VidSet::default())
    }

    /// Of one that reads tags. What is native is not tagged.
    pub fn trunk(native: Option<Vid>, tagged: VidSet) -> Self {
        let tagged = match native {
            Some(vid) if tagged.contains(vid) => tagged.without(vid),
            _ => tagged,
        };
        Self { native, tagged }
    }

    pub const fn native(&self) -> Option<Vid> {
        self.native
    }

    pub const fn tagged(&self) -> &VidSet {
        &self.tagged
    }

    /// Whether it reads tags at all.
    pub fn takes_tags(&self) -> bool {
        !self.tagged.is_empty()
    }

    /// How frames of the VLAN pass; `None` where the port does not belong to it.
    #[inline]
    pub fn shape(&self, vid: Vid) -> Option<Shape> {
        if self.native == Some(vid) {
            return Some(Shape::Untagged);
        }
        self.tagged.contains(vid).then_some(Shape::Tagged)
    }

    /// All of them, the native one first.
    pub fn iter(&self) -> impl Iterator<Item = Vid> + '_ {
        self.native.into_iter().chain(self.tagged.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vid(number: u16) -> Vid {
        Vid::new(number).unwrap()
    }

    #[test]
    fn a_native_vlan_is_not_tagged() {
        let trunk = PortVlans::trunk(Some(vid(10)), "10,20-30".parse().unwrap());
        assert_eq!(trunk.shape(vid(10)), Some(Shape::Untagged));
        assert_eq!(trunk.shape(vid(20)), Some(Shape::Tagged));
        assert_eq!(trunk.shape(vid(31)), None);
        assert_eq!(trunk.iter().count(), 12);
        assert_eq!(trunk.tagged().to_string(), "20-30");
    }
}
