//! Reading a state file that redb refuses, as far as it proves itself.
//!
//! # Theory of operation
//!
//! redb's file is a tree of pages in which each parent has its children's checksums, and one of two slots at the file's
//! beginning has that of the root (redb's `docs/design.md`, format version 3). redb gives a file up where one checksum
//! does not fit. Here the tree is walked all the same:
//!
//! * In a page whose checksum fits, everything is as it was written.
//! * In a page whose checksum does not fit, but which a parent that proves itself points at, records are sound that have an
//!   envelope ([`super::envelope`]) which proves them: such a page was the one in use.
//! * Everything else is doubtful: a damaged pointer may lead to pages of former days, whose records are in order and old.
//!
//! The root has the number of records, so what is not found at all is counted at least.
//!
//! Nothing here trusts a length or an offset of the file.

use std::collections::BTreeMap;

use twox_hash::XxHash3_128;

use super::envelope::unseal;

/// What a table of a damaged file has.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) sound: Rows,
    pub(super) doubtful: Rows,
    /// How many records there were.
    pub(super) length: u64,
    /// All pages on the way are as they were written. Of one that was not written as a whole when the power went, some sectors
    /// are those of a page before, and so may be the records and pages that it leads to.
    pub(super) are_written: bool,
}

/// Records by key.
pub(super) type Rows = BTreeMap<String, Row>;

/// A record as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) revision: u64,
    pub(super) stored: Vec<u8>,
}

/// Where a tree begins.
struct Root {
    page: u64,
    checksum: u128,
    length: u64,
}

/// The records of the table called `table`, as of the newest commit whose slot proves itself; none where nothing does.
pub(super) fn find(image: &[u8], table: &str) -> Option<Found> {
    let slots = SLOTS.iter().filter_map(|at| Slot::read(image, *at));
    let newest = slots.max_by_key(|slot| slot.transaction)?;
    if newest.root.length == 0 {
        // A new file has no tables.
        return Some(Found::empty(true));
    }
    let mut tables = Walk::new(image);
    tables.visit(newest.root.page, newest.root.checksum, true, 0);
    let definition = tables
        .pairs
        .iter()
        .find(|pair| pair.key == table.as_bytes());
    let definition = definition?;
    let Some(root) = definition_root(definition.value)? else {
        return Some(Found::empty(tables.are_written));
    };
    let mut walk = Walk::new(image);
    walk.visit(root.page, root.checksum, definition.proof == Proof::Page, 0);
    let mut found = Found {
        length: root.length,
        are_written: tables.are_written && walk.are_written,
        ..Found::default()
    };
    for pair in walk.pairs {
        found.sort_in(&pair);
    }
    let Found {
        sound, doubtful, ..
    } = &mut found;
    doubtful.retain(|key, _| !sound.contains_key(key));
    Some(found)
}

impl Found {
    fn empty(are_written: bool) -> Self {
        Self {
            are_written,
            ..Self::default()
        }
    }

    /// Whether everything is as it was written.
    pub(super) fn is_whole(&self) -> bool {
        self.missing() == 0 && self.doubtful.is_empty() && self.are_written
    }

    /// How many records there is no trace of.
    pub(super) fn missing(&self) -> u64 {
        let found = self.sound.len() + self.doubtful.len();
        self.length
            .saturating_sub(u64::try_from(found).unwrap_or(u64::MAX))
    }

    fn sort_in(&mut self, pair: &Pair<'_>) {
        let Some((revision, stored)) = pair.value.split_first_chunk() else {
            return;
        };
        let row = Row {
            revision: u64::from_le_bytes(*revision),
            stored: stored.to_vec(),
        };
        let (key, is_text) = match std::str::from_utf8(pair.key) {
            Ok(key) => (key.to_owned(), true),
            Err(_) => (String::from_utf8_lossy(pair.key).into_owned(), false),
        };
        let is_sound = is_text
            && match pair.proof {
                Proof::Page => true,
                Proof::Parent => unseal(&key, row.revision, &row.stored).is_ok(),
                Proof::None => false,
            };
        match is_sound {
            true => self.sound.insert(key, row),
            false => self.doubtful.insert(key, row),
        };
    }
}

/// The half of the header that one of the last two commits wrote.
struct Slot {
    transaction: u64,
    root: Root,
}

impl Slot {
    fn read(image: &[u8], at: usize) -> Option<Self> {
        let slot: &[u8; 128] = image.get(at..)?.first_chunk()?;
        let (body, sum) = slot.split_last_chunk()?;
        if XxHash3_128::oneshot(body) != u128::from_le_bytes(*sum) || slot[0] != FORMAT {
            return None;
        }
        let root = match slot[1] {
            0 => Root::NONE,
            _ => Root::read(&slot[8..])?,
        };
        Some(Self {
            transaction: u64::from_le_bytes(*slot[104..].first_chunk()?),
            root,
        })
    }
}

impl Root {
    const NONE: Self = Self {
        page: u64::MAX,
        checksum: 0,
        length: 0,
    };

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            page: u64::from_le_bytes(*bytes.first_chunk()?),
            checksum: u128::from_le_bytes(*bytes.get(8..)?.first_chunk()?),
            length: u64::from_le_bytes(*bytes.get(24..)?.first_chunk()?),
        })
    }
}

/// A table's definition is its kind, its length, whether it has a root, and the root.
fn definition_root(definition: &[u8]) -> Option<Option<Root>> {
    match definition.get(9)? {
        0 => Some(None),
        _ => Root::read(&definition[10..]).map(Some),
    }
}

/// By what an entry proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Its page's checksum fits.
    Page,
    /// Its page is damaged, and the one in use.
    Parent,
    None,
}

struct Pair<'a> {
    key: &'a [u8],
    value: &'a [u8],
    proof: Proof,
}

struct Walk<'a> {
    image: &'a [u8],
    pairs: Vec<Pair<'a>>,
    /// How many pages are still looked at; damaged pointers may form a circle.
    budget: usize,
    /// Every page so far is there, and its checksum fits.
    are_written: bool,
}

impl<'a> Walk<'a> {
    fn new(image: &'a [u8]) -> Self {
        Self {
            image,
            pairs: Vec::new(),
            budget: image.len() / PAGE + 1,
            are_written: true,
        }
    }

    fn visit(&mut self, page: u64, checksum: u128, is_in_use: bool, depth: usize) {
        let Some(page) = page_at(self.image, page) else {
            self.are_written = false;
            return;
        };
        if self.budget == 0 || depth > DEPTH_MAX {
            self.are_written = false;
            return;
        }
        self.budget -= 1;
        let proven = |end: Option<usize>| {
            let used = end.and_then(|end| page.get(..end));
            used.is_some_and(|used| XxHash3_128::oneshot(used) == checksum)
        };
        match page.first() {
            Some(&LEAF) => {
                let leaf = Leaf { page };
                let is_proven = proven(leaf.end());
                self.are_written &= is_proven;
                let proof = match (is_proven, is_in_use) {
                    (true, _) => Proof::Page,
                    (false, true) => Proof::Parent,
                    (false, false) => Proof::None,
                };
                self.pairs.extend(leaf.pairs(proof));
            }
            Some(&BRANCH) => {
                let branch = Branch { page };
                let is_proven = proven(branch.end());
                self.are_written &= is_proven;
                if !is_proven && !is_in_use {
                    return;
                }
                for n in 0..=branch.keys() {
                    if let Some((child, sum)) = branch.child(n) {
                        self.visit(child, sum, is_proven, depth + 1);
                    }
                }
            }
            _ => self.are_written = false,
        }
    }
}

/// A page's bytes, as far as the file has them: its number is 20 bits of index, 20 bits of region and 5 bits of order on
/// top. A state file is far below the 4 GiB of a region.
fn page_at(image: &[u8], number: u64) -> Option<&[u8]> {
    let (order, region) = (number >> 59, number >> 20 & 0xf_ffff);
    if region != 0 || order > 20 {
        return None;
    }
    let size = PAGE << order;
    let index = usize::try_from(number & (0xf_ffff >> order)).ok()?;
    let start = PAGE.checked_add(index.checked_mul(size)?)?;
    let end = start.checked_add(size)?.min(image.len());
    image.get(start..end)
}

/// Number of pairs at 2, the ends of all keys from 4 on, the ends of all values behind; then keys, then values.
struct Leaf<'a> {
    page: &'a [u8],
}

impl<'a> Leaf<'a> {
    fn count(&self) -> usize {
        count(self.page)
    }

    fn key_end(&self, n: usize) -> Option<usize> {
        number(self.page, 4 + 4 * n)
    }

    fn value_end(&self, n: usize) -> Option<usize> {
        number(self.page, 4 + 4 * (self.count() + n))
    }

    fn end(&self) -> Option<usize> {
        self.value_end(self.count().checked_sub(1)?)
    }

    fn pair(&self, n: usize, proof: Proof) -> Option<Pair<'a>> {
        let (key_start, value_start) = match n.checked_sub(1) {
            None => (4 + 8 * self.count(), self.key_end(self.count() - 1)?),
            Some(before) => (self.key_end(before)?, self.value_end(before)?),
        };
        Some(Pair {
            key: self.page.get(key_start..self.key_end(n)?)?,
            value: self.page.get(value_start..self.value_end(n)?)?,
            proof,
        })
    }

    fn pairs(&self, proof: Proof) -> impl Iterator<Item = Pair<'a>> {
        (0..self.count()).filter_map(move |n| self.pair(n, proof))
    }
}

/// Number of keys at 2; from 8 on the checksums of the children, of which there is one more; then their numbers; then the ends
/// of the keys.
struct Branch<'a> {
    page: &'a [u8],
}

impl Branch<'_> {
    fn keys(&self) -> usize {
        count(self.page)
    }

    fn child(&self, n: usize) -> Option<(u64, u128)> {
        let sum = self.page.get(8 + 16 * n..)?.first_chunk()?;
        let numbers = 8 + 16 * (self.keys() + 1);
        let child = self.page.get(numbers + 8 * n..)?.first_chunk()?;
        Some((u64::from_le_bytes(*child), u128::from_le_bytes(*sum)))
    }

    fn end(&self) -> Option<usize> {
        let keys = self.keys();
        number(self.page, 8 + 24 * (keys + 1) + 4 * keys.checked_sub(1)?)
    }
}

fn count(page: &[u8]) -> usize {
    let count = page.get(2..).and_then(<[u8]>::first_chunk);
    count.map_or(0, |count| usize::from(u16::from_le_bytes(*count)))
}

fn number(page: &[u8], at: usize) -> Option<usize> {
    let number = page.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}

const PAGE: usize = 4096;
/// Where a commit's half of the header is.
const SLOTS: [usize; 2] = [64, 192];
const FORMAT: u8 = 3;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// Of a tree whose pages have two children at least.
const DEPTH_MAX: usize = 32;
