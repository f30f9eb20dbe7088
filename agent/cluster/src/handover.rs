//! What a manager gives to a host that becomes one.

use std::fmt;
use std::net::SocketAddr;

use agent_core::shared::CaRecord;
use serde::{Deserialize, Serialize};

use crate::settings::EtcdPeer;

/// Asks for what a manager needs. Whether the host may have it, an order or its being a manager says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManageRequest {
    /// The certificate of the CA whose key alone is wanted, by a host that is a manager already.
    #[serde(default)]
    pub ca: Option<String>,
    /// What the host says at its ports to who comes there ([`crate::doorstep`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
}

/// All that a manager has and a member has not. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// PEM, of the CA that was asked for or else of the one that signs.
    pub ca_key: String,
    pub ca: CaRecord,
    /// Absent where the key alone was asked for.
    #[serde(default)]
    pub(crate) place: Option<PlaceGiven>,
}

/// Where the new manager serves, and which etcd it uses.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaceGiven {
    pub(crate) address: SocketAddr,
    pub(crate) etcd: EtcdGiven,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EtcdGiven {
    /// One that the managers do not run.
    Outside {
        urls: Vec<String>,
        /// CA, certificate and key, as PEM.
        credentials: Option<[String; 3]>,
    },
    /// A place among the members of the managers' own.
    Member {
        /// All members, the new one among them.
        members: Vec<EtcdPeer>,
    },
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.place.as_ref().map(|place| place.address);
        write!(f, "Handover(for {address:?})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written_and_debug_shows_no_key() {
        let handover = Handover {
            ca_key: "secret".into(),
            ca: CaRecord::new("ca".into()),
            place: Some(PlaceGiven {
                address: "192.0.2.2:4790".parse().unwrap(),
                etcd: EtcdGiven::Outside {
                    urls: vec!["https://192.0.2.9:2379".into()],
                    credentials: Some(["ca", "certificate", "secret"].map(str::to_owned)),
                },
            }),
        };
        let text = serde_json::to_string(&handover).unwrap();
        assert_eq!(serde_json::from_str::<Handover>(&text).unwrap(), handover);
        assert!(!format!("{handover:?}").contains("secret"));
    }
}
