//! The pieces that the table is written of.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use agent_api::TransportProtocol;

use crate::firewall::drops::FilterDrop;

/// A set or a map with its elements.
pub(super) fn push_block(text: &mut String, head: &str, types: &str, elements: &BTreeSet<String>) {
    let _ = write!(text, "\t{head} {{\n\t\t{types}\n");
    if !elements.is_empty() {
        let elements = elements.iter().map(String::as_str).collect::<Vec<_>>();
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

/// `side` is the meta key of the network's link.
pub(super) fn push_drop(text: &mut String, condition: &str, side: &str, reason: FilterDrop) {
    let set = reason.set();
    let space = if condition.is_empty() { "" } else { " " };
    let _ = writeln!(text, "\t\t{condition}{space}{side} @{set} drop");
}

pub(super) fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}

pub(super) const fn word(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    }
}

/// Link names come from identifiers, but a quote inside one must never end the string.
pub(super) fn quoted(link: &str) -> String {
    let safe: String = link
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    format!("\"{safe}\"")
}
