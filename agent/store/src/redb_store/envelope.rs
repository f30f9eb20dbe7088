//! How a record lies in the state file: in an envelope, by which damage shows.
//!
//! ```text
//!   0         1                  9
//!  +---------+------------------+-------- - - -
//!  | version | checksum         | JSON
//!  +---------+------------------+-------- - - -
//! ```
//!
//! The version is 1. The checksum is 64 bits of XXH3, little endian, over the key, a zero byte, the revision (8 bytes, little
//! endian) and the JSON: so neither what is another key's nor what was here before passes for it. Until schema version 2 of
//! the state file the JSON lay there alone.

use serde_json::Value;
use twox_hash::XxHash3_64;

/// Why a record cannot be taken for what was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("its checksum does not fit")]
    Checksum,
    #[error("its version {0} is not known")]
    Version(u8),
    #[error("it is no JSON")]
    Json,
}

/// A record's JSON in its envelope.
pub(super) fn seal(key: &str, revision: u64, json: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEAD + json.len());
    sealed.push(VERSION);
    sealed.extend(checksum(key, revision, json).to_le_bytes());
    sealed.extend(json);
    sealed
}

/// What was sealed for that key by that revision.
pub(super) fn unseal(key: &str, revision: u64, sealed: &[u8]) -> Result<Value, Damage> {
    let (version, rest) = sealed.split_first().ok_or(Damage::Checksum)?;
    if *version != VERSION {
        return Err(Damage::Version(*version));
    }
    let (sum, json) = rest.split_first_chunk().ok_or(Damage::Checksum)?;
    if u64::from_le_bytes(*sum) != checksum(key, revision, json) {
        return Err(Damage::Checksum);
    }
    serde_json::from_slice(json).map_err(|_| Damage::Json)
}

fn checksum(key: &str, revision: u64, json: &[u8]) -> u64 {
    let mut hasher = XxHash3_64::new();
    for part in [key.as_bytes(), &[0], &revision.to_le_bytes(), json] {
        std::hash::Hasher::write(&mut hasher, part);
    }
    std::hash::Hasher::finish(&hasher)
}

const VERSION: u8 = 1;
const HEAD: usize = 9;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const JSON: &[u8] = br#"{"name":"web"}"#;

    #[test]
    fn what_was_sealed_is_found_again() {
        let sealed = seal("network/1", 7, JSON);
        let value = unseal("network/1", 7, &sealed);
        assert_eq!(value, Ok(json!({"name": "web"})));
        assert_eq!(sealed[..HEAD], [1, 222, 2, 83, 135, 122, 143, 126, 137]);
    }

    #[test]
    fn another_key_or_revision_and_every_flipped_bit_are_noticed() {
        let sealed = seal("network/1", 7, JSON);
        assert!(unseal("network/2", 7, &sealed).is_err());
        assert!(unseal("network/1", 6, &sealed).is_err());
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("network/1", 7, &damaged).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(unseal("network/1", 7, &sealed[..length]).is_err());
        }
    }

    #[test]
    fn json_alone_is_no_envelope() {
        assert_eq!(unseal("k", 1, JSON), Err(Damage::Version(b'{')));
    }
}
