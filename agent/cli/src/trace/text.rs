//! A trace as people read it: a numbered line a step, the verdict last, in 80 columns.

use agent_api::{FrameTrace, TracePort, TraceReport, TraceResult, TraceSight, TraceUnseen};

pub(super) fn report(report: &TraceReport) -> String {
    let frames: Vec<_> = report
        .frames
        .iter()
        .map(|frame| traced(frame, &report.from))
        .collect();
    frames.join("\n")
}

fn traced(frame: &FrameTrace, from: &TracePort) -> String {
    let mut text = format!("{} from {}\n", frame.link, port(from));
    if let Some(packet) = &frame.packet {
        text.push_str(&format!("{packet}\n"));
    }
    for (number, step) in (1..).zip(&frame.steps) {
        let number = format!("{number:>3}");
        push_line(
            &mut text,
            (&number, &step.stage, &step.result),
            &step.detail,
        );
    }
    let (result, detail) = verdict(frame, from);
    push_line(&mut text, ("", "verdict", result), &detail);
    text
}

fn verdict(frame: &FrameTrace, from: &TracePort) -> (&'static str, String) {
    let verdict = &frame.verdict;
    let first = || verdict.ports.first().map(port).unwrap_or_default();
    match verdict.result {
        TraceResult::Sent => ("sent", format!("to {}", first())),
        TraceResult::Flooded => (
            "flooded",
            match verdict.ports.as_slice() {
                [_] => format!("to {}", first()),
                ports => format!("to {} ports", ports.len()),
            },
        ),
        TraceResult::Multicast => (
            "multicast",
            match verdict.ports.as_slice() {
                [_] => format!("to {}", first()),
                ports => format!("to {} ports", ports.len()),
            },
        ),
        TraceResult::Taken => ("taken", "by the switch itself".to_owned()),
        TraceResult::Answered => ("answered", format!("by the switch itself, to {}", first())),
        TraceResult::Probe => ("probe", "of the switch itself".to_owned()),
        TraceResult::Dropped => {
            let reason = verdict.reason.clone().unwrap_or_default();
            let at = verdict.ports.first().unwrap_or(from);
            let by = match reason.starts_with("filter_") {
                true => "by the packet filter".to_owned(),
                false => format!("counted at {}", port(at)),
            };
            ("dropped", format!("{reason}, {by}"))
        }
    }
}

/// `the frames of host b are not shown: it does not answer`.
pub(super) fn unseen(TraceUnseen { host, why }: &TraceUnseen) -> String {
    format!("the frames of host {host} are not shown: {why}\n")
}

/// `12:00:01.250 dropped neighbor_ip at port 3 (web): 172.17.0.3 > 172.17.0.4, UDP 1 > 53`; the time is UTC. Of another host:
/// `12:00:01.250 b: sent from ...`.
pub(super) fn sight(sight: &TraceSight) -> String {
    let missed = match sight.missed {
        0 => String::new(),
        missed => format!("({missed} frames not shown)\n"),
    };
    let first = sight.verdict.ports.first().map(port);
    let from = port(&sight.from);
    let fate = match (sight.verdict.result, &first) {
        (TraceResult::Dropped, Some(to)) => {
            let reason = sight.verdict.reason.as_deref().unwrap_or_default();
            format!("dropped {reason} from {from} for {to}")
        }
        (TraceResult::Dropped, None) => {
            let reason = sight.verdict.reason.as_deref().unwrap_or_default();
            format!("dropped {reason} from {from}")
        }
        (TraceResult::Sent, Some(to)) => format!("sent from {from} to {to}"),
        (TraceResult::Multicast, _) => format!("multicast from {from}"),
        (TraceResult::Taken, _) => format!("taken from {from}"),
        (TraceResult::Answered, _) => format!("answered {from}"),
        (TraceResult::Probe, _) => format!("probe from {from}"),
        (TraceResult::Flooded | TraceResult::Sent, _) => format!("flooded from {from}"),
    };
    let what = match (&sight.packet, &sight.link) {
        (Some(packet), _) => packet.clone(),
        (None, Some(link)) => link.clone(),
        (None, None) => format!("{} frames", sight.frames),
    };
    let host = sight.host.as_ref();
    let host = host.map_or_else(String::new, |host| format!("{host}: "));
    let detail = sight.detail.as_ref();
    let detail = detail.map_or_else(String::new, |detail| format!("; {detail}"));
    format!(
        "{missed}{} {host}{fate}: {what}{detail}\n",
        time(sight.at_ms)
    )
}

fn time(at_ms: u64) -> String {
    let (seconds, ms) = (at_ms / 1000 % 86_400, at_ms % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

fn port(port: &TracePort) -> String {
    match port.owner.is_empty() {
        true => format!("port {}", port.port),
        false => format!("port {} ({})", port.port, port.owner),
    }
}

/// What does not fit on the line goes on below, under the details.
fn push_line(text: &mut String, (number, stage, result): (&str, &str, &str), detail: &str) {
    let mut line = format!("{number:>3} {stage:<10} {result:<10}");
    for word in detail.split(' ') {
        if line.len() + 1 + word.len() > WIDTH && line.len() > INDENT {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(INDENT);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

const WIDTH: usize = 80;
/// Where details begin, less the space before them.
const INDENT: usize = 25;

#[cfg(test)]
mod tests {
    use agent_api::{TraceStep, TraceVerdict};

    use super::*;

    fn port(port: u32, owner: &str) -> TracePort {
        TracePort {
            port,
            kind: "tap".into(),
            owner: owner.into(),
        }
    }

    fn step(stage: &str, result: &str, detail: &str) -> TraceStep {
        TraceStep {
            stage: stage.into(),
            result: result.into(),
            detail: detail.into(),
            reason: None,
        }
    }

    #[test]
    fn a_frame_that_passed_is_one_line() {
        let seen = TraceSight {
            host: None,
            at_ms: 1_700_000_000_250,
            from: port(3, "web"),
            link: Some("02:42:ac:11:00:02 > 01:80:c2:00:00:00, EtherType 0x88b5, 60 bytes".into()),
            packet: None,
            verdict: TraceVerdict {
                result: TraceResult::Dropped,
                reason: Some("link_local_control".into()),
                ports: Vec::new(),
            },
            detail: None,
            frames: 1,
            missed: 0,
        };
        let lost = TraceSight {
            link: None,
            verdict: TraceVerdict {
                reason: Some("queue_full".into()),
                ports: vec![port(4, "db")],
                ..seen.verdict.clone()
            },
            frames: 12,
            missed: 7,
            ..seen.clone()
        };
        let sent = TraceSight {
            packet: Some("172.17.0.2 > 172.17.0.3, TCP 1 > 80".into()),
            verdict: TraceVerdict {
                result: TraceResult::Sent,
                reason: None,
                ports: vec![port(4, "db")],
            },
            ..seen.clone()
        };
        let elsewhere = TraceSight {
            host: Some("beta".into()),
            ..sent.clone()
        };
        let denied = TraceSight {
            verdict: TraceVerdict {
                result: TraceResult::Dropped,
                reason: Some("acl".into()),
                ports: vec![port(4, "db")],
            },
            detail: Some("rule 10, `deny proto tcp`, denies it to port 4 (db)".into()),
            ..sent.clone()
        };
        let lines: String = [seen, lost, sent, elsewhere, denied]
            .iter()
            .map(sight)
            .collect();
        insta::assert_snapshot!(lines, @r"
        22:13:20.250 dropped link_local_control from port 3 (web): 02:42:ac:11:00:02 > 01:80:c2:00:00:00, EtherType 0x88b5, 60 bytes
        (7 frames not shown)
        22:13:20.250 dropped queue_full from port 3 (web) for port 4 (db): 12 frames
        22:13:20.250 sent from port 3 (web) to port 4 (db): 172.17.0.2 > 172.17.0.3, TCP 1 > 80
        22:13:20.250 beta: sent from port 3 (web) to port 4 (db): 172.17.0.2 > 172.17.0.3, TCP 1 > 80
        22:13:20.250 dropped acl from port 3 (web) for port 4 (db): 172.17.0.2 > 172.17.0.3, TCP 1 > 80; rule 10, `deny proto tcp`, denies it to port 4 (db)
        ");
    }

    #[test]
    fn a_trace_is_read_from_above_to_below() {
        let frame = FrameTrace {
            frame: String::new(),
            link: "02:42:ac:11:00:02 > 02:42:ac:11:00:03, IPv4, 47 bytes".into(),
            packet: Some("172.17.0.2 > 172.17.0.3, ICMP echo request".into()),
            steps: vec![
                step("guard", "pass", "172.17.0.2 is this port's (web)"),
                step(
                    "flood",
                    "copy",
                    "port 1 (gateway), port 2 (host), port 3 (a-long-name), port 4 (another-long-name)",
                ),
            ],
            verdict: TraceVerdict {
                result: TraceResult::Sent,
                reason: None,
                ports: vec![port(4, "db")],
            },
        };
        let dropped = FrameTrace {
            packet: None,
            steps: Vec::new(),
            verdict: TraceVerdict {
                result: TraceResult::Dropped,
                reason: Some("gateway_ip".into()),
                ports: Vec::new(),
            },
            ..frame.clone()
        };
        let of = TraceReport {
            network: "lab".into(),
            from: port(3, "web"),
            frames: vec![frame, dropped],
        };
        let text = report(&of);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        insta::assert_snapshot!(text, @r"
        02:42:ac:11:00:02 > 02:42:ac:11:00:03, IPv4, 47 bytes from port 3 (web)
        172.17.0.2 > 172.17.0.3, ICMP echo request
          1 guard      pass       172.17.0.2 is this port's (web)
          2 flood      copy       port 1 (gateway), port 2 (host), port 3 (a-long-name),
                                  port 4 (another-long-name)
            verdict    sent       to port 4 (db)

        02:42:ac:11:00:02 > 02:42:ac:11:00:03, IPv4, 47 bytes from port 3 (web)
            verdict    dropped    gateway_ip, counted at port 3 (web)
        ");
    }
}
