//! `lab ls` and `lab inspect`.

use std::collections::BTreeMap;

use agent_api::{Client, ContainerState, ContainerSummary, LinkSettings};
use integration::lab::{self, FILE, KIND, LAB, LINK, NODE, Present, runtime_of};
use serde::Serialize;

use super::File;
use crate::failure::Failure;
use crate::listing::{Listing, Sheet};
use crate::output;

/// List the labs that are up
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    listing: Listing,
}

/// Show a lab's nodes, their interfaces and addresses
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    file: File,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct LabView {
    name: String,
    nodes: usize,
    running: usize,
    links: usize,
    file: String,
}

#[derive(Debug, Serialize)]
struct NodeView<'p> {
    name: &'p str,
    container: &'p str,
    kind: &'p str,
    state: String,
    interfaces: Vec<InterfaceView<'p>>,
}

#[derive(Debug, Serialize)]
struct InterfaceView<'p> {
    name: &'p str,
    link: &'p str,
    mac: &'p str,
    addresses: Vec<String>,
    /// What goes wrong there, where something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    impairments: Option<&'p LinkSettings>,
}

pub(super) async fn ls(args: Ls, client: &Client) -> Result<u8, Failure> {
    let (networks, containers) = (client.networks().await?, client.containers().await?);
    let mut labs: BTreeMap<String, LabView> = BTreeMap::new();
    let of = |labs: &mut BTreeMap<String, LabView>,
              labels: &BTreeMap<String, String>,
              change: &dyn Fn(&mut LabView)| {
        let Some(name) = labels.get(LAB) else {
            return;
        };
        let view = labs.entry(name.clone()).or_default();
        view.name.clone_from(name);
        change(view);
    };
    for network in &networks {
        of(&mut labs, &network.labels, &|view| view.links += 1);
    }
    for container in &containers {
        of(&mut labs, &container.labels, &|view| {
            view.nodes += 1;
            view.running += usize::from(runs(container));
            if let Some(file) = container.labels.get(FILE) {
                view.file.clone_from(file);
            }
        });
    }
    let labs: Vec<LabView> = labs.into_values().collect();
    args.listing.print(&labs, &SHEET)
}

fn rows(lab: &LabView) -> Vec<Vec<String>> {
    let state = format!("{}/{}", lab.running, lab.nodes);
    vec![vec![
        lab.name.clone(),
        state,
        lab.links.to_string(),
        lab.file.clone(),
    ]]
}

const SHEET: Sheet<LabView> = Sheet {
    columns: &[
        ("Name", "NAME"),
        ("Running", "RUNNING"),
        ("Links", "LINKS"),
        ("File", "FILE"),
    ],
    called: 0,
    rows,
};

pub(super) async fn inspect(args: Inspect, client: &Client) -> Result<u8, Failure> {
    let name = args.file.open()?.name;
    let present = lab::present(client, &name).await?;
    if present.is_empty() {
        return Err(Failure::said(format!(
            "lab {name} is not up; bring it up with: tapestry lab up {}",
            args.file.file.display()
        )));
    }
    let nodes = views(&present);
    if args.json {
        output::print(&output::json(&nodes))?;
        return Ok(0);
    }
    let rows = nodes.iter().flat_map(|node| {
        node.interfaces.iter().map(|interface| {
            vec![
                node.name.to_owned(),
                interface.name.to_owned(),
                interface.mac.to_owned(),
                interface.addresses.join(" "),
                interface.link.to_owned(),
                interface.impairments.map_or_else(String::new, impaired),
            ]
        })
    });
    output::print(&output::table(
        &["NODE", "IF", "MAC", "ADDRESS", "LINK", "IMPAIRMENT"],
        rows,
    ))?;
    Ok(0)
}

/// Both directions in one cell, as `link show` has them in two rows.
fn impaired(settings: &LinkSettings) -> String {
    let from = settings.from.to_string();
    let to = settings.to.to_string();
    let ways = [("", from), ("to ", to)].into_iter();
    let ways = ways.filter(|(_, said)| !said.is_empty());
    let ways: Vec<String> = ways.map(|(way, said)| format!("{way}{said}")).collect();
    ways.join("; ")
}

/// The table at the end of `lab up`.
pub(super) async fn nodes(client: &Client, lab: &str) -> Result<(), Failure> {
    let present = lab::present(client, lab).await?;
    let rows = views(&present).into_iter().map(|node| {
        let addresses = node
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses);
        let addresses: Vec<&str> = addresses.map(String::as_str).collect();
        vec![
            node.name.to_owned(),
            node.kind.to_owned(),
            node.state,
            node.interfaces.len().to_string(),
            addresses.join(" "),
        ]
    });
    output::print(&output::table(
        &["NODE", "KIND", "STATE", "IFS", "ADDRESS"],
        rows,
    ))
}

fn views(present: &Present) -> Vec<NodeView<'_>> {
    let links: BTreeMap<&str, &str> = present
        .networks
        .iter()
        .filter_map(|network| Some((network.name.as_str(), network.labels.get(LINK)?.as_str())))
        .collect();
    let mut nodes: Vec<NodeView<'_>> = present
        .containers
        .iter()
        .map(|container| NodeView {
            name: label(container, NODE),
            container: &container.name,
            kind: label(container, KIND),
            state: state(present, container),
            interfaces: interfaces(present, container, &links),
        })
        .collect();
    nodes.sort_by_key(|node| natural(node.name));
    nodes
}

fn interfaces<'p>(
    present: &'p Present,
    container: &ContainerSummary,
    links: &BTreeMap<&'p str, &'p str>,
) -> Vec<InterfaceView<'p>> {
    let of_it = present
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.name == container.name);
    let mut interfaces: Vec<InterfaceView<'_>> = of_it
        .map(|endpoint| InterfaceView {
            name: &endpoint.link,
            link: links
                .get(endpoint.network.as_str())
                .copied()
                .unwrap_or(&endpoint.network),
            mac: &endpoint.mac,
            addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
            impairments: present
                .links
                .iter()
                .find(|link| link.endpoint == endpoint.id)
                .map(|link| &link.settings)
                .filter(|settings| !settings.are_none()),
        })
        .collect();
    interfaces.sort_by_key(|interface| natural(interface.name));
    interfaces
}

/// The nodes' names, for those who ask for all.
pub(super) fn names(present: &Present) -> Vec<String> {
    let mut containers: Vec<&ContainerSummary> = present.containers.iter().collect();
    containers.sort_by_key(|container| natural(label(container, NODE)));
    let names = containers.into_iter();
    names.map(|container| container.name.clone()).collect()
}

fn label<'p>(container: &'p ContainerSummary, name: &str) -> &'p str {
    container.labels.get(name).map_or("", String::as_str)
}

fn runs(container: &ContainerSummary) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

fn state(present: &Present, container: &ContainerSummary) -> String {
    let is_ill = runtime_of(&container.labels).filter(|_| !present.well.contains(&container.name));
    match container.state {
        ContainerState::Created => "created".to_owned(),
        ContainerState::Running { .. } => match is_ill {
            Some(runtime) => format!("not in {runtime}"),
            None => "running".to_owned(),
        },
        ContainerState::Exited { code } => format!("exited ({code})"),
    }
}

/// So that r10 comes after r9.
fn natural(name: &str) -> (String, u64) {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name
        .get(word.len()..)
        .and_then(|digits| digits.parse().ok());
    (word.to_owned(), number.unwrap_or(0))
}
