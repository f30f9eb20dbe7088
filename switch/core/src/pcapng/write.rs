//! Blocks from what they say. Each function appends one whole block.

use super::{
    BLOCK_LEN_MAX, BYTE_ORDER_MAGIC, Direction, ENHANCED_PACKET, INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS, Interface, LINKTYPE_ETHERNET, Packet, SECTION_HEADER, Statistics, option,
};

/// The beginning of a capture; `by` is the program that makes it.
pub fn write_section(out: &mut Vec<u8>, by: &str) {
    block(out, SECTION_HEADER, |out| {
        word(out, BYTE_ORDER_MAGIC);
        out.extend_from_slice(&1_u16.to_le_bytes());
        out.extend_from_slice(&0_u16.to_le_bytes());
        // The section's length, which nobody knows yet.
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        text(out, option::SHB_USERAPPL, by);
        end_of_options(out);
    });
}

/// The section's next interface.
pub fn write_interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        word(out, interface.snap_len);
        text(out, option::IF_NAME, &interface.name);
        value(out, option::IF_TSRESOL, &[NANOSECONDS]);
        if !interface.filter.is_empty() {
            let mut filter = vec![FILTER_AS_TEXT];
            filter.extend_from_slice(cut(&interface.filter).as_bytes());
            value(out, option::IF_FILTER, &filter);
        }
        end_of_options(out);
    });
}

/// A frame.
pub fn write_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let kept = &packet.bytes[..packet.bytes.len().min(FRAME_LEN_MAX)];
    block(out, ENHANCED_PACKET, |out| {
        word(out, packet.interface);
        time(out, packet.nanos);
        word(out, u32::try_from(kept.len()).unwrap_or(u32::MAX));
        word(out, packet.original_len);
        out.extend_from_slice(kept);
        pad(out, kept.len());
        if let Some(direction) = packet.direction {
            let flags: u32 = match direction {
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            };
            value(out, option::EPB_FLAGS, &flags.to_le_bytes());
        }
        if packet.lost > 0 {
            value(out, option::EPB_DROPCOUNT, &packet.lost.to_le_bytes());
        }
        if !packet.comment.is_empty() {
            text(out, option::COMMENT, &packet.comment);
        }
        end_of_options(out);
    });
}

/// What was counted at an interface so far.
pub fn write_statistics(out: &mut Vec<u8>, statistics: &Statistics<'_>) {
    block(out, INTERFACE_STATISTICS, |out| {
        word(out, statistics.interface);
        time(out, statistics.nanos);
        for (code, count) in [
            (option::ISB_IFRECV, statistics.accepted),
            (option::ISB_IFDROP, statistics.lost),
            (option::ISB_FILTERACCEPT, statistics.accepted),
        ] {
            value(out, code, &count.to_le_bytes());
        }
        if !statistics.comment.is_empty() {
            text(out, option::COMMENT, &statistics.comment);
        }
        end_of_options(out);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    word(out, kind);
    word(out, 0);
    body(out);
    let len = u32::try_from(out.len() + 4 - start)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&len);
    out.extend_from_slice(&len);
}

fn word(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_le_bytes());
}

/// The upper half first, whatever the byte order.
fn time(out: &mut Vec<u8>, nanos: u64) {
    let bytes = nanos.to_le_bytes();
    out.extend_from_slice(&bytes[4..]);
    out.extend_from_slice(&bytes[..4]);
}

fn text(out: &mut Vec<u8>, code: u16, text: &str) {
    value(out, code, cut(text).as_bytes());
}

fn value(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&value[..usize::from(len)]);
    pad(out, usize::from(len));
}

fn end_of_options(out: &mut Vec<u8>) {
    value(out, option::END, &[]);
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend(std::iter::repeat_n(0, len.next_multiple_of(4) - len));
}

/// What there is room for of a text, in whole characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LEN_MAX)]
}

const NANOSECONDS: u8 = 9;
const FILTER_AS_TEXT: u8 = 0;
/// Room for a filter of any sense, and four of these in a block.
const TEXT_LEN_MAX: usize = 16 << 10;
/// With it, every block is one that [`super::read_block`] takes.
const FRAME_LEN_MAX: usize = BLOCK_LEN_MAX / 2;
