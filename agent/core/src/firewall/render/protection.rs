//! What containers may not reach, and what is not tracked.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;

use super::sets::services;
use super::words::{family, push_drop};
use crate::firewall::drops::FilterDrop;
use crate::firewall::rules::Rules;

/// Containers may not reach the host's loopback, nor send as somebody else. Nor may they reach a tunnel or a service of the
/// cluster: their packets would come there with this host's address, which is what a VXLAN receiver takes for proof. Whole
/// datagrams are seen here, since connection tracking has put fragments together. What does not come from a container, a
/// tunnel's datagrams above all, is looked at once; what does is no tunnel's, whatever it says.
///
/// Redirects, which a hairpinned connection provokes, would lead containers astray. The host's own connections to what is
/// published end here while its link is away, as others do in the chain `foreign`: then the next hop is a router. The link
/// by which they leave is not known here, since translation has just changed it.
pub(super) fn push_protection(text: &mut String, rules: &Rules) {
    let tunnels = &rules.tunnels;
    text.push_str("\tchain outside {\n");
    push_untracked(text, tunnels, "daddr");
    text.push_str(
        "\t}\n\
         \tchain protect {\n\
         \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\tiifname != @host_links goto outside\n",
    );
    let mut drop = |condition: &str, reason| push_drop(text, condition, "iifname", reason);
    drop("ip daddr 127.0.0.0/8", FilterDrop::Loopback);
    drop("ip6 daddr ::1", FilterDrop::Loopback);
    drop("udp dport @tunnel_ports", FilterDrop::Underlay);
    for place in services(&rules.services).keys() {
        drop(place.condition(), FilterDrop::Underlay);
    }
    drop(
        "iifname @guarded ip saddr != 0.0.0.0 ip saddr . iifname != @own4",
        FilterDrop::Source,
    );
    drop(
        "iifname @guarded ip6 saddr != { ::, fe80::/10 } ip6 saddr . iifname != @own6",
        FilterDrop::Source,
    );
    text.push_str("\t}\n");
    if !tunnels.is_empty() {
        text.push_str(
            "\tchain tunnels {\n\
             \t\ttype filter hook output priority raw; policy accept;\n",
        );
        push_untracked(text, tunnels, "saddr");
        text.push_str("\t}\n");
    }
    text.push_str(
        "\tchain output {\n\
         \t\ttype filter hook output priority filter; policy accept;\n\
         \t\toifname @host_links icmp type redirect drop\n\
         \t\toifname @host_links icmpv6 type nd-redirect drop\n\
         \t\tct status dnat ip daddr . meta nfproto @routed4 rt ip nexthop . meta nfproto != @routed4 drop\n\
         \t\tct status dnat ip6 daddr . meta nfproto @routed6 rt ip6 nexthop . meta nfproto != @routed6 drop\n\
         \t}\n",
    );
}

/// `side` is where our own address is; the port is the receiver's, which is the same on all hosts.
fn push_untracked(text: &mut String, tunnels: &BTreeSet<SocketAddr>, side: &str) {
    for tunnel in tunnels {
        let (address, port) = (tunnel.ip(), tunnel.port());
        let family = family(address);
        let _ = if address.is_unspecified() {
            writeln!(text, "\t\tudp dport {port} notrack accept")
        } else {
            writeln!(
                text,
                "\t\t{family} {side} {address} udp dport {port} notrack accept"
            )
        };
    }
}
