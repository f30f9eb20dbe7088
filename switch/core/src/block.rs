//! Why nothing passes a port.

use std::fmt;

use crate::vlan::Vid;

/// Why frames neither come from a port nor go to it, although it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// What leaves by it comes back by another port, in that VLAN where the network is aware of them.
    Loop(Option<Vid>),
    /// Whoever moved its frames failed, time and again.
    Fault,
    /// It sent a BPDU, and is guarded against that.
    Bpdu,
}

impl Block {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loop(_) => "loop",
            Self::Fault => "fault",
            Self::Bpdu => "bpdu guard",
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Loop(Some(vid)) => write!(f, " in VLAN {vid}"),
            Self::Loop(None) | Self::Fault | Self::Bpdu => Ok(()),
        }
    }
}
