//! `tapestry events`: what happens on this host.

use std::collections::BTreeMap;

use agent_api::{Client, Event, EventQuery};
use serde_json::{Value, json};
use time::UtcOffset;

use crate::failure::Failure;
use crate::filter;
use crate::format::{self, Format};
use crate::lines::Lines;
use crate::moment::{self, Moment};
use crate::output;
use crate::screen::{self, Ink};
use crate::template::Template;

/// Show what happens on this host, until interrupted
///
/// Networks, endpoints, containers, tunnels, other hosts; stations that move, storms, loops and drops at the ports of the switch; repairs of
/// the packet filter. The agent keeps the latest few thousand events, and those of before its start are gone.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Moments are spans before now (10m, 1h30m), seconds since the epoch, or times (2026-11-30T09:00:00)."
)]
pub(crate) struct Args {
    /// Also what happened since then
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment)]
    since: Option<Moment>,
    /// Until then only
    #[arg(long, value_name = "MOMENT", value_parser = moment::moment)]
    until: Option<Moment>,
    /// Only those that fit: type=, event=, container=, network=, endpoint=, host=, label=KEY[=VALUE]; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::filter)]
    filter: Vec<(String, String)>,
    /// Print what a template says of each, as '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'; or json
    #[arg(long, value_name = "TEMPLATE", value_parser = format::format, conflicts_with = "json")]
    format: Option<Format>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let mut query = EventQuery {
        since_ms: args.since.map(|moment| moment.0),
        until_ms: args.until.map(|moment| moment.0),
        ..EventQuery::default()
    };
    for (key, value) in args.filter {
        query.filters.entry(key).or_default().push(value);
    }
    let show = Show::new(args.json, args.format)?;
    let mut stream = client.events(&query).await?;
    let mut lines = Lines::default();
    while let Some(chunk) = stream.chunk().await? {
        for line in lines.take(&chunk).split(|&byte| byte == b'\n') {
            // A line that is no event comes from another version, and is left out.
            if let Ok(event) = serde_json::from_slice(line) {
                if let Some(lost) = lost(&event) {
                    eprintln!("{lost}");
                }
                output::print(&show.line(&event, line)?)?;
            }
        }
    }
    match args.until {
        Some(_) => Ok(0),
        None => Err(Failure::said(
            "the agent ends or gives way to another one, and so do its events; ask again with --since",
        )),
    }
}

/// How events are shown.
enum Show {
    Plain(UtcOffset),
    AsTheyCome,
    By(Template),
}

impl Show {
    fn new(json: bool, format: Option<Format>) -> Result<Self, Failure> {
        if json {
            return Ok(Self::AsTheyCome);
        }
        let no_table = "events are no table; write a template, as --format '{{.Type}} {{.Action}}'";
        let template = format.unwrap_or(Format::Table).template(no_table)?;
        Ok(template.map_or_else(|| Self::Plain(moment::zone()), Self::By))
    }

    fn line(&self, event: &Event, raw: &[u8]) -> Result<String, Failure> {
        let line = match self {
            Self::Plain(zone) => plain(event, *zone),
            Self::AsTheyCome => String::from_utf8_lossy(raw).into_owned(),
            Self::By(template) => template
                .render(&dockers(event), &BTreeMap::new())
                .map_err(Failure::said)?,
        };
        Ok(line + "\n")
    }
}

fn lost(event: &Event) -> Option<String> {
    let missed = event.missed;
    (missed > 0)
        .then(|| format!("{missed} events before this one are lost: they were not read in time"))
}

/// `2026-11-30T09:00:00.123+00:00 container die 0123... (exitCode=1, name=web)`.
fn plain(event: &Event, zone: UtcOffset) -> String {
    let attributes = &event.actor.attributes;
    let attributes: Vec<_> = attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let head = format!("{} {}", event.kind.name(), event.action);
    let ink = match event.action.as_str() {
        "die" | "down" | "drop" | "fault" | "flap" | "kill" | "loop" | "storm" => Ink::Bad,
        "cut-off" | "move" | "moves" | "repair" | "warning" => Ink::Warning,
        _ => Ink::Good,
    };
    let rest = format!("{} ({})", event.actor.id, attributes.join(", "));
    format!(
        "{} {} {}",
        screen::painted(&moment::shown(event.at_ms, zone), Ink::Faint),
        screen::painted(&head, ink),
        // Labels and names are others' words.
        rest.replace(char::is_control, " ")
    )
}

/// By Docker's names.
fn dockers(event: &Event) -> Value {
    let attributes = &event.actor.attributes;
    let at_ns = event.at_ms.saturating_mul(1_000_000);
    json!({
        "Type": event.kind.name(),
        "Action": event.action,
        "Actor": { "ID": event.actor.id, "Attributes": attributes },
        "Scope": "local",
        "Time": event.at_ms / 1000,
        "TimeNano": at_ns,
        "ID": event.actor.id,
        "Status": event.action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_api::{EventActor, EventType};

    fn event() -> Event {
        Event {
            kind: EventType::Container,
            action: "die".into(),
            actor: EventActor {
                id: "0123456789ab".into(),
                attributes: [("name", "web"), ("exitCode", "1"), ("note", "a\u{1b}[31mb")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            },
            at_ms: 1_700_000_000_007,
            missed: 3,
        }
    }

    fn line(text: &str) -> String {
        let format = Some(format::format(text).unwrap());
        let show = Show::new(false, format).unwrap();
        show.line(&event(), b"").unwrap()
    }

    #[test]
    fn an_event_is_one_line_in_dockers_look() {
        insta::assert_snapshot!(plain(&event(), UtcOffset::UTC), @"2023-11-14T22:13:20.007+00:00 container die 0123456789ab (exitCode=1, name=web, note=a [31mb)");
        assert!(lost(&event()).unwrap().starts_with("3 events"));
    }

    #[test]
    fn templates_have_dockers_names() {
        assert_eq!(
            line("{{.Type}}/{{.Action}} {{.Actor.Attributes.name}} {{.Time}}"),
            "container/die web 1700000000\n"
        );
        assert!(line("json").contains(r#""TimeNano":1700000000007000000"#));
        let refused = Show::new(false, Some(format::format("table {{.Type}}").unwrap()));
        assert!(refused.is_err());
    }
}
