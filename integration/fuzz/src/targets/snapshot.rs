//! What ports counted and learned, as the agent before left it in memory that both share.
//!
//! An input is a kind, then an image; or a body, which gets a head that fits, since nobody guesses a checksum.

use std::hash::Hasher;

use switch_core::{DropReason, Snapshot};
use twox_hash::XxHash3_64;

use crate::Target;
use crate::input::{kind, parts};

pub(crate) const TARGET: Target = Target {
    name: "snapshot",
    run,
    length_max: 1024,
    words: &[
        b"tsnp\x01\x00\x00\x00",
        b"\x00\x00\x00\x00",
        b"\x01\x00\x00\x00",
        b"\x04\x00\x00\x00runt",
        b"\x08\x00\x00\x00tap_full",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, bytes)) = kind(input) else {
        return;
    };
    match kind {
        b'i' => drop(read(bytes)),
        b'b' => drop(read(&behind_head(bytes))),
        b'2' => newest(bytes),
        _ => {}
    }
}

/// What is read is written so that it is read as the same.
fn read(image: &[u8]) -> Option<Snapshot> {
    if let Some(head) = image.first_chunk() {
        assert!(Snapshot::length(head).is_none_or(|length| length >= Snapshot::HEAD));
    }
    let snapshot = Snapshot::decode(image).ok()??;
    for port in &snapshot.ports {
        let reasons = port.counts.drop_reasons().count();
        assert!(reasons <= DropReason::ALL.len());
    }
    let written = snapshot.encode();
    let head = written.first_chunk().expect("an image has a head");
    assert_eq!(Snapshot::length(head), Some(written.len()));
    assert_eq!(Snapshot::decode(&written), Ok(Some(snapshot.clone())));
    Some(snapshot)
}

/// Two slots: the newer image counts, and one that is whole counts beside one that is not.
fn newest(bytes: &[u8]) {
    let mut bodies = parts(bytes);
    let mut slot = || bodies.next().map(behind_head).unwrap_or_default();
    let slots = [slot(), slot()];
    let read = slots.each_ref().map(|slot| read(slot));
    let found = Snapshot::newest(slots.each_ref().map(Vec::as_slice));
    match read {
        [Some(one), Some(other)] => {
            let found = found.unwrap().unwrap();
            assert_eq!(found.sequence, one.sequence.max(other.sequence));
        }
        [Some(one), None] | [None, Some(one)] => assert_eq!(found, Ok(Some(one))),
        [None, None] => assert!(!matches!(found, Ok(Some(_)))),
    }
}

/// An image of version 1 with this body. Its sequence is the body's length.
fn behind_head(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    let mut image = b"tsnp".to_vec();
    image.extend(1u32.to_le_bytes());
    image.extend(length.to_le_bytes());
    image.extend(u64::from(length).to_le_bytes());
    image.extend(4711u64.to_le_bytes());
    let mut hasher = XxHash3_64::new();
    hasher.write(&image);
    hasher.write(body);
    image.extend(hasher.finish().to_le_bytes());
    image.extend(body);
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn stored_inputs_are_what_they_say() {
        let inputs = corpus::read("snapshot").unwrap();
        let found = |name: &str| {
            let input = inputs.iter().find(|input| input.name() == Some(name));
            let (kind, bytes) = kind(&input.unwrap().bytes).unwrap();
            match kind {
                b'i' => read(bytes),
                _ => read(&behind_head(bytes)),
            }
        };
        let ports = found("ports").unwrap();
        assert_eq!(ports.ports.len(), 1);
        assert_eq!(ports.ports[0].counts.drop_reasons().count(), 1);
        assert_eq!(ports.ports[0].learned.len(), 2);
        assert_eq!(found("tables").unwrap().tables.len(), 1);
        assert_eq!(found("empty").unwrap(), found("whole_image").unwrap());
        for nothing in ["too_many", "text_too_long", "cut", "bad_sum"] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }
}
