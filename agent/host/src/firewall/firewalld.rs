//! firewalld rejects what belongs to no zone that allows it; its own word for our case is the zone `trusted`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::nft::complaint;

/// Why firewalld rejects our packets.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustLinks {
    #[error("cannot run firewall-cmd: {0}")]
    Run(#[from] io::Error),
    #[error("firewall-cmd refused: {0}")]
    Refused(String),
}

/// Puts links into the zone `trusted`, until firewalld reloads.
pub(super) fn trust(firewall_cmd: &Path, links: &BTreeSet<&String>) -> Result<(), TrustLinks> {
    let arguments = links
        .iter()
        .map(|link| format!("--change-interface={link}"));
    let output = Command::new(firewall_cmd)
        .arg("--zone=trusted")
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(TrustLinks::Refused(complaint(&output))),
    }
}

pub(super) const FIREWALLD_TABLE: &str = "firewalld";
/// The chain by which it rejects what it does not know.
pub(super) const FIREWALLD_FORWARD: &str = "filter_FORWARD";
