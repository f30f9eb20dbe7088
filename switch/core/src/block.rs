//! Why nothing passes a port.

use std::fmt;

/// Why frames neither come from a port nor go to it, although it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// What leaves by it comes back by another port.
    Loop,
    /// Whoever moved its frames failed, time and again.
    Fault,
    /// It sent a BPDU, and is guarded against that.
    Bpdu,
}

impl Block {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Fault => "fault",
            Self::Bpdu => "bpdu guard",
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
