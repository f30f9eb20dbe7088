//! Stored inputs and their mutations, for the fuzz tests of the cores.
//!
//! `tests/corpus/*.hex` of a crate holds inputs that matter, one a file: a line that says why, then the bytes. Each is replayed
//! as it is and in mutations, always the same ones. `FUZZ_SECONDS=600 cargo test --release --test fuzz_corpus` goes on with
//! others that no run had before, for that long. An input that fails is printed in the corpus' format.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// What takes the inputs.
pub trait Target {
    /// How many mutations there are. The first [`SHARED_MUTATIONS`] are those of any bytes.
    const MUTATIONS: usize;
    /// A byte that matters in the format.
    const BYTE: u8;

    /// Takes one input through everything. Panics when an invariant does not hold.
    fn fuzz_one(&mut self, input: &[u8]);

    /// A mutation of its own. `at` is a place in the input.
    fn mutate(
        mutation: usize,
        at: usize,
        input: &mut Vec<u8>,
        corpus: &[Vec<u8>],
        random: &mut Random,
    );
}

/// The stored inputs, then `rounds` mutations of them.
pub fn replay<T: Target>(target: &mut T, corpus: &[Vec<u8>], rounds: u32) {
    for input in corpus {
        check(target, input);
    }
    mutate_for(target, corpus, Random(0x5eed), |round| round < rounds);
}

/// More mutations: a share from each of [`SEEDS`], or for as long as `FUZZ_SECONDS` says those that no run had before.
pub fn go_on<T: Target>(target: &mut T, corpus: &[Vec<u8>]) {
    let Ok(seconds) = std::env::var("FUZZ_SECONDS") else {
        for seed in SEEDS {
            mutate_for(target, corpus, Random(seed), |round| round < SHARE);
        }
        return;
    };
    let seconds = seconds.parse().expect("FUZZ_SECONDS is a number");
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_secs() | 1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let rounds = mutate_for(target, corpus, Random(seed), |_| Instant::now() < end);
    eprintln!("{rounds} inputs, seed {seed}");
    assert!(rounds > 0, "nothing was tried");
}

/// Every input of a folder, in the order of their names.
pub fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// One input.
pub fn read(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    (0..digits.len() / 2)
        .map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap())
        .collect()
}

fn mutate_for<T: Target>(
    target: &mut T,
    corpus: &[Vec<u8>],
    mut random: Random,
    go_on: impl Fn(u32) -> bool,
) -> u32 {
    let mut rounds = 0;
    while go_on(rounds) {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate::<T>(&mut input, corpus, &mut random);
        }
        check(target, &input);
        rounds += 1;
    }
    rounds
}

fn mutate<T: Target>(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len().max(1));
    let near = random.below(input.len().clamp(1, 90));
    match random.below(T::MUTATIONS) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 | 2 if !input.is_empty() => input[near] = random.byte(),
        3 if !input.is_empty() => {
            input[near] = [0, 1, 0x7f, 0x80, 0xff, 5, T::BYTE][random.below(7)];
        }
        4 => input.truncate(at),
        5 => {
            let byte = random.byte();
            input.insert(at.min(input.len()), byte);
        }
        6 if !input.is_empty() => {
            input.remove(near);
        }
        mutation => T::mutate(mutation, at, input, corpus, random),
    }
}

fn check<T: Target>(target: &mut T, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.fuzz_one(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("# What fails, in a line.\n{hex}");
        std::panic::resume_unwind(panic);
    }
}

/// Xorshift (Marsaglia 2003): the same inputs on every run.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[4]
    }
}

/// Mutations of any bytes; a format's own may also stand in for one of them where there is no byte to change.
pub const SHARED_MUTATIONS: usize = 7;

/// None of them that of [`replay`].
const SEEDS: [u64; 8] = [1, 2, 3, 5, 7, 11, 13, 17];
/// Mutations from one seed: all of them take a second or two without optimisation.
const SHARE: u32 = 10_000;
