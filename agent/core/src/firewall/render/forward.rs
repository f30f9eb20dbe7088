//! What passes from one link to another, and in whose name.

use std::fmt::Write;

use super::words::push_drop;
use crate::firewall::drops::FilterDrop;
use crate::firewall::rules::Rules;

/// The second rule of each family is the hairpin: a container that reaches a port published by its own network must be
/// answered through the host, because it would not know a direct answer. The host's own connections carry the gateway's
/// address for the same reason: their source may be a loopback address. Both name that address: what is masqueraded is forgotten
/// when its link goes, and these connections shall outlive the link.
pub(super) fn push_masquerade(text: &mut String) {
    text.push_str(
        "\tchain gateway {\n\
         \t\tsnat ip to oifname map @gateways4\n\
         \t\tsnat ip6 to oifname map @gateways6\n\
         \t}\n\
         \tchain postrouting {\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\toifname @host_links ct status dnat fib saddr type local goto gateway\n\
         \t\tip saddr . meta nfproto @masqueraded4 ip saddr . oifname != @own4 masquerade\n\
         \t\tip saddr . oifname @own4 ct status dnat goto gateway\n\
         \t\tip6 saddr . meta nfproto @masqueraded6 ip6 saddr . oifname != @own6 masquerade\n\
         \t\tip6 saddr . oifname @own6 ct status dnat goto gateway\n\
         \t}\n",
    );
}

/// Tracking alone does not let a packet pass: a connection that began while there were no rules is established too. Into a
/// network goes what was redirected there on its way in, and the answer to what a container itself asked of the outside. Out of a
/// network goes nothing that is to be masqueraded and is not: it would show a private address.
///
/// Nothing is forwarded to a LAN's containers, nor from them: they and the LAN reach each other without the host, which gets copies
/// of their packets where they have its MAC.
///
/// What goes to Docker's own bridges is not marked: its isolation of those shall hold against our containers too.
pub(super) fn push_forward(text: &mut String, rules: &Rules, docker: bool) {
    let mark_bit = rules.mark_bit;
    let _ = write!(
        text,
        "\tchain accepted {{\n\
         \t\tmeta mark set meta mark | {mark_bit:#010x} accept\n\
         \t}}\n"
    );
    push_inward(text);
    push_outward(text);
    push_foreign(text, rules, docker);
    text.push_str(
        "\tchain forward {\n\
         \t\ttype filter hook forward priority filter - 5; policy accept;\n\
         \t\toifname @lans drop\n\
         \t\tiifname @lans drop\n\
         \t\toifname @host_links goto inward\n\
         \t\tiifname @host_links goto outward\n\
         \t\tgoto foreign\n\
         \t}\n",
    );
}

fn push_inward(text: &mut String) {
    text.push_str("\tchain inward {\n");
    push_drop(text, "ct state invalid", "oifname", FilterDrop::Invalid);
    text.push_str(
        "\t\tct status dnat goto accepted\n\
         \t\tiifname . oifname @same_network goto accepted\n\
         \t\tiifname != @host_links ct state established,related ct direction reply goto accepted\n",
    );
    push_drop(text, "", "oifname", FilterDrop::Isolation);
    text.push_str("\t}\n");
}

fn push_outward(text: &mut String) {
    text.push_str("\tchain outward {\n");
    push_drop(text, "ct state invalid", "iifname", FilterDrop::Invalid);
    for (family, version) in [("ip", "4"), ("ip6", "6")] {
        let bare = format!(
            "ct status & (confirmed | snat) == confirmed ct direction original {family} saddr . meta nfproto @masqueraded{version}"
        );
        push_drop(text, &bare, "iifname", FilterDrop::Invalid);
    }
    for bridge in DOCKER_BRIDGES {
        let _ = writeln!(text, "\t\toifname {bridge} accept");
    }
    text.push_str("\t\tgoto accepted\n\t}\n");
}

/// What has nothing to do with our networks. What is translated to a container whose link is away, as while the agent
/// restarts, would follow the default route out of the host. What a kernel bridge carries from one of its ports to another
/// is forwarded to the eyes of `br_netfilter`, and no router's work.
fn push_foreign(text: &mut String, rules: &Rules, docker: bool) {
    text.push_str(
        "\tchain foreign {\n\
         \t\tct status snat,dnat ip daddr . meta nfproto @routed4 drop\n\
         \t\tct status snat,dnat ip6 daddr . meta nfproto @routed6 drop\n",
    );
    let own = rules.own_forwarding;
    if own.ipv4 || own.ipv6 {
        text.push_str("\t\tmeta iifkind \"bridge\" meta oifkind \"bridge\" accept\n");
    }
    if docker && (own.ipv4 || own.ipv6) {
        for bridge in DOCKER_BRIDGES {
            let _ = writeln!(
                text,
                "\t\tiifname {bridge} accept\n\t\toifname {bridge} accept"
            );
        }
    }
    for (is_own, family) in [(own.ipv4, "ipv4"), (own.ipv6, "ipv6")] {
        if is_own {
            let _ = writeln!(text, "\t\tmeta nfproto {family} counter drop");
        }
    }
    text.push_str("\t}\n");
}

const DOCKER_BRIDGES: [&str; 3] = ["\"docker0\"", "\"docker_gwbridge\"", "\"br-*\""];
