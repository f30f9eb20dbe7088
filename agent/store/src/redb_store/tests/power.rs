//! Power cuts at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::pages::Rows;
use super::super::tables::{commit, replace};
use super::disk::Disk;
use super::random::{Random, seeds};
use super::*;

type Model = BTreeMap<String, Value>;

#[test]
fn after_a_power_cut_every_acknowledged_change_is_there_and_half_a_change_never() {
    let (mut acknowledged, mut ahead) = (0, 0);
    for seed in seeds(ROUNDS) {
        match round(seed) {
            true => acknowledged += 1,
            false => ahead += 1,
        }
    }
    let of = acknowledged + ahead;
    figures::row(
        11,
        "power cut: any of the sectors since the last sync, under churn",
        "all start; no acknowledged write lost",
        &format!("{of}/{of} start, 0 acknowledged lost, {ahead} with the change that was going on"),
    );
}

/// Whether what an agent finds afterwards is what was acknowledged, without the change that was going on.
fn round(seed: u64) -> bool {
    let mut random = Random::seeded(seed);
    let disk = Arc::new(Disk::default());
    let database = disk.database();
    replace(&database, &Rows::new()).unwrap();
    disk.cut_after(
        1 + u64::try_from(random.below(400)).unwrap(),
        Random::seeded(seed),
    );
    let mut model = Model::new();
    let (image, before) = loop {
        let before = model.clone();
        churn(&database, &mut model, &mut random);
        if let Some(image) = disk.image() {
            break (image, before);
        }
    };
    let found = open(&image, seed);
    // The change that was going on may have happened.
    assert!(
        found == before || found == model,
        "seed {seed}: beside before the cut {:?}, beside the last change {:?}",
        beside(&found, &before),
        beside(&found, &model)
    );
    found == before
}

/// The last commit's branch was a former one, and led to a former leaf that proved itself.
#[test]
fn the_round_that_failed_once_does_not_again() {
    round(72);
}

/// What the records of only one of them are, and those that differ, in bytes.
fn beside(found: &Model, wanted: &Model) -> Vec<(String, Option<usize>, Option<usize>)> {
    let keys: BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let bytes = |model: &Model, key: &String| Some(model.get(key)?.to_string().len());
    let differing = keys
        .into_iter()
        .filter(|key| found.get(*key) != wanted.get(*key));
    differing
        .map(|key| (key.clone(), bytes(found, key), bytes(wanted, key)))
        .collect()
}

/// One change of some records at a time.
fn churn(database: &Database, model: &mut Model, random: &mut Random) {
    let mut changes: Vec<Change> = Vec::new();
    for _ in 0..=random.below(4) {
        let key = format!("k/{}", random.below(20));
        if changes.iter().any(|change| change.key == key) {
            continue;
        }
        if random.one_in(3) {
            model.remove(&key);
            changes.push(Change::delete(key, Expected::Anything));
            continue;
        }
        let value = json!({"text": "x".repeat(random.below(2000))});
        model.insert(key.clone(), value.clone());
        changes.push(Change::put(key, value, Expected::Anything));
    }
    commit(database, &changes).unwrap();
}

/// What an agent finds on that disk.
fn open(image: &[u8], seed: u64) -> Model {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), image).unwrap();
    let store = RedbStore::open(dir.path());
    let store = store.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(
        store.damage().is_empty(),
        "seed {seed}: {:?}",
        store.damage()
    );
    let found = store.list("").unwrap().into_iter();
    found.map(|entry| (entry.key, entry.value)).collect()
}

/// Unless `ROUNDS` says otherwise.
const ROUNDS: u64 = 60;
