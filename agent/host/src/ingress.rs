//! Whether the host itself has a say in what comes to a UDP port.
//!
//! # Theory of operation
//!
//! Whoever takes datagrams off a link before the IP stack takes them past the host's packet filter and its IPsec policies. So
//! it is asked first whether there are any such policies, or a rule that names the port: in what nft lists, `iptables-nft`'s
//! rules included, and in what `iptables-legacy-save` prints where it is there. The agent's own tables do not count.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use netlink_sys::protocols::NETLINK_XFRM;
use netlink_sys::{Socket, SocketAddr};

use crate::firewall::program;

/// What on this host is meant to see datagrams to `udp_port`, in words; `None`: nothing that is known. With the program `nft`.
pub fn has_a_say(nft: &Path, udp_port: u16) -> Option<String> {
    match inbound_policies() {
        Ok(0) => {}
        Ok(count) => return Some(format!("the host has {count} IPsec policies")),
        // A kernel without IPsec has no such socket.
        Err(error) => tracing::debug!(%error, "IPsec policies cannot be counted"),
    }
    let legacy = ["iptables-legacy-save", "ip6tables-legacy-save"];
    let legacy = legacy.into_iter().filter_map(program);
    let listed = listing(nft, &["-s", "list", "ruleset"]);
    let saved = legacy.filter_map(|save| listing(&save, &[]));
    let mut listings = listed.into_iter().chain(saved);
    let rule = listings.find_map(|text| rule_of(&text, udp_port));
    rule.map(|rule| format!("the host's packet filter has the rule {rule:?}"))
}

fn listing(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first rule of others that names the port, by itself or in a range.
fn rule_of(listing: &str, udp_port: u16) -> Option<String> {
    let mut is_own = false;
    for line in listing.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix("table ") {
            let name = table.split_whitespace().nth(1).unwrap_or_default();
            is_own = name.starts_with(OWN_TABLES);
        } else if !is_own && names_port(line, udp_port) {
            return Some(line.to_owned());
        }
    }
    None
}

fn names_port(line: &str, udp_port: u16) -> bool {
    let is_others = line.contains("tcp dport") || line.contains("-p tcp");
    if is_others && !line.contains("udp") {
        return false;
    }
    let is_of_ports = line.contains("port") || line.contains("elements");
    let separates = |character: char| {
        !(character.is_ascii_alphanumeric() || matches!(character, '-' | ':' | '.'))
    };
    line.split(separates).any(|word| {
        // An address may hold the number.
        if word.parse::<IpAddr>().is_ok() {
            return false;
        }
        match word.split_once(['-', ':']) {
            None => word.parse() == Ok(udp_port),
            Some((first, last)) => {
                let range = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
                let has = range.is_some_and(|(first, last)| (first..=last).contains(&udp_port));
                is_of_ports && has
            }
        }
    })
}

/// How many IPsec policies there are for what comes in, or passes through.
fn inbound_policies() -> io::Result<u32> {
    let socket = Socket::new(NETLINK_XFRM)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // A header, and flags that nobody reads.
    let mut question = Vec::with_capacity(QUESTION_LEN);
    question.extend(u32::try_from(QUESTION_LEN).unwrap_or(0).to_ne_bytes());
    question.extend(XFRM_MSG_GETSPDINFO.to_ne_bytes());
    question.extend(NLM_F_REQUEST.to_ne_bytes());
    question.extend([0; QUESTION_LEN - 8]);
    socket.send(&question, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    counts(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `struct xfrmu_spdinfo` in an attribute behind header and flags: inbound, outbound, forwarded.
fn counts(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let attribute = u16::from_ne_bytes(answer.get(22..24)?.try_into().ok()?);
    if (kind, attribute) != (XFRM_MSG_NEWSPDINFO, XFRMA_SPD_INFO) {
        return None;
    }
    let count = |at: usize| {
        let bytes = answer.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    Some(count(24)?.saturating_add(count(32)?))
}

/// How the names of the agent's tables begin.
const OWN_TABLES: &str = "tapestry";
const QUESTION_LEN: usize = 20;
const NLM_F_REQUEST: u16 = 1;
/// <linux/xfrm.h>
const XFRM_MSG_NEWSPDINFO: u16 = 0x24;
const XFRM_MSG_GETSPDINFO: u16 = 0x25;
const XFRMA_SPD_INFO: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str =
        "table inet tapestry {\n\tset ports {\n\t\telements = { 4789, 8472 }\n\t}\n}\n";

    #[test]
    fn rules_of_others_that_name_the_port_are_found() {
        for rule in [
            "udp dport 4789 accept",
            "ip saddr 10.0.0.0/8 udp dport { 53, 4789 } drop",
            "udp dport 4000-5000 drop",
            "elements = { 4789, 53 }",
            "4789, 53 }",
            "-A INPUT -p udp -m udp --dport 4789 -j DROP",
            "-A INPUT -p udp -m multiport --dports 53,4780:4790 -j DROP",
            "meta l4proto { tcp, udp } th dport 4789 accept",
        ] {
            let text = format!("{OWN}table ip filter {{\n\tchain INPUT {{\n\t\t{rule}\n\t}}\n}}\n");
            assert_eq!(rule_of(&text, 4789).as_deref(), Some(rule));
        }
    }

    #[test]
    fn other_rules_and_the_agents_are_not() {
        assert_eq!(rule_of(OWN, 4789), None);
        for rule in [
            "tcp dport 4789 accept",
            "udp dport 14789 drop",
            "udp dport 50000-60000 drop",
            "ip6 saddr fd00::4789 udp dport 53 drop",
            "meta mark 0x4789 accept",
            "ip saddr 10.0.0.1-10.0.0.9 drop",
            "ip protocol 1-255 drop",
        ] {
            let text = format!("table ip filter {{\n{rule}\n}}\n");
            assert_eq!(rule_of(&text, 4789), None, "{rule}");
        }
    }
}
