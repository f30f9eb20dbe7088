//! VLANs: several networks on one bridge (IEEE 802.1Q).
//!
//! # Theory of operation
//!
//! In a network that is aware of VLANs, every frame belongs to exactly one of them. Where it comes in decides ([`Tag::admit`]): by
//! its outermost tag of the network's protocol, where the port belongs to that VLAN; without one, or with a priority tag (VID
//! 0), to the port's native VLAN. Everything else is dropped there. A tag of the other protocol is payload, as is whatever is
//! beneath the first tag.
//!
//! From then on everything happens within the VLAN: stations are known by VLAN and MAC (independent learning, IEEE 802.1Q
//! §8.8), addresses live in one VLAN, and the rest of the decision looks at the frame beneath its tag. A frame leaves only by
//! ports of its VLAN, in the form that each of them has for it ([`Shape`]): without tag in the native one, with its tag in the others. Its
//! priority bits are kept with the tag, and are zero where there was none. These are the rules of Linux's bridge
//! (`net/bridge/br_vlan.c`), but for one.
//!
//! That one: beneath a frame's tag may be another of the same protocol. Where the first one is taken off, the second would be read as
//! the frame's own by whoever is behind a port that takes tags, and a station could speak in VLANs that it does not belong to. So
//! such a frame keeps its tag wherever the port takes any.
//!
//! A bridge that is not aware knows nothing of all this: tags are payload there.

mod membership;
mod set;
mod tag;
#[cfg(test)]
mod tests;
mod vid;

pub use self::membership::{PortVlans, Shape};
pub use self::set::{ParseVids, VidSet};
pub use self::tag::{Tag, TagChange};
pub use self::vid::Vid;
use crate::frame::ethertype;

/// How a network is aware of VLANs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanConfig {
    pub protocol: TagProtocol,
    /// Where the gateway lives, and every port that was told nothing else.
    pub default: Vid,
}

impl Default for VlanConfig {
    fn default() -> Self {
        Self {
            protocol: TagProtocol::Customer,
            default: Vid::ONE,
        }
    }
}

/// Whose tags a network reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagProtocol {
    /// 802.1Q.
    #[default]
    Customer,
    /// 802.1ad: what customers tag is payload.
    Service,
}

impl TagProtocol {
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::Customer => ethertype::VLAN,
            Self::Service => ethertype::SERVICE_VLAN,
        }
    }

    /// The bytes of a tag with that TCI.
    pub const fn tag(self, tci: u16) -> [u8; Tag::LEN] {
        let [a, b] = self.ethertype().to_be_bytes();
        let [c, d] = tci.to_be_bytes();
        [a, b, c, d]
    }
}
