//! Mutations of stored inputs: the same ones on every run, for tests. What goes on from there is the fuzzer's work.

use crate::Target;

/// Calls `each` with `rounds` inputs, made of those in the corpus. Another seed makes others.
pub fn mutate(
    target: &Target,
    corpus: &[Vec<u8>],
    seed: u64,
    rounds: u32,
    mut each: impl FnMut(&[u8]),
) {
    let mut random = Random(seed.max(1));
    for _ in 0..rounds {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            step(target, &mut input, corpus, &mut random);
        }
        input.truncate(target.length_max);
        each(&input);
    }
}

fn step(target: &Target, input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len().max(1));
    // Headers are in front.
    let near = random.below(input.len().clamp(1, 90));
    match random.below(11) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 | 2 if !input.is_empty() => input[near] = random.byte(),
        3 if !input.is_empty() => input[near] = [0, 1, 0x7f, 0x80, 0xff, 5][random.below(6)],
        4 => input.truncate(at),
        5 => input.insert(at.min(input.len()), random.byte()),
        6 if !input.is_empty() => drop(input.remove(near)),
        7 => {
            let other = &corpus[random.below(corpus.len())];
            input.truncate(at);
            input.extend(other.iter().skip(at));
        }
        8 => input.extend(&corpus[random.below(corpus.len())]),
        9 if !target.words.is_empty() => {
            let word = target.words[random.below(target.words.len())];
            input.splice(near..near, word.iter().copied());
        }
        10 if !target.words.is_empty() => {
            let word = target.words[random.below(target.words.len())];
            let end = (near + word.len()).min(input.len());
            input.splice(near..end, word.iter().copied());
        }
        _ => input.push(random.byte()),
    }
}

/// Xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[4]
    }
}
