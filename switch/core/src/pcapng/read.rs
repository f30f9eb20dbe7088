//! What blocks say. Only of those that [`super::write_packet`] and its like write; others are skipped by their length.

use std::borrow::Cow;

use super::{
    BLOCK_LEN_MAX, BLOCK_OVERHEAD, BYTE_ORDER_MAGIC, Direction, ENHANCED_PACKET,
    INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, Interface, Packet, SECTION_HEADER, Statistics,
    option,
};

/// One block of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    Section,
    Interface(Interface<'a>),
    Packet(Packet<'a>),
    Statistics(Statistics<'a>),
    /// Of a kind that is not written here.
    Other,
}

/// Why bytes are no capture of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("a block of {0} bytes")]
    Length(u32),
    #[error("a block whose lengths differ")]
    Lengths,
    #[error("a section of another byte order")]
    ByteOrder,
    #[error("a block that is too short for what it says")]
    Short,
}

/// How many bytes the block has that begins here, with everything around it; `None` where too few are there to say.
pub fn block_len(bytes: &[u8]) -> Result<Option<usize>, Damaged> {
    let Some(len) = bytes.get(4..8) else {
        return Ok(None);
    };
    let len = Fields(len).word()?;
    let bytes = usize::try_from(len).unwrap_or(usize::MAX);
    let is_sound = bytes >= BLOCK_OVERHEAD && bytes.is_multiple_of(4) && bytes <= BLOCK_LEN_MAX;
    match is_sound {
        true => Ok(Some(bytes)),
        false => Err(Damaged::Length(len)),
    }
}

/// Reads one whole block, as long as [`block_len`] says.
pub fn read_block(block: &[u8]) -> Result<Block<'_>, Damaged> {
    let (head, rest) = block.split_at_checked(8).ok_or(Damaged::Short)?;
    let (body, end) = rest.split_last_chunk::<4>().ok_or(Damaged::Short)?;
    let mut head = Fields(head);
    let (kind, len) = (head.word()?, head.word()?);
    if len != u32::from_le_bytes(*end) || usize::try_from(len) != Ok(block.len()) {
        return Err(Damaged::Lengths);
    }
    let mut body = Fields(body);
    match kind {
        SECTION_HEADER => match body.word()? {
            BYTE_ORDER_MAGIC => Ok(Block::Section),
            _ => Err(Damaged::ByteOrder),
        },
        INTERFACE_DESCRIPTION => interface(body).map(Block::Interface),
        ENHANCED_PACKET => packet(body).map(Block::Packet),
        INTERFACE_STATISTICS => statistics(body).map(Block::Statistics),
        _ => Ok(Block::Other),
    }
}

fn interface(mut body: Fields<'_>) -> Result<Interface<'_>, Damaged> {
    body.take(4)?;
    let mut interface = Interface {
        snap_len: body.word()?,
        ..Interface::default()
    };
    while let Some((code, value)) = body.option()? {
        match code {
            option::IF_NAME => interface.name = text(value),
            option::IF_FILTER => interface.filter = text(value.get(1..).unwrap_or_default()),
            _ => {}
        }
    }
    Ok(interface)
}

fn packet(mut body: Fields<'_>) -> Result<Packet<'_>, Damaged> {
    let (interface, nanos) = (body.word()?, body.time()?);
    let (kept, original_len) = (body.word()?, body.word()?);
    let mut packet = Packet {
        interface,
        nanos,
        direction: None,
        original_len,
        bytes: body.padded(kept)?,
        lost: 0,
        comment: Cow::Borrowed(""),
    };
    while let Some((code, value)) = body.option()? {
        match (code, value) {
            (option::EPB_FLAGS, [flags, ..]) => {
                packet.direction = match flags & 3 {
                    1 => Some(Direction::Inbound),
                    2 => Some(Direction::Outbound),
                    _ => None,
                };
            }
            (option::EPB_DROPCOUNT, lost) => packet.lost = count(lost)?,
            (option::COMMENT, comment) => packet.comment = text(comment),
            _ => {}
        }
    }
    Ok(packet)
}

fn statistics(mut body: Fields<'_>) -> Result<Statistics<'_>, Damaged> {
    let mut statistics = Statistics {
        interface: body.word()?,
        nanos: body.time()?,
        ..Statistics::default()
    };
    while let Some((code, value)) = body.option()? {
        match code {
            option::ISB_IFDROP => statistics.lost = count(value)?,
            option::ISB_FILTERACCEPT => statistics.accepted = count(value)?,
            option::COMMENT => statistics.comment = text(value),
            _ => {}
        }
    }
    Ok(statistics)
}

fn text(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}

fn count(value: &[u8]) -> Result<u64, Damaged> {
    let bytes = value.try_into().map_err(|_| Damaged::Short)?;
    Ok(u64::from_le_bytes(bytes))
}

/// What is left of a block's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Damaged::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// So many bytes, and those up to the next multiple of four.
    fn padded(&mut self, len: u32) -> Result<&'a [u8], Damaged> {
        let len = usize::try_from(len).map_err(|_| Damaged::Short)?;
        let whole = len.checked_next_multiple_of(4).ok_or(Damaged::Short)?;
        Ok(&self.take(whole)?[..len])
    }

    fn word(&mut self) -> Result<u32, Damaged> {
        let bytes = self.take(4)?.try_into().map_err(|_| Damaged::Short)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn time(&mut self) -> Result<u64, Damaged> {
        let (high, low) = (self.word()?, self.word()?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// The next option's code and value; `None` behind the last.
    fn option(&mut self) -> Result<Option<(u16, &'a [u8])>, Damaged> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let [code, len] = [0, 2].map(|at| match self.0.get(at..at + 2) {
            Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
            _ => Err(Damaged::Short),
        });
        let (code, len) = (code?, len?);
        self.take(4)?;
        let value = self.padded(u32::from(len))?;
        Ok((code != option::END).then_some((code, value)))
    }
}
