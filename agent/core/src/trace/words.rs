//! The words for what the switch found.

use std::net::IpAddr;

use agent_api::{TracePort, TraceResult, TraceStep, TraceVerdict};
use switch_core::policy::{Action, JudgedBy, Judgement};
use switch_core::vlan::Tag;
use switch_core::{
    Access, Block, BumLimit, Claim, DropReason, FloodKind, Learned, Mac, PortId, PortKind, Source,
    Step, Told, Trace, Verdict,
};

/// Who is behind each port.
pub trait Who {
    fn port(&self, id: PortId) -> TracePort;

    /// The rule of the network's access list with that priority, as it is written.
    fn rule(&self, priority: u32) -> Option<String>;
}

/// What the access list says of a frame on its way to `egress`.
pub fn judgement(judged: Judgement, egress: PortId, who: &impl Who) -> String {
    acl(judged, &told(&who.port(egress)), who)
}

/// What became of the frame in the switch.
pub fn verdict(trace: &Trace, who: &impl Who) -> TraceVerdict {
    let dropped = trace.dropped();
    let result = match (trace.verdict, dropped) {
        (_, Some(_)) | (Verdict::Drop(_), _) => TraceResult::Dropped,
        (Verdict::Unicast(_), None) => TraceResult::Sent,
        (Verdict::Flood, None) => TraceResult::Flooded,
        (Verdict::Group(_), None) => TraceResult::Multicast,
        (Verdict::Taken, None) => TraceResult::Taken,
        (Verdict::Reply, None) => TraceResult::Answered,
        (Verdict::Probe, None) => TraceResult::Probe,
    };
    TraceVerdict {
        result,
        reason: dropped.map(|reason| reason.name().to_owned()),
        ports: trace.egresses.iter().map(|id| who.port(*id)).collect(),
    }
}

/// One step of a frame that came in by `ingress`.
pub fn step(step: &Step, ingress: PortId, who: &impl Who) -> TraceStep {
    let (stage, result, detail) = words(step, ingress, who);
    let reason = step.drop_reason();
    TraceStep {
        stage: stage.to_owned(),
        result: match reason {
            Some(_) => "drop".to_owned(),
            None => result.to_owned(),
        },
        detail,
        reason: reason.map(|reason| reason.name().to_owned()),
    }
}

fn words(step: &Step, ingress: PortId, who: &impl Who) -> (&'static str, &'static str, String) {
    let port = |id: PortId| told(&who.port(id));
    match step {
        Step::Malformed(reason) => ("frame", "drop", malformed(*reason).to_owned()),
        Step::UnknownIngress => (
            "ingress",
            "drop",
            format!("port {ingress} is not attached to this network"),
        ),
        Step::Probe => (
            "loops",
            "own",
            "the switch's own probe for loops ends here".to_owned(),
        ),
        Step::Blocked { port: id, why } => ("port", "drop", blocked(&port(*id), *why)),
        Step::TooLong { port: id, mtu } => (
            "mtu",
            "drop",
            format!("longer than the MTU of {}, {mtu}", port(*id)),
        ),
        Step::Bpdu => (
            "bpdu",
            "drop",
            "a BPDU, and this port is guarded against them: it would be blocked".to_owned(),
        ),
        Step::Vlan { port: id, admitted } => ("vlan", "pass", vlan(&port(*id), *admitted)),
        Step::OutsideVlan { port: id, vid } => (
            "vlan",
            "drop",
            format!("{} does not belong to VLAN {vid}", port(*id)),
        ),
        Step::LinkControl { group, transparent } => {
            ("control", "pass", control(*group, *transparent))
        }
        Step::Unguarded(kind) => ("guard", "skip", unguarded(*kind)),
        Step::Guard { refused, claims } => ("guard", "pass", guard(*refused, claims, ingress, who)),
        Step::Source { mac, found } => source(*mac, *found, who),
        Step::News { mac } => (
            "neighbors",
            "news",
            format!("its owner speaks from {mac} now: all are to hear it"),
        ),
        Step::WhoHas { .. } => who_has(step, ingress, who),
        Step::Dhcp { served } => ("dhcp", if *served { "edge" } else { "all" }, dhcp(*served)),
        Step::Gateway { egress, to_edge } => gateway(*egress, *to_edge, who),
        Step::Destination { .. } => destination(step, who),
        Step::Group(mac) => ("fdb", "group", group(*mac)),
        Step::Hairpin(id) => (
            "fdb",
            "drop",
            format!("it is for {}, where it came from", port(*id)),
        ),
        Step::Separated(id) => ("horizon", "drop", separated(ingress, *id, who)),
        Step::Reflected { egress, reflector } => (
            "horizon",
            "reflect",
            format!(
                "{} is apart: the switch behind {} decides",
                port(*egress),
                port(*reflector)
            ),
        ),
        Step::Acl { egress, judged } => ("acl", "pass", acl(*judged, &port(*egress), who)),
        Step::EgressGone(id) => ("port", "drop", format!("{} went away", port(*id))),
        Step::Listeners { group, ports } => (
            "groups",
            "pass",
            format!("{ports} other ports asked for {group} and bear its cost"),
        ),
        Step::Storm {
            limit,
            frames,
            copies,
            passed,
        } => ("storm", "pass", storm(*limit, *frames * *copies, *passed)),
        Step::StormKind {
            kind,
            limit,
            frames,
            passed,
        } => (
            "storm",
            "pass",
            storm_kind((*kind, *limit), *frames, *passed),
        ),
        Step::FloodOff { kind, ports } => ("flood", "off", flood_off(*kind, ports, who)),
        Step::Report { group, joins } => report(*group, *joins),
        Step::Told(told) => ("groups", "heard", heard(told)),
        Step::Snooped {
            group,
            source,
            ports,
        } => ("groups", "pass", snooped((*group, *source), ports, who)),
        Step::NoListener => ("groups", "drop", "nobody else asked for it".to_owned()),
        Step::Flood { to, too_small } => ("flood", "copy", flood(to, too_small, who)),
    }
}

fn told(port: &TracePort) -> String {
    let TracePort { port, owner, .. } = port;
    match owner.is_empty() {
        true => format!("port {port}"),
        false => format!("port {port} ({owner})"),
    }
}

fn vlan(port: &str, admitted: Result<Tag, DropReason>) -> String {
    match admitted {
        Ok(tag) => {
            let (vid, pcp) = (tag.vid(), tag.pcp());
            let how = match tag.is_present() {
                true => format!("by its tag, priority {pcp}"),
                false => "without a tag".to_owned(),
            };
            format!("in VLAN {vid}, {how}")
        }
        Err(DropReason::VlanUntagged) => {
            format!("without a VLAN, and {port} has none for such frames")
        }
        Err(DropReason::VlanForeign) => format!("{port} does not belong to the VLAN of its tag"),
        Err(reason) => malformed(reason).to_owned(),
    }
}

const fn malformed(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Runt => "shorter than an Ethernet header",
        DropReason::MulticastSource => "its source is a group address",
        DropReason::ZeroSource => "its source is all zeros",
        DropReason::TruncatedVlan => "a VLAN tag is cut short",
        _ => "it is malformed",
    }
}

fn blocked(port: &str, why: Block) -> String {
    match why {
        Block::Loop(None) => format!("{port} is blocked: it closes a loop"),
        Block::Loop(Some(vid)) => format!("{port} is blocked: it closes a loop in VLAN {vid}"),
        Block::Fault => format!("{port} is blocked: whoever moved its frames failed"),
        Block::Bpdu => format!("{port} is blocked: it sent a BPDU; `tapestry port up` opens it"),
    }
}

fn control(group: Mac, transparent: bool) -> String {
    match transparent {
        true => format!("{group} is for the link; this network is transparent"),
        false => format!("{group} is for the link alone, unless -o transparent=true"),
    }
}

fn unguarded(kind: PortKind) -> String {
    match kind {
        PortKind::Host => "the host is trusted".to_owned(),
        PortKind::Edge => "the gateway is trusted".to_owned(),
        kind => format!("what comes from a port of kind {} is trusted", kind.name()),
    }
}

fn guard(refused: Option<DropReason>, claims: &[Claim], ingress: PortId, who: &impl Who) -> String {
    let owner = |claim: &Claim| match claim.owner.map(|owner| owner.port) {
        None => "nobody's".to_owned(),
        Some(None) => "the gateway's".to_owned(),
        Some(Some(port)) if port == ingress => format!("this port's ({})", who.port(port).owner),
        Some(Some(port)) => format!("that of {}", told(&who.port(port))),
    };
    let is_foreign = |claim: &&Claim| claim.owner.is_some_and(|owner| owner.port != Some(ingress));
    let claimed = claims.iter().find(is_foreign).or_else(|| claims.first());
    let borne = claimed.map(|claim| format!("{} is {}", claim.address, owner(claim)));
    match refused {
        None => match (borne, claimed.and_then(|claim| claim.owner)) {
            (Some(borne), None) => format!("{borne}, and free to use"),
            (Some(borne), Some(_)) => borne,
            (None, _) => "it bears no address".to_owned(),
        },
        Some(DropReason::GatewayIp | DropReason::NeighborIp) => {
            borne.unwrap_or_else(|| "it bears another's address".to_owned())
        }
        Some(reason) => forbidden(reason).to_owned(),
    }
}

const fn forbidden(reason: DropReason) -> &'static str {
    match reason {
        DropReason::GatewayMac => "its source is the gateway's MAC",
        DropReason::StackedPriorityTags => "its priority tags are stacked too deep to look through",
        DropReason::RogueDhcp => "only DHCP servers send this; -o dhcp=container allows it",
        DropReason::DhcpOff => "a DHCP client's message, and the network has -o dhcp=off",
        DropReason::RogueRa => "a router advertisement; -o ra=allow allows it",
        DropReason::RogueRedirect => "a redirect; -o ra=allow allows it",
        DropReason::HeaderChain => "a first fragment without all of its headers",
        _ => "no container may send this",
    }
}

fn source(mac: Mac, found: Source, who: &impl Who) -> (&'static str, &'static str, String) {
    let port = |id| told(&who.port(id));
    let (result, detail) = match found {
        Source::Gateway => ("skip", format!("{mac} is the gateway's")),
        Source::NotLearned => ("skip", format!("{mac}: this port learns nothing")),
        Source::Locked => (
            "drop",
            format!("{mac} is not configured at this port, which is locked"),
        ),
        Source::Stolen { owner } => (
            "drop",
            match owner {
                Some(owner) => format!("{mac} belongs to {}", port(owner)),
                None => format!("{mac} belongs to another port"),
            },
        ),
        Source::Noted { learned, kind } => match learned {
            Learned::New => ("new", format!("{mac} would be learned here")),
            Learned::Moved { from } => ("moved", format!("{mac} was behind {}", port(from))),
            Learned::PortFull => ("full", format!("{mac}: this port knows as many as it may")),
            Learned::Known | Learned::Refused => {
                ("known", format!("{mac} is this port's, {}", kind.name()))
            }
        },
    };
    ("source", result, detail)
}

fn who_has(step: &Step, ingress: PortId, who: &impl Who) -> (&'static str, &'static str, String) {
    let Step::WhoHas {
        address,
        known,
        answers,
    } = step
    else {
        return ("neighbors", "pass", String::new());
    };
    let (result, detail) = match known {
        None => ("miss", format!("nobody has {address} on record")),
        Some(owner) => {
            let of = match owner.port {
                None => "the gateway".to_owned(),
                Some(port) => told(&who.port(port)),
            };
            let is_own = owner.port == Some(ingress);
            match (answers, is_own) {
                (true, _) => ("answer", format!("{address} is at {}, {of}", owner.mac)),
                (false, true) => ("pass", format!("{address} is its own")),
                (false, false) => ("pass", format!("{of} answers for {address} itself")),
            }
        }
    };
    ("neighbors", result, detail)
}

fn dhcp(served: bool) -> String {
    match served {
        true => "a DHCP request, which the gateway answers".to_owned(),
        false => "a DHCP request, and containers may serve it here".to_owned(),
    }
}

fn gateway(
    egress: Option<PortId>,
    to_edge: bool,
    who: &impl Who,
) -> (&'static str, &'static str, String) {
    let (result, detail) = match (egress, to_edge) {
        (None, _) => ("drop", "for the gateway, and there is none".to_owned()),
        (Some(port), true) => (
            "edge",
            format!("{} serves DHCP, DNS, echo", told(&who.port(port))),
        ),
        (Some(port), false) => (
            "host",
            format!("for the host, or beyond it: {}", told(&who.port(port))),
        ),
    };
    ("gateway", result, detail)
}

fn destination(step: &Step, who: &impl Who) -> (&'static str, &'static str, String) {
    let Step::Destination {
        mac,
        entry,
        attached,
    } = step
    else {
        return ("fdb", "miss", String::new());
    };
    let (result, detail) = match entry {
        Some((port, kind)) if *attached => (
            "hit",
            format!("{mac} -> {}, {}", told(&who.port(*port)), kind.name()),
        ),
        Some((port, _)) => (
            "miss",
            format!("{mac} was behind port {port}, which is gone"),
        ),
        None => ("miss", format!("{mac} is unknown: to everybody")),
    };
    ("fdb", result, detail)
}

fn group(mac: Mac) -> String {
    match mac == Mac::BROADCAST {
        true => "a broadcast: to everybody".to_owned(),
        false => format!("{mac} is a group"),
    }
}

fn separated(ingress: PortId, egress: PortId, who: &impl Who) -> String {
    let [from, to] = [ingress, egress].map(|id| who.port(id));
    let why = match from.kind == PortKind::Tunnel.name() {
        true => "nothing goes from one tunnel to another",
        false => "their containers are isolated from each other",
    };
    format!("{} and {}: {why}", told(&from), told(&to))
}

fn acl(judged: Judgement, egress: &str, who: &impl Who) -> String {
    let act = match judged.action {
        Action::Allow => "allows",
        Action::Deny => "denies",
    };
    match judged.by {
        JudgedBy::Rule(number) => {
            let text = who.rule(number).map(|text| format!(", `{text}`,"));
            format!(
                "rule {number}{} {act} it to {egress}",
                text.unwrap_or_default()
            )
        }
        JudgedBy::Default => format!("no rule means it, and the default {act} it to {egress}"),
        JudgedBy::Exempt => "no rule is needed for what the network itself needs".to_owned(),
        JudgedBy::Unknown => "one of the ports is not ready yet".to_owned(),
    }
}

fn storm(limit: BumLimit, copies: u32, passed: bool) -> String {
    let budget = format!("this port's budget, {} frames/s", limit.frames_s);
    match (passed, copies) {
        (true, 0) => format!("those who asked bear the cost, not {budget}"),
        (true, copies) => format!("{copies} copies of {budget}"),
        (false, _) => format!("{budget}, is used up"),
    }
}

fn storm_kind((kind, limit): (FloodKind, BumLimit), frames: u32, passed: bool) -> String {
    let budget = format!(
        "this port's budget of {}, {} frames/s",
        kind.name(),
        limit.frames_s
    );
    match passed {
        true => format!("{frames} of {budget}"),
        false => format!("{budget}, is used up"),
    }
}

fn flood_off(kind: FloodKind, ports: &[PortId], who: &impl Who) -> String {
    format!("{} get no {}", listed(ports, who), kind.name())
}

fn report(group: Mac, joins: bool) -> (&'static str, &'static str, String) {
    match joins {
        true => (
            "groups",
            "join",
            format!("this port would listen to {group}"),
        ),
        false => ("groups", "leave", format!("this port would leave {group}")),
    }
}

/// What a message about groups says.
fn heard(told: &Told) -> String {
    match told {
        Told::Query { from, group, .. } => match group {
            Some(group) => format!("{from} asks who listens to {group}"),
            None => format!("{from} asks who listens to what"),
        },
        Told::Report { dialect, records } => {
            let records = records
                .iter()
                .map(|(group, change, sources)| format!("{change} {group}, {sources} sources"));
            let records = records.collect::<Vec<_>>().join("; ");
            format!("this port reports by {}: {records}", dialect.name())
        }
        Told::Leave { dialect, group } => {
            format!("this port leaves {group}, by {}", dialect.name())
        }
        Told::Router => "a multicast router is behind this port".to_owned(),
        Told::Invalid => "a message about groups that hosts ignore".to_owned(),
    }
}

/// Why each port gets a group's frames, or does not.
fn snooped(
    (group, source): (IpAddr, IpAddr),
    ports: &[(PortId, Access)],
    who: &impl Who,
) -> String {
    let why = |access: &Access| match access {
        Access::Listener => "asked for it",
        Access::Filtered => "asked for other sources",
        Access::Router => "a router was heard there",
        Access::StaticRouter => "a router is there",
        Access::Everything => "it gets everything",
        Access::Edge => "the gateway",
    };
    let each = ports
        .iter()
        .map(|(port, access)| format!("{}: {}", told(&who.port(*port)), why(access)));
    match each.collect::<Vec<_>>() {
        each if each.is_empty() => format!("nobody asked for {group}"),
        each => format!("{group} from {source}: {}", each.join("; ")),
    }
}

fn listed(ids: &[PortId], who: &impl Who) -> String {
    let shown: Vec<_> = ids
        .iter()
        .take(SHOWN_MAX)
        .map(|id| told(&who.port(*id)))
        .collect();
    match ids.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} others", shown.join(", ")),
    }
}

fn flood(to: &[PortId], too_small: &[PortId], who: &impl Who) -> String {
    let list = |ids: &[PortId]| listed(ids, who);
    match (to.is_empty(), too_small.is_empty()) {
        (true, true) => "nobody else is there".to_owned(),
        (true, false) => format!("longer than the MTU of {}", list(too_small)),
        (false, true) => list(to),
        (false, false) => format!("{}; too long for {}", list(to), list(too_small)),
    }
}

const SHOWN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use switch_core::{FdbKind, Neighbor};

    use super::*;

    struct Names;

    impl Who for Names {
        fn port(&self, id: PortId) -> TracePort {
            let owner = ["", "host", "gateway", "web", "db"][id.0 as usize % 5];
            TracePort {
                port: id.0,
                kind: "tap".into(),
                owner: owner.into(),
            }
        }

        fn rule(&self, priority: u32) -> Option<String> {
            (priority == 10).then(|| "deny to name:db".to_owned())
        }
    }

    const WEB: PortId = PortId(3);
    const DB: PortId = PortId(4);

    fn line(of: &Step) -> String {
        let TraceStep {
            stage,
            result,
            detail,
            reason,
        } = step(of, WEB, &Names);
        format!(
            "{stage} {result}: {detail} [{}]",
            reason.unwrap_or_default()
        )
    }

    #[test]
    fn each_step_is_a_line() {
        let mac = Mac::new([2, 0x42, 172, 17, 0, 3]);
        let claim = |port| Claim {
            address: IpAddr::from([172, 17, 0, 3]),
            owner: Some(Neighbor { mac, port }),
        };
        let guard = |refused, claims: &[Claim]| Step::Guard {
            refused,
            claims: claims.to_vec(),
        };
        let acl = |action, by| Step::Acl {
            egress: DB,
            judged: Judgement { action, by },
        };
        let lines = [
            guard(None, &[claim(Some(WEB))]),
            guard(Some(DropReason::NeighborIp), &[claim(Some(DB))]),
            guard(Some(DropReason::GatewayIp), &[claim(None)]),
            guard(Some(DropReason::RogueDhcp), &[]),
            Step::Source {
                mac,
                found: Source::Stolen { owner: Some(DB) },
            },
            Step::Destination {
                mac,
                entry: Some((DB, FdbKind::Sticky)),
                attached: true,
            },
            Step::WhoHas {
                address: IpAddr::from([172, 17, 0, 3]),
                known: Some(Neighbor {
                    mac,
                    port: Some(DB),
                }),
                answers: true,
            },
            Step::Separated(DB),
            Step::Storm {
                limit: BumLimit::SANDBOX,
                frames: 1,
                copies: 4,
                passed: true,
            },
            Step::Flood {
                to: vec![PortId(1), PortId(2)],
                too_small: vec![DB],
            },
            Step::Flood {
                to: Vec::new(),
                too_small: Vec::new(),
            },
            Step::Source {
                mac,
                found: Source::Locked,
            },
            Step::StormKind {
                kind: FloodKind::Broadcast,
                limit: BumLimit::SANDBOX,
                frames: 1,
                passed: false,
            },
            Step::FloodOff {
                kind: FloodKind::Multicast,
                ports: vec![DB],
            },
            acl(Action::Deny, JudgedBy::Rule(10)),
            acl(Action::Allow, JudgedBy::Rule(20)),
            acl(Action::Deny, JudgedBy::Default),
            acl(Action::Allow, JudgedBy::Exempt),
        ];
        let lines: Vec<_> = lines.iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        guard pass: 172.17.0.3 is this port's (web) []
        guard drop: 172.17.0.3 is that of port 4 (db) [neighbor_ip]
        guard drop: 172.17.0.3 is the gateway's [gateway_ip]
        guard drop: only DHCP servers send this; -o dhcp=container allows it [rogue_dhcp]
        source drop: 02:42:ac:11:00:03 belongs to port 4 (db) [sticky_mac]
        fdb hit: 02:42:ac:11:00:03 -> port 4 (db), sticky []
        neighbors answer: 172.17.0.3 is at 02:42:ac:11:00:03, port 4 (db) []
        horizon drop: port 3 (web) and port 4 (db): their containers are isolated from each other [split_horizon]
        storm pass: 4 copies of this port's budget, 20000 frames/s []
        flood copy: port 1 (host), port 2 (gateway); too long for port 4 (db) []
        flood drop: nobody else is there [no_egress]
        source drop: 02:42:ac:11:00:03 is not configured at this port, which is locked [locked_port]
        storm drop: this port's budget of broadcast, 20000 frames/s, is used up [storm_broadcast]
        flood off: port 4 (db) get no multicast []
        acl drop: rule 10, `deny to name:db`, denies it to port 4 (db) [acl]
        acl pass: rule 20 allows it to port 4 (db) []
        acl drop: no rule means it, and the default denies it to port 4 (db) [acl]
        acl pass: no rule is needed for what the network itself needs []
        ");
    }
}
