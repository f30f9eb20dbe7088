//! `tapestry port show`.

use agent_api::{Client, PortDetail};

use crate::failure::Failure;
use crate::link::links_of;
use crate::listing::{Listing, Sheet};

/// Show how the switch treats a container's ports
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
    /// The container's name or id, or that of whatever else is attached
    container: String,
    /// The network, or the interface in the container; all of them where absent
    network: Option<String>,
}

pub(super) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let links = links_of(&args.container, client).await?;
    let mut ports = Vec::new();
    for link in links {
        let is_meant = |name: &String| *name == link.network || *name == link.link;
        if args.network.as_ref().is_none_or(is_meant) {
            ports.push(client.endpoint_port(&link.endpoint).await?);
        }
    }
    args.listing.print(&ports, &SHEET)
}

fn rows(port: &PortDetail) -> Vec<Vec<String>> {
    let rate = |rate: Option<u32>| rate.map_or("-".to_owned(), |rate| rate.to_string());
    let limit = port.settings.learn_limit.unwrap_or_default();
    let storm = &port.storm;
    let guard = match port.bpdu_guard_s {
        None => "off".to_owned(),
        Some(0) => "on".to_owned(),
        Some(seconds) => format!("{seconds}s"),
    };
    vec![vec![
        port.name.clone(),
        port.network.clone(),
        port.port.map_or("-".to_owned(), |port| port.to_string()),
        port.state.clone(),
        flags(port),
        format!("{}/{limit}", port.learned),
        guard,
        rate(storm.bum),
        rate(storm.broadcast),
        rate(storm.multicast),
        rate(storm.unknown),
    ]]
}

/// What is not as it usually is.
fn flags(port: &PortDetail) -> String {
    let settings = &port.settings;
    let on = [
        ("isolated", settings.isolated),
        ("locked", settings.locked),
        ("mcast_router", settings.mcast_router),
    ];
    let off = [
        ("learning=off", settings.learning),
        ("flood=off", settings.flood),
        ("mcast_flood=off", settings.mcast_flood),
        ("bcast_flood=off", settings.bcast_flood),
    ];
    let on = on.iter().filter(|(_, set)| *set == Some(true));
    let off = off.iter().filter(|(_, set)| *set == Some(false));
    let words: Vec<_> = on.chain(off).map(|(word, _)| *word).collect();
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(" "),
    }
}

const SHEET: Sheet<PortDetail> = Sheet {
    columns: &[
        ("Name", "NAME"),
        ("Network", "NETWORK"),
        ("Port", "PORT"),
        ("State", "STATE"),
        ("Flags", "FLAGS"),
        ("Learned", "LEARNED"),
        ("BpduGuard", "BPDU GUARD"),
        ("Bum", "BUM/S"),
        ("Broadcast", "BCAST/S"),
        ("Multicast", "MCAST/S"),
        ("Unknown", "UNKNOWN/S"),
    ],
    called: 0,
    rows,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;

    #[test]
    fn what_is_not_as_usual_is_told() {
        let port: PortDetail = serde_json::from_value(serde_json::json!({
            "endpoint": "e1", "name": "web", "network": "lab", "link": "eth0", "port": 3, "state": "up",
            "asked": {"locked": true},
            "settings": {"isolated": false, "locked": true, "learning": true, "flood": false, "learn_limit": 8},
            "learned": 2, "bpdu_guard_s": 300, "storm": {"bum": 20000, "broadcast": 100},
        }))
        .unwrap();
        insta::assert_snapshot!(table(&[port], &SHEET), @r"
        NAME      NETWORK   PORT      STATE     FLAGS              LEARNED   BPDU GUARD   BUM/S     BCAST/S   MCAST/S   UNKNOWN/S
        web       lab       3         up        locked flood=off   2/8       300s         20000     100       -         -
        ");
    }
}
