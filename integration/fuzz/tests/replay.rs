//! Every stored input of every target, and mutations of them. What fails is printed as a line for the corpus.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use fuzz::mutate::mutate;
use fuzz::{TARGETS, Target, corpus};

#[test]
fn stored_inputs_break_nothing() {
    for target in TARGETS {
        let inputs = inputs(target);
        assert!(
            inputs.len() > 1,
            "corpus/{}: has next to nothing",
            target.name
        );
        for input in inputs {
            assert!(input.len() <= target.length_max, "{}", target.name);
            check(target, &input);
        }
    }
}

/// `FUZZ_ROUNDS=1000000` tries that many of each target; a round is an input.
#[test]
fn mutations_of_stored_inputs_break_nothing() {
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    for target in TARGETS {
        let inputs = inputs(target);
        for seed in SEEDS {
            mutate(target, &inputs, seed, rounds / 4, |input| {
                check(target, input)
            });
        }
    }
}

/// A corpus that nobody replays would rot.
#[test]
fn every_corpus_has_its_target() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(fuzz::target(&name).is_some(), "{name} is no target");
    }
    assert!(TARGETS.is_sorted_by_key(|target| target.name));
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let inputs = corpus::read(target.name).unwrap();
    inputs.into_iter().map(|input| input.bytes).collect()
}

fn check(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        eprintln!(
            "for corpus/{}:\n# NAME: why\n{}",
            target.name,
            corpus::encode(input)
        );
        resume_unwind(panic);
    }
}

const SEEDS: [u64; 4] = [0x5eed, 2, 3, 5];
/// Of each target: all of them take some seconds either way. `make fuzz` has time.
const ROUNDS: u32 = if cfg!(debug_assertions) {
    20_000
} else {
    60_000
};
