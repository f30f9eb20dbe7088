//! What sealing and opening a datagram costs, by each of the two libraries that the QUIC tunnel chooses from.

use divan::Bencher;
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

/// Payloads, in bytes: a question's, a full datagram's, one of a jumbo underlay.
const LENGTHS: [usize; 3] = [64, 1400, 8900];
const TAG_LEN: usize = 16;
/// A short header of QUIC.
const HEADER: [u8; 13] = [0x40; 13];
const KEY: [u8; 16] = [7; 16];

/// A packet's number as its nonce.
fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

macro_rules! library {
    ($name:ident, $aead:path) => {
        mod $name {
            use $aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

            use super::*;

            fn key() -> LessSafeKey {
                let key = UnboundKey::new(&AES_128_GCM, &KEY);
                LessSafeKey::new(key.expect("16 bytes are a key"))
            }

            fn seal(key: &LessSafeKey, number: u64, datagram: &mut [u8]) {
                let (payload, room) = datagram.split_at_mut(datagram.len() - TAG_LEN);
                let nonce = Nonce::assume_unique_for_key(nonce(number));
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(HEADER), payload);
                room.copy_from_slice(tag.expect("it is short enough").as_ref());
            }

            #[divan::bench(args = LENGTHS)]
            fn sealing(bencher: Bencher<'_, '_>, len: usize) {
                let (key, mut number) = (key(), 0);
                let mut datagram = vec![1; len + TAG_LEN];
                bencher.counter(BytesCount::new(len)).bench_local(|| {
                    number += 1;
                    seal(&key, number, &mut datagram);
                });
            }

            #[divan::bench(args = LENGTHS)]
            fn opening(bencher: Bencher<'_, '_>, len: usize) {
                let key = key();
                let mut sealed = vec![1; len + TAG_LEN];
                seal(&key, 1, &mut sealed);
                bencher
                    .counter(BytesCount::new(len))
                    .with_inputs(|| sealed.clone())
                    .bench_local_refs(|datagram| {
                        let nonce = Nonce::assume_unique_for_key(nonce(1));
                        let opened = key.open_in_place(nonce, Aad::from(HEADER), datagram);
                        assert_eq!(opened.map(|payload| payload.len()), Ok(len));
                    });
            }
        }
    };
}

library!(aws_lc, aws_lc_rs::aead);
library!(ring, ::ring::aead);
