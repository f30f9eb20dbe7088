//! `tapestry port`: what is attached to a network's switch, and what went through.

use std::collections::BTreeMap;

use agent_api::{Client, PortView};

use crate::failure::Failure;
use crate::listing::Listing;
use crate::output;

/// Show a network's ports, and plug them in or out
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the ports of a network's switch and their counters
    Ls(Listing),
    /// Plug an endpoint's port in again
    Up(Place),
    /// Plug an endpoint's port out: its link has no carrier until it is up again
    Down(Place),
}

// Not a doc comment: clap would show it as the text of each command.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The network's name or id
    network: String,
    /// The port's number, as `port ls` shows it
    port: u32,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Ls(listing) => listing.print(&client.ports(&listing.network).await?, table),
        Verb::Up(place) => set_up(&place, true, client).await,
        Verb::Down(place) => set_up(&place, false, client).await,
    }
}

async fn set_up(place: &Place, up: bool, client: &Client) -> Result<u8, Failure> {
    let network = client.network(&place.network).await?;
    let mut endpoints = network.endpoints.iter();
    let Some(endpoint) = endpoints.find(|endpoint| endpoint.port == Some(place.port)) else {
        return Err(Failure::said(format!(
            "no endpoint has port {} of network {:?}; `tapestry port ls {}` lists them",
            place.port, place.network, place.network
        )));
    };
    client.set_endpoint_up(&endpoint.id, up).await?;
    Ok(0)
}

fn table(ports: &[PortView]) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows = ports.iter().map(|port| {
        vec![
            port.port.to_string(),
            port.kind.clone(),
            port.owner.clone(),
            or_dash(&port.link),
            or_dash(&port.tap_driver),
            port.rx_frames.to_string(),
            port.rx_bytes.to_string(),
            port.tx_frames.to_string(),
            port.tx_bytes.to_string(),
            drops(&port.drops),
        ]
    });
    let headers = [
        "PORT",
        "KIND",
        "OWNER",
        "LINK",
        "TAP DRIVER",
        "RX FRAMES",
        "RX BYTES",
        "TX FRAMES",
        "TX BYTES",
        "DROPS",
    ];
    output::table(&headers, rows)
}

/// `reason=count`, in the reasons' order.
fn drops(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "0".to_owned();
    }
    let shown = counts
        .iter()
        .map(|(reason, count)| format!("{reason}={count}"));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_told_by_reason() {
        let port = PortView {
            port: 1,
            kind: "tap".into(),
            owner: "web".into(),
            link: Some("eth0".into()),
            tap_driver: Some("offload".into()),
            rx_frames: 10,
            rx_bytes: 1400,
            tx_frames: 9,
            tx_bytes: 900,
            drops: [("storm".to_owned(), 2), ("guard".to_owned(), 1)].into(),
        };
        let edge = PortView {
            port: 0,
            kind: "edge".into(),
            link: None,
            tap_driver: None,
            drops: BTreeMap::new(),
            ..port.clone()
        };
        insta::assert_snapshot!(table(&[edge, port]));
    }
}
