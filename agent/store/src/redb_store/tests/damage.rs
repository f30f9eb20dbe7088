//! State files that a disk has damaged.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::open::Last;
use super::super::pages;
use super::super::tables::{ENTRIES_NAME, read_rows};
use super::random::{Random, rounds, seeds};
use super::*;

type Model = BTreeMap<String, (u64, Value)>;

/// A state file after some days: records of all lengths, changed and deleted, so that pages of before lie about.
struct Aged {
    image: Vec<u8>,
    model: Model,
    /// As of one change before.
    before: Model,
}

impl Aged {
    fn clean() -> Self {
        let (dir, store) = store();
        let (model, before) = age(&store);
        drop(store);
        let image = fs::read(dir.path().join(FILE_NAME)).unwrap();
        Self {
            image,
            model,
            before,
        }
    }

    /// Of an agent that was killed.
    fn unclean() -> Self {
        let (dir, store) = store();
        let (model, before) = age(&store);
        let image = fs::read(dir.path().join(FILE_NAME)).unwrap();
        Self {
            image,
            model,
            before,
        }
    }
}

fn age(store: &RedbStore) -> (Model, Model) {
    let mut random = Random::seeded(1);
    let (mut model, mut before) = (Model::new(), Model::new());
    for n in 0..CHANGES {
        before.clone_from(&model);
        let key = format!("network/{}", random.below(KEYS));
        if random.one_in(4) {
            store.delete(&key, Expected::Anything).unwrap();
            model.remove(&key);
            continue;
        }
        let length = match random.below(12) {
            0 => 6000,
            n => 60 * n,
        };
        let value = json!({"name": key.replace('/', "-"), "n": n, "text": "x".repeat(length)});
        let revision = store
            .put_if(&key, value.clone(), Expected::Anything)
            .unwrap();
        model.insert(key, (revision, value));
    }
    (model, before)
}

fn damage(image: &mut Vec<u8>, random: &mut Random) -> String {
    let at = random.below(image.len());
    match random.below(8) {
        0 => {
            image.truncate(at);
            format!("truncated to {at}")
        }
        1 => {
            let start = at / 512 * 512;
            let end = (start + 512 * (1 + random.below(8))).min(image.len());
            image[start..end].fill(0);
            format!("{start}..{end} is zero")
        }
        2 => {
            let end = (at + 1 + random.below(64)).min(image.len());
            for byte in &mut image[at..end] {
                *byte = u8::try_from(random.below(256)).unwrap();
            }
            format!("{at}..{end} is anything")
        }
        _ => {
            let bit = random.below(8);
            image[at] ^= 1 << bit;
            format!("bit {bit} of {at} is flipped")
        }
    }
}

/// How a damaged file was opened.
#[derive(Debug, Default)]
struct Tally {
    whole: u64,
    undone: u64,
    in_part: u64,
    refused: u64,
}

#[test]
fn each_record_of_a_damaged_file_is_right_or_reported() {
    let mut tally = Tally::default();
    let aged = [Aged::clean(), Aged::unclean()];
    for seed in seeds(ROUNDS) {
        let aged = &aged[usize::try_from(seed % 2).unwrap()];
        let mut random = Random::seeded(seed);
        let mut image = aged.image.clone();
        let done = damage(&mut image, &mut random);
        tally.look(aged, &image, &format!("seed {seed}: {done}"));
    }
    assert!(tally.whole > 0 && tally.in_part > 0, "{tally:?}");
    assert!(
        tally.refused < rounds(ROUNDS) / 8,
        "too few files can be saved: {tally:?}"
    );
    let Tally {
        whole,
        undone,
        in_part,
        refused,
    } = tally;
    figures::row(
        12,
        &format!("state file truncated or bit-flipped x{}", rounds(ROUNDS)),
        "starts, or says exactly what is wrong",
        &format!(
            "{whole} whole, {undone} without a last change that was not closed, {in_part} with what is lost named, {refused} refused, 0 silently another"
        ),
    );
}

impl Tally {
    fn look(&mut self, aged: &Aged, image: &[u8], done: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, image).unwrap();
        let last = Last::of(image);
        let undone = last.is_some_and(|last| last.0.is_none_or(|found| !found.is_whole()));
        let store = match RedbStore::open(dir.path()) {
            Ok(store) => store,
            Err(error) => {
                let said = error.to_string();
                assert!(matches!(error, OpenStore::Corrupt { .. }), "{done}: {said}");
                assert!(said.contains("state.redb") && said.contains("move it away"));
                assert!(!said.contains('\n') && !said.contains("panic"), "{said}");
                assert!(fs::read(&path).unwrap() == image, "{done}: it was changed");
                self.refused += 1;
                return;
            }
        };
        let notes = store.damage();
        let found = store.list("").unwrap().into_iter();
        let found: Model = found.map(|e| (e.key, (e.revision, e.value))).collect();
        if found == aged.model {
            self.whole += 1;
            return;
        }
        if undone && found == aged.before {
            self.undone += 1;
            return;
        }
        self.in_part += 1;
        for (key, record) in &found {
            assert_eq!(aged.model.get(key), Some(record), "{done}: {notes:#?}");
        }
        let lost = aged.model.keys().filter(|key| !found.contains_key(*key));
        let kept = notes.iter().filter(|note| note.starts_with("the record "));
        let counted = notes.iter().find_map(|note| {
            let (before, _) = note.split_once(" records were not found")?;
            let mut words = before.rsplit(' ');
            words.nth(2)?.parse::<usize>().ok()
        });
        let reported = kept.count() + counted.unwrap_or(0);
        assert!(lost.count() <= reported, "{done}: {notes:#?}");
        assert!(!notes.is_empty(), "{done}");
        drop(store);
        // It is told until somebody has seen to it.
        let store = RedbStore::open(dir.path()).unwrap();
        assert_eq!(store.damage(), notes, "{done}");
        fs::remove_dir_all(dir.path().join("damaged")).unwrap();
        assert!(store.damage().is_empty());
    }
}

#[test]
fn page_by_page_all_of_a_sound_file_is_found() {
    for aged in [Aged::clean(), Aged::unclean()] {
        let found = pages::find(&aged.image, ENTRIES_NAME).unwrap();
        assert_eq!((found.missing(), found.doubtful.len()), (0, 0));
        assert_eq!(found.length, u64::try_from(aged.model.len()).unwrap());
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), &aged.image).unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        assert!(found.sound == store.with(read_rows).unwrap());
    }
}

#[test]
fn one_damaged_record_costs_that_record_and_is_named() {
    let (dir, store) = store();
    for name in ["web", "db", "log"] {
        let record = json!({"name": name, "subnets": ["10.1.0.0/24"]});
        let key = format!("network/{name}-id");
        store.put_if(&key, record, Expected::Absent).unwrap();
    }
    drop(store);
    let path = dir.path().join(FILE_NAME);
    let mut image = fs::read(&path).unwrap();
    let secret = br#""name":"db","subnets":["10.1"#;
    for at in 0..image.len() - secret.len() {
        if image[at..].starts_with(secret) {
            image[at + secret.len()] ^= 1;
        }
    }
    fs::write(&path, image).unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    let left = store.list("network/").unwrap().into_iter();
    let left: Vec<_> = left.map(|entry| entry.key).collect();
    assert_eq!(left, ["network/log-id", "network/web-id"]);
    let notes = store.damage().join("\n");
    assert!(
        notes.contains(r#""network/db-id" (called "db")"#),
        "{notes}"
    );
    assert!(notes.contains("make again what it was"), "{notes}");
    let kept = dir.path().join("damaged/network-db-id.2");
    let kept = fs::read(kept).unwrap();
    assert!(kept.windows(secret.len()).any(|bytes| bytes == secret));
    // A new one takes its place.
    store
        .put_if("network/db-id", json!(1), Expected::Absent)
        .unwrap();
}

#[test]
fn records_of_before_there_were_envelopes_are_read_and_rewritten() {
    let (dir, store) = store();
    let database = database_of(&store);
    tables::as_before_envelopes(
        &database,
        &[("network/a", br#"{"n":1}"#), ("network/b", b"{")],
    );
    drop((database, store));
    for _ in 0..2 {
        let store = RedbStore::open(dir.path()).unwrap();
        let found = store.list("").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].value.clone(), found[0].revision),
            (json!({"n": 1}), 5)
        );
        assert!(store.damage()[0].contains("\"network/b\""));
        let schema = store.with(tables::schema).unwrap();
        assert_eq!(schema, Some(tables::SCHEMA_VERSION));
    }
}

#[test]
fn a_file_that_is_empty_is_not_taken_for_a_new_one() {
    let (dir, store) = store();
    let path = store.path().to_owned();
    drop(store);
    fs::write(path, b"").unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("it is empty"), "{error}");
}

#[test]
fn what_nobody_understands_is_set_aside() {
    let (_dir, store) = store();
    store
        .put_if("patch/a/b", json!({"later": 1}), Expected::Absent)
        .unwrap();
    store
        .set_aside("patch/a/b", "missing field `networks`")
        .unwrap();
    assert!(store.get("patch/a/b").unwrap().is_none());
    let notes = store.damage();
    assert!(notes[0].contains("missing field `networks`"), "{notes:?}");
}

/// Unless `ROUNDS` says otherwise.
const ROUNDS: u64 = 150;
const CHANGES: usize = 400;
const KEYS: usize = 60;
