//! Join tokens.
//!
//! # Theory of operation
//!
//! A token admits one host, once, for a few minutes. It is one word to copy:
//!
//! ```text
//! TPSTRY-1-<SHA-256 of the CA's certificate>-<id>-<secret>
//!           64 digits                         16   32
//! ```
//!
//! The hash lets the joining host know the cluster before it tells it the secret. The cluster keeps the id and the
//! secret's hash only, under a lease that ends with the token, and deletes them in the same transaction that admits the
//! host: of two hosts with one token, one is admitted.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::hex;

/// What a host needs to join. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca_hash: [u8; 32],
    id: [u8; 8],
    secret: [u8; 16],
}

impl JoinToken {
    pub(crate) fn new(ca_hash: [u8; 32]) -> Self {
        Self {
            ca_hash,
            id: hex::random(),
            secret: hex::random(),
        }
    }

    /// SHA-256 of the CA's certificate (DER).
    pub(crate) fn ca_hash(&self) -> [u8; 32] {
        self.ca_hash
    }

    pub(crate) fn id(&self) -> String {
        hex::encode(&self.id)
    }

    pub(crate) fn secret(&self) -> String {
        hex::encode(&self.secret)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ca, id, secret) = (hex::encode(&self.ca_hash), self.id(), self.secret());
        write!(f, "{PREFIX}{ca}-{id}-{secret}")
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id())
    }
}

impl FromStr for JoinToken {
    type Err = ParseToken;

    fn from_str(text: &str) -> Result<Self, ParseToken> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(ParseToken)?;
        let parts: Vec<&str> = rest.split('-').collect();
        let [ca_hash, id, secret] = parts.as_slice() else {
            return Err(ParseToken);
        };
        Ok(Self {
            ca_hash: hex::decode(ca_hash).ok_or(ParseToken)?,
            id: hex::decode(id).ok_or(ParseToken)?,
            secret: hex::decode(secret).ok_or(ParseToken)?,
        })
    }
}

/// The text is no token. It is not repeated: it may be most of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a join token; copy the whole line that `tapestry cluster token` printed")]
pub struct ParseToken;

/// What the cluster keeps of a secret.
pub(crate) fn secret_hash(secret: &str) -> String {
    hex::encode(digest(&SHA256, secret.as_bytes()).as_ref())
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

const PREFIX: &str = "TPSTRY-1-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token = JoinToken::new([7; 32]);
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(format!(" {token}\n").parse(), Ok(token));
    }

    #[test]
    fn a_token_that_is_cut_or_changed_is_refused() {
        let text = JoinToken::new([7; 32]).to_string();
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<JoinToken>().is_err(), "{cut}");
        }
        assert!(format!("{text}0").parse::<JoinToken>().is_err());
        assert!(
            text.replace("TPSTRY-1", "TPSTRY-2")
                .parse::<JoinToken>()
                .is_err()
        );
    }

    #[test]
    fn neither_debug_nor_the_error_shows_a_secret() {
        let token = JoinToken::new([7; 32]);
        assert!(!format!("{token:?}").contains(&token.secret()));
        let wrong = format!("{token}x").parse::<JoinToken>().unwrap_err();
        assert!(!wrong.to_string().contains(&token.secret()));
    }

    #[test]
    fn two_tokens_differ() {
        let (one, other) = (JoinToken::new([0; 32]), JoinToken::new([0; 32]));
        assert_ne!(one.id(), other.id());
        assert_ne!(secret_hash(&one.secret()), secret_hash(&other.secret()));
    }
}
