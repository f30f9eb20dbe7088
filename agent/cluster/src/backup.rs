//! All that a cluster needs to begin again, as one text.
//!
//! # Theory of operation
//!
//! ```text
//! tapestry cluster backup 1 sha256:<64 digits>
//! {"ca":{"certificate":...},"ca_key":...,"cluster":...,"entries":[...],...}
//! ```
//!
//! The first line says what this is, in which version, and the SHA-256 of all that follows it. The rest is JSON. Of the store
//! it has everything that one list finds, so as it was at one revision, but for tokens: they are void before anybody restores
//! them. The CA's key is in it as it is. Whoever reads the text can be any host of the cluster.

use std::fmt;

use agent_core::shared::CaRecord;
use agent_store::Entry;
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::token::sha256;

/// What is kept of a cluster. `Debug` shows no key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Backup {
    /// The cluster's id.
    pub(crate) cluster: String,
    /// Since 1970.
    pub(crate) made_s: u64,
    /// The TCP port of the manager that made it.
    pub(crate) tcp_port: u16,
    pub(crate) ca: CaRecord,
    /// PEM.
    pub(crate) ca_key: String,
    pub(crate) entries: Vec<Entry>,
}

/// Why a text is not restored.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackup {
    #[error(
        "this is no backup of a cluster; `tapestry cluster backup FILE` makes one, on a manager"
    )]
    NotABackup,
    #[error("the backup is of version {0}, which this agent does not know; update it first")]
    Newer(u64),
    #[error("the backup is damaged: {0}; take another copy of it")]
    Damaged(&'static str),
}

impl Backup {
    /// As it is kept.
    pub(crate) fn encode(&self) -> Result<String, serde_json::Error> {
        let body = serde_json::to_string(self)? + "\n";
        let digest = hex::encode(&sha256(body.as_bytes()));
        Ok(format!("{HEAD}{VERSION} {DIGEST}{digest}\n{body}"))
    }

    pub(crate) fn decode(text: &str) -> Result<Self, ReadBackup> {
        let rest = text.strip_prefix(HEAD).ok_or(ReadBackup::NotABackup)?;
        let (version, rest) = rest.split_once(' ').ok_or(CUT_OFF)?;
        match version.parse() {
            Ok(VERSION) => {}
            Ok(version) if version > VERSION => return Err(ReadBackup::Newer(version)),
            _ => return Err(ReadBackup::Damaged("its first line is none of a backup")),
        }
        let (digest, body) = rest.split_once('\n').ok_or(CUT_OFF)?;
        let is = hex::encode(&sha256(body.as_bytes()));
        if digest.strip_prefix(DIGEST) != Some(&is) {
            return Err(ReadBackup::Damaged("its content does not fit its checksum"));
        }
        serde_json::from_str(body).map_err(|_| ReadBackup::Damaged("its content is malformed"))
    }
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.len();
        write!(f, "Backup({}, {entries} entries)", self.cluster)
    }
}

const HEAD: &str = "tapestry cluster backup ";
const VERSION: u64 = 1;
const DIGEST: &str = "sha256:";
const CUT_OFF: ReadBackup = ReadBackup::Damaged("it is cut off");

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Backup {
        Backup {
            cluster: "c".to_owned(),
            made_s: 1,
            tcp_port: 4790,
            ca: CaRecord::new("pem".to_owned()),
            ca_key: "secret".to_owned(),
            entries: vec![Entry {
                key: "host/a0".to_owned(),
                value: json!({"name": "one\n", "number": u64::MAX}),
                revision: 3,
            }],
        }
    }

    #[test]
    fn what_was_backed_up_is_read() {
        let backup = sample();
        let text = backup.encode().unwrap();
        assert_eq!(Backup::decode(&text).unwrap(), backup);
        assert_eq!(text.lines().count(), 2);
        assert!(!format!("{backup:?}").contains("secret"));
    }

    #[test]
    fn no_byte_of_a_backup_may_be_another() {
        let text = sample().encode().unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let other = String::from_utf8(bytes).unwrap();
            assert!(Backup::decode(&other).is_err(), "{other}");
            assert!(Backup::decode(&text[..at]).is_err(), "cut off at {at}");
        }
        assert!(Backup::decode(&(text + "\n")).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_backup_is_told() {
        let text = sample().encode().unwrap();
        let said = |text: &str| Backup::decode(text).unwrap_err().to_string();
        for other in [
            "",
            "{}",
            "-----BEGIN CERTIFICATE-----\n",
            "tapestry cluster",
        ] {
            assert!(said(other).starts_with("this is no backup"), "{other}");
        }
        let newer = said(&text.replacen("backup 1 ", "backup 2 ", 1));
        assert!(newer.starts_with("the backup is of version 2,"), "{newer}");
        let damaged = said(&text.replacen("host/a0", "host/a1", 1));
        assert!(damaged.contains("does not fit its checksum"), "{damaged}");
        for cut in [
            "tapestry cluster backup 1",
            "tapestry cluster backup 1 sha256:",
        ] {
            assert!(said(cut).contains("cut off"), "{cut}");
        }
        let older = said("tapestry cluster backup 0 sha256:\n");
        assert!(older.contains("damaged"), "{older}");
    }
}
