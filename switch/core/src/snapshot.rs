//! What a switch shall not lose with its process: what its ports have counted and learned, as bytes.
//!
//! # Theory of operation
//!
//! Two slots take turns, so that whoever dies while it writes damages the older image, and leaves the other whole. An image
//! is, with all numbers little endian,
//!
//! ```text
//! "tsnp" 4 | version 4 | length 4 | sequence 8 | taken 8 | checksum 8 | body
//! ```
//!
//! The length is the body's. The checksum is 64 bits of XXH3 over all else. Of two whole images the one with the higher sequence is
//! the newer. The body is a list of ports, then one of tables; a list begins with the number of what is in it, a text with its
//! length. Reasons of drops are written by their names, so that an image outlives the version that wrote it.
//!
//! Reading trusts no number: nothing is reserved for what is not there, and whatever does not fit is [`Damaged`].

use std::hash::Hasher;
use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::vlan::Vid;
use crate::{DropReason, FdbCounts, Mac, PortCounts, Station};

/// Ports and tables at one moment, by names that their owner gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub sequence: u64,
    /// When, on a clock that outlives the process; to the millisecond.
    pub taken: Duration,
    pub ports: Vec<PortImage>,
    pub tables: Vec<TableImage>,
}

/// What is kept of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortImage {
    pub name: String,
    pub counts: PortCounts,
    /// The stations that were learned there, with the time since the last frame of each; to the second.
    pub learned: Vec<(Station, Duration)>,
}

/// What is kept of a table of MACs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableImage {
    pub name: String,
    pub counts: FdbCounts,
}

/// An image that is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("it does not begin as a snapshot")]
    Foreign,
    #[error("it is of version {0}, which this agent does not read")]
    Version(u32),
    #[error("its checksum does not fit")]
    Checksum,
    #[error("it ends too early")]
    Short,
}

impl Snapshot {
    /// Bytes before an image's body.
    pub const HEAD: usize = 36;

    /// How long the image is that begins so; `None` where there is none.
    pub fn length(head: &[u8; Self::HEAD]) -> Option<usize> {
        let mut rest = head.get(LENGTH_AT..)?;
        let length = usize::try_from(u32::from_le_bytes(*take(&mut rest).ok()?)).ok()?;
        (head != &[0; Self::HEAD]).then(|| length.saturating_add(Self::HEAD))
    }

    pub fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let mut image = Vec::with_capacity(Self::HEAD + body.len());
        image.extend(MAGIC);
        image.extend(VERSION.to_le_bytes());
        image.extend(number(body.len()).to_le_bytes());
        image.extend(self.sequence.to_le_bytes());
        let taken = u64::try_from(self.taken.as_millis()).unwrap_or(u64::MAX);
        image.extend(taken.to_le_bytes());
        let sum = checksum(&image, &body);
        image.extend(sum.to_le_bytes());
        image.extend(body);
        image
    }

    /// Nothing where nothing was ever written.
    pub fn decode(image: &[u8]) -> Result<Option<Self>, Damaged> {
        if image.iter().take(Self::HEAD).all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut rest = image;
        if take::<4>(&mut rest)? != MAGIC {
            return Err(Damaged::Foreign);
        }
        let version = take_u32(&mut rest)?;
        if !(WITHOUT_VLANS..=VERSION).contains(&version) {
            return Err(Damaged::Version(version));
        }
        let length = usize::try_from(take_u32(&mut rest)?).map_err(|_| Damaged::Short)?;
        let sequence = take_u64(&mut rest)?;
        let taken = Duration::from_millis(take_u64(&mut rest)?);
        let sum = take_u64(&mut rest)?;
        let mut body = rest.get(..length).ok_or(Damaged::Short)?;
        if sum != checksum(&image[..SUM_AT], body) {
            return Err(Damaged::Checksum);
        }
        Ok(Some(Self {
            sequence,
            taken,
            ports: take_list(&mut body, |body| PortImage::take(body, version))?,
            tables: take_list(&mut body, TableImage::take)?,
        }))
    }

    /// The newer of what two slots hold. A slot that is damaged is as good as empty as long as the other one is whole.
    pub fn newest(slots: [&[u8]; 2]) -> Result<Option<Self>, Damaged> {
        match slots.map(Self::decode) {
            [Ok(one), Ok(other)] => Ok(one
                .into_iter()
                .chain(other)
                .max_by_key(|image| image.sequence)),
            [Ok(Some(whole)), Err(_)] | [Err(_), Ok(Some(whole))] => Ok(Some(whole)),
            [Err(damaged), _] | [_, Err(damaged)] => Err(damaged),
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        push_number(&mut body, self.ports.len());
        for port in &self.ports {
            port.push(&mut body);
        }
        push_number(&mut body, self.tables.len());
        for table in &self.tables {
            table.push(&mut body);
        }
        body
    }
}

impl PortImage {
    fn push(&self, body: &mut Vec<u8>) {
        push_text(body, &self.name);
        let counts = &self.counts;
        let traffic = [
            counts.rx_frames,
            counts.rx_bytes,
            counts.tx_frames,
            counts.tx_bytes,
        ];
        body.extend(traffic.into_iter().flat_map(u64::to_le_bytes));
        push_number(body, counts.drop_reasons().count());
        for (reason, frames) in counts.drop_reasons() {
            push_text(body, reason.name());
            body.extend(frames.to_le_bytes());
        }
        push_number(body, self.learned.len());
        for (station, age) in &self.learned {
            let vid = station.vlan().map_or(0, Vid::get);
            body.extend(vid.to_le_bytes());
            body.extend(station.mac().octets());
            body.extend(
                u32::try_from(age.as_secs())
                    .unwrap_or(u32::MAX)
                    .to_le_bytes(),
            );
        }
    }

    fn take(body: &mut &[u8], version: u32) -> Result<Self, Damaged> {
        let name = take_text(body)?;
        let mut counts = PortCounts {
            rx_frames: take_u64(body)?,
            rx_bytes: take_u64(body)?,
            tx_frames: take_u64(body)?,
            tx_bytes: take_u64(body)?,
            ..PortCounts::default()
        };
        let drops = take_list(body, |body| Ok((take_text(body)?, take_u64(body)?)))?;
        for (name, frames) in drops {
            // One that nothing is dropped for any more has no counter either.
            let mut known = DropReason::ALL.iter();
            if let Some(reason) = known.find(|reason| reason.name() == name) {
                counts.add(*reason, frames);
            }
        }
        let learned = take_list(body, |body| {
            let vid = match version {
                WITHOUT_VLANS => 0,
                _ => u16::from_le_bytes(*take(body)?),
            };
            let mac = Mac::new(*take(body)?);
            Ok((
                Station::new(Vid::new(vid), mac),
                Duration::from_secs(take_u32(body)?.into()),
            ))
        })?;
        Ok(Self {
            name,
            counts,
            learned,
        })
    }
}

impl TableImage {
    fn push(&self, body: &mut Vec<u8>) {
        push_text(body, &self.name);
        let FdbCounts {
            learned,
            moved,
            aged,
            evicted,
            refused,
            port_full,
        } = self.counts;
        let counts = [learned, moved, aged, evicted, refused, port_full];
        body.extend(counts.into_iter().flat_map(u64::to_le_bytes));
    }

    fn take(body: &mut &[u8]) -> Result<Self, Damaged> {
        Ok(Self {
            name: take_text(body)?,
            counts: FdbCounts {
                learned: take_u64(body)?,
                moved: take_u64(body)?,
                aged: take_u64(body)?,
                evicted: take_u64(body)?,
                refused: take_u64(body)?,
                port_full: take_u64(body)?,
            },
        })
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u64 {
    let mut hasher = XxHash3_64::new();
    hasher.write(head);
    hasher.write(body);
    hasher.finish()
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn push_number(body: &mut Vec<u8>, length: usize) {
    body.extend(number(length).to_le_bytes());
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    push_number(body, text.len());
    body.extend(text.as_bytes());
}

fn take<'b, const N: usize>(rest: &mut &'b [u8]) -> Result<&'b [u8; N], Damaged> {
    let (first, more) = rest.split_first_chunk().ok_or(Damaged::Short)?;
    *rest = more;
    Ok(first)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Damaged> {
    Ok(u32::from_le_bytes(*take(rest)?))
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, Damaged> {
    Ok(u64::from_le_bytes(*take(rest)?))
}

fn take_text(rest: &mut &[u8]) -> Result<String, Damaged> {
    let length = usize::try_from(take_u32(rest)?).map_err(|_| Damaged::Short)?;
    let (text, more) = rest.split_at_checked(length).ok_or(Damaged::Short)?;
    *rest = more;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Each element takes some bytes, so a number that is too high ends at the end of them.
fn take_list<T>(
    rest: &mut &[u8],
    mut element: impl FnMut(&mut &[u8]) -> Result<T, Damaged>,
) -> Result<Vec<T>, Damaged> {
    let length = take_u32(rest)?;
    (0..length).map(|_| element(rest)).collect()
}

const MAGIC: &[u8; 4] = b"tsnp";
const VERSION: u32 = 2;
/// Of it, stations were MACs.
const WITHOUT_VLANS: u32 = 1;
const LENGTH_AT: usize = 8;
const SUM_AT: usize = 28;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        let traffic = any::<[u32; 6]>();
        let learned = prop::collection::vec((any::<[u8; 6]>(), 0..4095_u16, any::<u32>()), 0..20);
        let port = ("[a-z0-9/]{0,40}", traffic, learned).prop_map(|(name, numbers, learned)| {
            let [rx_frames, rx_bytes, tx_frames, tx_bytes, runts, full] = numbers.map(u64::from);
            let mut counts = PortCounts {
                rx_frames,
                rx_bytes,
                tx_frames,
                tx_bytes,
                ..PortCounts::default()
            };
            counts.add(DropReason::Runt, runts);
            counts.add(DropReason::TapFull, full);
            let learned = learned.into_iter();
            let seconds = |(mac, vid, age): ([u8; 6], u16, u32)| {
                let station = Station::new(Vid::new(vid), Mac::new(mac));
                (station, Duration::from_secs(age.into()))
            };
            PortImage {
                name,
                counts,
                learned: learned.map(seconds).collect(),
            }
        });
        let table = ("[a-z0-9]{0,40}", any::<u64>()).prop_map(|(name, learned)| TableImage {
            name,
            counts: FdbCounts {
                learned,
                moved: 7,
                ..FdbCounts::default()
            },
        });
        let ports = prop::collection::vec(port, 0..6);
        let tables = prop::collection::vec(table, 0..4);
        (any::<u64>(), any::<u32>(), ports, tables).prop_map(|(sequence, taken, ports, tables)| {
            Snapshot {
                sequence,
                taken: Duration::from_millis(taken.into()),
                ports,
                tables,
            }
        })
    }

    fn of_sequence(sequence: u64) -> Vec<u8> {
        let snapshot = Snapshot {
            sequence,
            ..Snapshot::default()
        };
        snapshot.encode()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(snapshot in any_snapshot()) {
            let image = snapshot.encode();
            let head = image.first_chunk().unwrap();
            prop_assert_eq!(Snapshot::length(head), Some(image.len()));
            // A longer image may have been there before.
            let longer = [&image[..], &[0xaa; 100]].concat();
            prop_assert_eq!(Snapshot::decode(&longer), Ok(Some(snapshot)));
        }

        #[test]
        fn one_bit_that_is_another_is_noticed(snapshot in any_snapshot(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut image = snapshot.encode();
            let at = at.index(image.len());
            image[at] ^= 1 << bit;
            prop_assert!(Snapshot::decode(&image).is_err());
        }

        #[test]
        fn an_image_that_is_cut_is_noticed(snapshot in any_snapshot(), at in any::<prop::sample::Index>()) {
            let image = snapshot.encode();
            let cut = at.index(image.len() - 1) + 1;
            prop_assert!(Snapshot::decode(&image[..cut]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_damaged(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Snapshot::decode(&bytes);
            // Behind a checksum that fits, too.
            let mut image = Snapshot::default().encode();
            image.truncate(Snapshot::HEAD);
            image[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&number(bytes.len()).to_le_bytes());
            let sum = checksum(&image[..SUM_AT], &bytes).to_le_bytes();
            image[SUM_AT..].copy_from_slice(&sum);
            image.extend(bytes);
            let _ = Snapshot::decode(&image);
        }
    }

    #[test]
    fn the_newer_slot_counts_and_a_damaged_one_only_alone() {
        let (old, new) = (of_sequence(7), of_sequence(8));
        let sequence =
            |slots| Snapshot::newest(slots).map(|found| found.map(|image| image.sequence));
        for slots in [[&old[..], &new], [&new[..], &old]] {
            assert_eq!(sequence(slots), Ok(Some(8)));
        }
        let half = &new[..20];
        for slots in [[&old[..], half], [half, &old]] {
            assert_eq!(sequence(slots), Ok(Some(7)));
        }
        assert_eq!(sequence([&[], &[0; 64]]), Ok(None));
        for slots in [[half, &[]], [&[], half], [half, half]] {
            assert_eq!(sequence(slots), Err(Damaged::Short));
        }
    }

    #[test]
    fn an_image_of_another_version_is_told() {
        let mut image = of_sequence(1);
        image[4] = 9;
        assert_eq!(Snapshot::decode(&image), Err(Damaged::Version(9)));
        image[0] = b'x';
        assert_eq!(Snapshot::decode(&image), Err(Damaged::Foreign));
    }
}
