//! What the etcd of a cluster has counted, asked as its managers ask it.

use std::path::Path;
use std::process::Command;

use crate::command;
use crate::netns::Netns;
use crate::trouble::Trouble;

/// etcd's revision: it grows by one with each transaction that changes something. `state_dir` is that of the agent that runs it.
pub(super) fn revision(netns: &Netns, state_dir: &Path) -> Result<u64, Trouble> {
    let file = |name: &str| state_dir.join("cluster").join(name);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "5"])
        .args(["--resolve", &format!("{NAME}:{CLIENT_TCP_PORT}:{ADDRESS}")])
        .arg("--cacert")
        .arg(file("ca.pem"))
        .arg("--cert")
        .arg(file("service.pem"))
        .arg("--key")
        .arg(file("service.key"))
        .arg(format!("https://{NAME}:{CLIENT_TCP_PORT}/metrics"));
    let said = netns.enter(|| command::run(&mut curl))??;
    parse(&said).ok_or_else(|| Trouble::Tool {
        tool: "etcd".to_owned(),
        reason: format!("its metrics have no {REVISION}"),
    })
}

fn parse(metrics: &str) -> Option<u64> {
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(REVISION)?.strip_prefix(' '))?;
    // Go writes large numbers as `1.234567e+06`.
    let value: f64 = value.trim().parse().ok()?;
    format!("{value:.0}").parse().ok()
}

/// What is in the certificate of a cluster's etcd.
const NAME: &str = "etcd.tapestry";
/// The founder's.
const ADDRESS: &str = "198.51.100.1";
/// The one after that where hosts join.
const CLIENT_TCP_PORT: u16 = 4791;
const REVISION: &str = "etcd_debugging_mvcc_current_revision";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read() {
        let metrics =
            |value: &str| format!("# TYPE {REVISION} gauge\n{REVISION} {value}\netcd_x 7\n");
        assert_eq!(parse(&metrics("42")), Some(42));
        assert_eq!(parse(&metrics("1.234567e+06")), Some(1_234_567));
        assert_eq!(parse("etcd_x 7\n"), None);
    }
}
