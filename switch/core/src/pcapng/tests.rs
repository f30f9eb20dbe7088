use proptest::prelude::*;

use super::*;

fn packet(bytes: &[u8]) -> Packet<'_> {
    Packet {
        interface: 0,
        nanos: 1_700_000_000_123_456_789,
        direction: Some(Direction::Inbound),
        original_len: u32::try_from(bytes.len()).unwrap(),
        bytes,
        lost: 0,
        comment: "".into(),
    }
}

/// Takes a capture apart.
fn blocks(mut bytes: &[u8]) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let len = block_len(bytes).unwrap().unwrap();
        let (block, rest) = bytes.split_at(len);
        blocks.push(read_block(block).unwrap());
        bytes = rest;
    }
    blocks
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let interface = Interface {
        name: "web:eth0".into(),
        filter: "icmp or arp".into(),
        snap_len: 96,
    };
    let lossy = Packet {
        direction: Some(Direction::Outbound),
        original_len: 9000,
        lost: 1 << 40,
        comment: "dropped: guard".into(),
        ..packet(b"12345")
    };
    let statistics = Statistics {
        interface: 0,
        nanos: u64::MAX,
        lost: 3,
        accepted: 7,
        comment: "the agent ends".into(),
    };
    let mut out = Vec::new();
    write_section(&mut out, "tapestry");
    write_interface(&mut out, &interface);
    write_packet(&mut out, &lossy);
    write_statistics(&mut out, &statistics);
    let expected = [
        Block::Section,
        Block::Interface(interface),
        Block::Packet(lossy),
        Block::Statistics(statistics),
    ];
    assert_eq!(blocks(&out), expected);
}

#[test]
fn blocks_of_other_kinds_are_skipped_and_damaged_ones_refused() {
    let mut out = Vec::new();
    write_packet(&mut out, &packet(b"1234"));
    out[0] = 99;
    assert_eq!(read_block(&out), Ok(Block::Other));
    out[4] += 4;
    assert_eq!(read_block(&out), Err(Damaged::Lengths));
    for wrong in [0_u32, 8, 13, 1 << 21] {
        let head = [6_u32.to_le_bytes(), wrong.to_le_bytes()].concat();
        assert_eq!(block_len(&head), Err(Damaged::Length(wrong)));
    }
    assert_eq!(block_len(&[6, 0, 0, 0, 16]), Ok(None));
    assert_eq!(read_block(&[]), Err(Damaged::Short));
}

#[test]
fn a_section_of_another_byte_order_is_refused() {
    let mut out = Vec::new();
    write_section(&mut out, "x");
    out[8..12].reverse();
    assert_eq!(read_block(&out), Err(Damaged::ByteOrder));
}

#[test]
fn texts_are_cut_between_characters() {
    let interface = Interface {
        name: "ü".repeat(20_000).into(),
        ..Interface::default()
    };
    let mut out = Vec::new();
    write_interface(&mut out, &interface);
    let [Block::Interface(read)] = &blocks(&out)[..] else {
        panic!("no interface");
    };
    assert_eq!(read.name.len(), 16 << 10);
    assert!(read.name.chars().all(|c| c == 'ü'));
}

proptest! {
    #[test]
    fn every_frame_comes_back(bytes: Vec<u8>, nanos: u64, interface: u32, lost: u64, way in 0..3_u8) {
        let direction = match way {
            0 => None,
            1 => Some(Direction::Inbound),
            _ => Some(Direction::Outbound),
        };
        let written = Packet { interface, nanos, direction, lost, ..packet(&bytes) };
        let mut out = Vec::new();
        write_packet(&mut out, &written);
        prop_assert_eq!(block_len(&out), Ok(Some(out.len())));
        prop_assert_eq!(read_block(&out), Ok(Block::Packet(written)));
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes: Vec<u8>, kind in 0..7_u32) {
        let len = u32::try_from(bytes.len() + 12).unwrap().to_le_bytes();
        let block = [&kind.to_le_bytes()[..], &len, &bytes, &len].concat();
        let _ = read_block(&block);
        let _ = read_block(&bytes);
        let _ = block_len(&bytes);
    }
}
