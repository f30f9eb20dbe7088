//! The endpoint that admits hosts and renews certificates, and how to ask it.
//!
//! # Theory of operation
//!
//! TLS 1.3 on one TCP port of the host that has the CA's key. A connection carries one request and one reply, each a length
//! (4 bytes, big endian) and that much JSON. A host that joins shows no certificate. It knows the CA by the hash in its
//! token, and it talks only to who has a certificate for [`MANAGER_NAME`]. The manager alone has that, so no other member can
//! ask for the token's secret. A host that renews shows its certificate, and gets a new one for the same identity. It may do
//! so when that certificate has ended, or is of a CA that was replaced; for anything else its certificate must be good. So it is
//! for the CA's key, which a manager gives to a host that becomes one.
//!
//! Requests tell the time, because clocks that differ are the usual reason why a certificate seems to be no good. Where it is
//! the manager's that seems so, a host asks for the time there and for nothing else.
//!
//! A member's connection to the store begins with one such request. After the reply it is the store's own
//! ([`agent_store::serve`]), as long as the host is a member and its certificate good.

mod ask;
mod door;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::ask::{AskManager, ask, ask_for_store};
pub(crate) use self::door::{Decide, serve};
use crate::handover::{Handover, ManageRequest};

/// What is asked of the manager. Not `Debug`, which would show a secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    Join(JoinRequest),
    /// For whoever asks.
    Renew(RenewRequest),
    /// What the time is there, and what this host's certificate is worth.
    Greet,
    /// The connection goes on as one to the store.
    Store,
    /// For a host that becomes a manager, or is one.
    Manage(ManageRequest),
}

#[derive(Serialize, Deserialize)]
pub struct RenewRequest {
    /// A signing request, PEM.
    pub request: String,
    /// What the asking host's clock says, in seconds since 1970; absent where an older agent asks.
    #[serde(default)]
    pub now_s: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub struct JoinRequest {
    pub token_id: String,
    pub secret: String,
    pub name: String,
    pub address: IpAddr,
    /// A signing request, PEM.
    pub request: String,
    /// What the asking host's clock says, in seconds since 1970; absent where an older agent asks.
    #[serde(default)]
    pub now_s: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    Joined(Joined),
    Renewed(Renewed),
    Greeted(Greeted),
    Serving,
    Managing(Handover),
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Renewed {
    pub certificate: String,
    /// The CAs that are trusted; absent where an older agent answers.
    #[serde(default)]
    pub ca: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Greeted {
    /// What the manager's clock says, in seconds since 1970.
    pub now_s: u64,
    /// Whether the certificate of the host that asks is good for nothing but being renewed.
    pub must_renew: bool,
    /// Whether that host is on record as a manager; absent where that is not known.
    #[serde(default)]
    pub is_manager: Option<bool>,
    /// How often the cluster was restored or recovered, as far as that manager knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Joined {
    pub cluster: String,
    /// The id that the certificate is for.
    pub host: String,
    pub ca: String,
    pub certificate: String,
    /// The manager's own id.
    pub signer_host: String,
}

/// What a host is told that the cluster does not know.
pub(crate) const NO_MEMBER: &str =
    "this host is revoked or has left; run `tapestry cluster leave` there and join again";
const MESSAGE_LEN_MAX: usize = 64 * 1024;
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
