//! What is asked of a cluster's signer, and what it answers.

use agent_cluster::{Reply, Request, decode};

use crate::Target;
use crate::input::kind;

pub(crate) const TARGET: Target = Target {
    name: "signer",
    run,
    length_max: 1024,
    words: &[
        b"{\"join\":",
        b"{\"renew\":",
        b"\"token_id\":",
        b"\"secret\":",
        b"\"address\":\"10.0.0.1\"",
        b"{\"refused\":",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, body)) = kind(input) else {
        return;
    };
    let written = match kind & 1 {
        0 => decode::<Request>(body).map(|request| serde_json::to_vec(&request).unwrap()),
        _ => decode::<Reply>(body).map(|reply| serde_json::to_vec(&reply).unwrap()),
    };
    match (written, kind & 1) {
        (Ok(written), 0) => assert!(decode::<Request>(&written).is_ok()),
        (Ok(written), _) => assert!(decode::<Reply>(&written).is_ok()),
        // A secret may be in what was not understood.
        (Err(error), _) => assert!(error.to_string().len() < 60, "{error}"),
    }
}
