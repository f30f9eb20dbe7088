//! Captures as pcapng, in both directions: blocks from frames, and frames from blocks (draft-ietf-opsawg-pcapng).
//!
//! # Theory of operation
//!
//! A capture is one section. Its interfaces are described before their first frame and are known by their order from then on; an
//! interface may come at any time, as ports do. Statistics may be said at any time too, and the last ones count: a writer that
//! says them now and then leaves a whole file wherever it ends between two blocks.
//!
//! ```text
//! section header        interface description      enhanced packet, once a frame
//! +-------------------+ +------------------------+ +-----------------------------------------------------+
//! | 0x0A0D0D0A | len  | | 1 | len | Ethernet     | | 6 | len | interface | time (ns) | captured | original|
//! | 0x1A2B3C4D | 1.0  | | snap length | name,    | | frame, padded to 4 | flags: 1 in, 2 out | lost before |
//! | -1 | shb_userappl | | filter, 10^-9 s | len  | | comment | len                                       |
//! | len               | +------------------------+ +-----------------------------------------------------+
//! +-------------------+
//! interface statistics, at the end
//! +-------------------------------------------------------------------------------+
//! | 5 | len | interface | time (ns) | ifrecv, ifdrop, filteraccept, comment | len   |
//! +-------------------------------------------------------------------------------+
//! ```
//!
//! What is written is little-endian on every machine. What is read has to be, too: it is what this wrote. Times are nanoseconds
//! since 1970 (UTC).

mod read;
mod write;

use std::borrow::Cow;

pub use read::{Block, Damaged, block_len, read_block};
pub use write::{write_interface, write_packet, write_section, write_statistics};

/// Which way a frame goes, as the port's station would say it the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the station into the switch.
    Inbound,
    /// From the switch to the station.
    Outbound,
}

/// A port, as captures show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface<'a> {
    pub name: Cow<'a, str>,
    /// The filter's text; empty where every frame is taken.
    pub filter: Cow<'a, str>,
    /// Bytes that are kept of a frame; 0 where all are.
    pub snap_len: u32,
}

/// A frame, as captures show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Of the section's interfaces, from 0.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub nanos: u64,
    pub direction: Option<Direction>,
    /// What the frame was long; what is kept of it may be shorter.
    pub original_len: u32,
    pub bytes: &'a [u8],
    /// Frames that the capture lost between the one before and this one.
    pub lost: u64,
    /// What else there is to say, such as why it went nowhere.
    pub comment: Cow<'a, str>,
}

/// What was counted at an interface since the capture's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics<'a> {
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub nanos: u64,
    /// Frames that the filter took.
    pub accepted: u64,
    /// And those of them that there was no room for.
    pub lost: u64,
    /// Why the capture ended, where it was not its reader who ended it.
    pub comment: Cow<'a, str>,
}

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;
/// Block type and both lengths.
const BLOCK_OVERHEAD: usize = 12;
/// Superframes are shorter than 65,536 bytes; the options of a block are a few hundred.
const BLOCK_LEN_MAX: usize = 1 << 20;

mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const IF_FILTER: u16 = 11;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const EPB_DROPCOUNT: u16 = 4;
    pub(super) const ISB_IFRECV: u16 = 4;
    pub(super) const ISB_IFDROP: u16 = 5;
    pub(super) const ISB_FILTERACCEPT: u16 = 6;
}

#[cfg(test)]
mod tests;
