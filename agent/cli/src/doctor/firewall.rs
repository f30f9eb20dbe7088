//! The packet filter, what it and the kernel's settings do to forwarded packets, and others who rule over them.

use std::io;

use agent_host::firewall::{Finding, Firewall, diagnose};
use agent_host::has_a_say;

use super::check::Check;
use super::host::{Host, output_of};

pub(crate) fn checks(host: &Host) -> Vec<Check> {
    let mut checks = match output_of("nft", &["list", "tables"]) {
        Ok(_) => vec![Check::ok("nft", version())],
        // Then the rest cannot be told either.
        Err(error) => return vec![broken(&error), docker(host), firewalld(host)],
    };
    let findings = diagnose();
    if findings.iter().all(|finding| finding.remedy.is_none()) {
        checks.push(Check::ok("forwarding", "on, and nothing in its way"));
    }
    checks.extend(findings.into_iter().map(in_the_way));
    checks.extend(packet_ring());
    checks.extend([docker(host), firewalld(host)]);
    checks
}

/// Whether VXLAN's datagrams pass the host's stack for a reason of the host's.
fn packet_ring() -> Option<Check> {
    let why = has_a_say(&Firewall::nft()?, VXLAN_UDP_PORT)?;
    let found = format!("VXLAN is received by its socket alone, because {why}");
    Some(Check::ok("packet_ring", found))
}

fn broken(error: &io::Error) -> Check {
    match error.kind() {
        io::ErrorKind::NotFound => Check::fail(
            "nft",
            "not installed, so nothing can be masqueraded or published",
            "install the package nftables",
        ),
        _ => Check::fail(
            "nft",
            format!("does not work: {error}"),
            "run as root, on a kernel with nf_tables",
        ),
    }
}

fn version() -> String {
    let text = output_of("nft", &["--version"]).unwrap_or_default();
    text.lines().next().unwrap_or("works").to_owned()
}

fn in_the_way(finding: Finding) -> Check {
    let found = format!("{}: {}", finding.what, finding.why);
    match finding.remedy {
        Some(remedy) => Check::warn("forwarding", found, remedy),
        None => Check::ok("forwarding", found),
    }
}

fn docker(host: &Host) -> Check {
    let what = "Docker";
    if host.exists("run/docker.sock") || host.exists("sys/class/net/docker0") {
        Check::ok(what, "is here too; each keeps its own networks and rules")
    } else {
        Check::ok(what, "is not running here")
    }
}

fn firewalld(host: &Host) -> Check {
    let what = "firewalld";
    if host.exists("run/firewalld.pid") || host.exists("run/firewalld") {
        Check::ok(
            what,
            "is running; the agent puts its links into the zone trusted",
        )
    } else {
        Check::ok(what, "is not running here")
    }
}

/// Where VXLAN may be received from a packet ring.
const VXLAN_UDP_PORT: u16 = 4789;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Level;

    #[test]
    fn missing_nft_is_a_failure_with_its_package() {
        let check = broken(&io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(check.level, Level::Fail);
        assert!(check.remedy.unwrap().contains("nftables"));
    }

    #[test]
    fn findings_are_warnings_where_something_is_to_be_done() {
        let finding = Finding {
            what: "chain FORWARD drops".into(),
            why: "its policy is drop".into(),
            remedy: Some("accept the mark".into()),
        };
        assert_eq!(
            in_the_way(finding.clone()).to_string(),
            "warn  forwarding: chain FORWARD drops: its policy is drop; accept the mark"
        );
        let note = Finding {
            remedy: None,
            ..finding
        };
        assert_eq!(in_the_way(note).level, Level::Ok);
    }
}
