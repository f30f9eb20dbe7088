//! The frames of a capture file.
//!
//! A classic one is a header of 24 bytes and records; pcapng is a row of blocks, of which those with packets and those that
//! describe interfaces and sections matter (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng). Both come in either byte order.

use std::path::Path;

use agent_core::hex;

use crate::failure::Failure;

/// The frames, in hexadecimal digits.
pub(super) fn frames(path: &Path) -> Result<Vec<String>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::said(format!(
            "cannot read {}: {error}; name a capture that you may read",
            path.display()
        ))
    })?;
    let frames = read(&bytes).map_err(|why| {
        Failure::said(format!(
            "{} is no capture of Ethernet frames: {why}; give a pcap or pcapng file",
            path.display()
        ))
    })?;
    Ok(frames.iter().map(|frame| hex::encode(frame)).collect())
}

fn read(bytes: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    match bytes.first_chunk::<4>() {
        Some([0xd4 | 0x4d, 0xc3 | 0x3c, 0xb2, 0xa1]) => classic(bytes, Order::Little),
        Some([0xa1, 0xb2, 0xc3 | 0x3c, 0xd4 | 0x4d]) => classic(bytes, Order::Big),
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => blocks(bytes),
        _ => Err("it begins as none"),
    }
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(word),
            Self::Big => u32::from_be_bytes(word),
        })
    }

    fn len(self, bytes: &[u8], at: usize) -> Option<usize> {
        usize::try_from(self.u32(bytes, at)?).ok()
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(word),
            Self::Big => u16::from_be_bytes(word),
        })
    }
}

fn classic(bytes: &[u8], order: Order) -> Result<Vec<&[u8]>, &'static str> {
    // The upper bits say how long a frame check sequence is.
    if order.u32(bytes, 20).map(|link| link & 0xffff) != Some(ETHERNET) {
        return Err(NOT_ETHERNET);
    }
    let mut frames = Vec::new();
    let mut rest = bytes.get(24..).ok_or(CUT)?;
    while !rest.is_empty() {
        let (kept, whole) = order.len(rest, 8).zip(order.len(rest, 12)).ok_or(CUT)?;
        if kept != whole {
            return Err(SHORTENED);
        }
        frames.push(rest.get(16..16 + kept).ok_or(CUT)?);
        rest = &rest[16 + kept..];
    }
    Ok(frames)
}

fn blocks(bytes: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let mut order = Order::Little;
    let mut links = Vec::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let kind = order.u32(rest, 0).ok_or(CUT)?;
        if kind == SECTION {
            order = match rest.get(8..12) {
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => Order::Little,
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => Order::Big,
                _ => return Err(CUT),
            };
            links.clear();
        }
        let len = order.len(rest, 4).filter(|len| *len >= 12).ok_or(CUT)?;
        let block = rest.get(..len).ok_or(CUT)?;
        match kind {
            INTERFACE => links.push(order.u16(block, 8).ok_or(CUT)?),
            ENHANCED => {
                let link = links.get(order.len(block, 8).ok_or(CUT)?).ok_or(CUT)?;
                if u32::from(*link) != ETHERNET {
                    return Err(NOT_ETHERNET);
                }
                let kept = order.len(block, 20).ok_or(CUT)?;
                if order.len(block, 24) != Some(kept) {
                    return Err(SHORTENED);
                }
                frames.push(
                    block
                        .get(28..)
                        .and_then(|data| data.get(..kept))
                        .ok_or(CUT)?,
                );
            }
            _ => {}
        }
        rest = &rest[len..];
    }
    Ok(frames)
}

const ETHERNET: u32 = 1;
/// The same in either byte order.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED: u32 = 6;
const CUT: &str = "it is cut short";
const NOT_ETHERNET: &str = "what it has is not Ethernet";
const SHORTENED: &str = "it has only the beginnings of frames";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32], big: bool) -> Vec<u8> {
        let bytes = words.iter().map(|word| match big {
            true => word.to_be_bytes(),
            false => word.to_le_bytes(),
        });
        bytes.flatten().collect()
    }

    fn classic_file(big: bool, link: u32, whole: u32) -> Vec<u8> {
        let head = words(&[0xa1b2_c3d4, 0, 0, 0, 65535, link, 1, 2, 3, whole], big);
        [&head[..], &[1, 2, 3]].concat()
    }

    fn blocks_file(link: u32) -> Vec<u8> {
        let section = words(
            &[SECTION, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28],
            false,
        );
        let interface = words(&[INTERFACE, 20, link, 0, 20], false);
        let strange = words(&[5, 12, 12], false);
        let packet = words(&[ENHANCED, 36, 0, 0, 0, 3, 3, 0x0003_0201, 36], false);
        [section, interface, strange, packet].concat()
    }

    #[test]
    fn both_formats_are_read_in_either_order() {
        let frame = [1, 2, 3];
        assert_eq!(read(&classic_file(false, 1, 3)), Ok(vec![&frame[..]]));
        assert_eq!(read(&classic_file(true, 1, 3)), Ok(vec![&frame[..]]));
        assert_eq!(read(&blocks_file(1)), Ok(vec![&frame[..]]));
    }

    #[test]
    fn what_is_none_is_told() {
        assert_eq!(read(&classic_file(false, 113, 3)), Err(NOT_ETHERNET));
        assert_eq!(read(&blocks_file(113)), Err(NOT_ETHERNET));
        assert_eq!(read(&classic_file(false, 1, 9)), Err(SHORTENED));
        assert!(read(b"#!/bin/sh").is_err());
        for whole in [classic_file(false, 1, 3), blocks_file(1)] {
            for len in 0..whole.len() {
                // Cut anywhere, it is an error or fewer frames.
                let _ = read(&whole[..len]);
            }
            assert_eq!(read(&whole[..whole.len() - 1]), Err(CUT));
        }
    }
}
