//! `tapestry network ls`.

use std::collections::BTreeSet;

use agent_api::{Client, NetworkDetail, NetworkSummary};

use crate::failure::Failure;
use crate::filter::{self, Filters};
use crate::format::{self, Format, Row};
use crate::output;

/// List networks
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Print ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Only those that fit: id=, name=, driver=, scope=, type=custom|builtin, dangling=true|false (whether nobody is on it),
    /// label=KEY[=VALUE]; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::filter)]
    filter: Vec<(String, String)>,
    /// Print what a template says of each, as '{{.ID}}'; or json, table, 'table {{.ID}}\t{{.Name}}'
    #[arg(long, value_name = "TEMPLATE", value_parser = format::format, conflicts_with_all = ["json", "quiet"])]
    format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(args: &Ls, client: &Client) -> Result<u8, Failure> {
    let filters = Filters::new(args.filter.clone(), &FILTERS).map_err(Failure::usage)?;
    check_filters(&filters).map_err(Failure::usage)?;
    let mut networks = client.networks().await?;
    let used = match filters.has("dangling") {
        true => client.endpoints().await?,
        false => Vec::new(),
    };
    let used: BTreeSet<_> = used.into_iter().map(|endpoint| endpoint.network).collect();
    networks.retain(|network| fits(&filters, network, &used));
    let formatted = match &args.format {
        Some(format) => {
            let mut rows = Vec::with_capacity(networks.len());
            for network in &networks {
                match client.network(&network.id).await {
                    Ok(detail) => rows.push(row(args, &detail)),
                    // Somebody has removed it meanwhile.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            format.list(&rows, &HEADERS)?
        }
        None => None,
    };
    let is_table = !args.json && !args.quiet && formatted.is_none();
    output::print(&formatted.unwrap_or_else(|| listing(args, &networks)))?;
    if is_table {
        for network in &networks {
            if let Some(why) = &network.no_way_out {
                eprintln!("network {:?} has no way out: {why}", network.name);
            }
            if let Some(why) = &network.not_here {
                eprintln!("network {:?} is not to be used here: {why}", network.name);
            }
            if let Some(why) = &network.overlaps {
                eprintln!(
                    "network {:?} is not reached from here as a whole: {why}",
                    network.name
                );
            }
        }
    }
    Ok(0)
}

fn check_filters(filters: &Filters) -> Result<(), String> {
    for (key, values) in [
        ("type", ["custom", "builtin"]),
        ("dangling", ["true", "false"]),
    ] {
        let is_known = |value: &str| values.contains(&value);
        if let Some(wrong) = filters.values(key).find(|value| !is_known(value)) {
            return Err(format!(
                "the filter {key}={wrong} is unknown; write {key}={} or {key}={}",
                values[0], values[1]
            ));
        }
    }
    Ok(())
}

/// `used` are the names of networks that something is on.
fn fits(filters: &Filters, network: &NetworkSummary, used: &BTreeSet<String>) -> bool {
    let is_builtin = PREDEFINED.contains(&network.name.as_str());
    let is_dangling = !is_builtin && !used.contains(&network.name);
    filters.accept("type", |kind| (kind == "builtin") == is_builtin)
        && filters.accept("dangling", |value| (value == "true") == is_dangling)
        && fits_by_summary(filters, network)
}

fn fits_by_summary(filters: &Filters, network: &NetworkSummary) -> bool {
    filters.accept("id", |id| network.id.starts_with(id))
        && filters.accept("name", |name| network.name.contains(name))
        && filters.accept("driver", |driver| output::word(network.driver) == driver)
        && filters.accept("scope", |scope| output::word(network.scope) == scope)
        && filters.accept_labels(&network.labels)
}

fn listing(args: &Ls, networks: &[NetworkSummary]) -> String {
    if args.json {
        return output::json(networks);
    }
    let id = |network: &NetworkSummary| output::shown_id(&network.id, args.no_trunc);
    if args.quiet {
        return networks.iter().map(|network| id(network) + "\n").collect();
    }
    let rows = networks.iter().map(|network| {
        vec![
            id(network),
            network.name.clone(),
            output::word(network.driver),
            output::word(network.scope),
        ]
    });
    let headers = ["NETWORK ID", "NAME", "DRIVER", "SCOPE"];
    output::table_as(args.no_trunc, &headers, rows)
}

/// By Docker's names of columns.
fn row(args: &Ls, detail: &NetworkDetail) -> Row {
    let network = &detail.summary;
    Row {
        columns: vec![
            ("ID", output::shown_id(&network.id, args.no_trunc)),
            ("Name", network.name.clone()),
            ("Driver", output::word(network.driver)),
            ("Scope", output::word(network.scope)),
            ("IPv6", detail.ipv6.to_string()),
            ("Internal", detail.internal.to_string()),
            ("Labels", format::labels(&network.labels)),
        ],
        labels: network.labels.clone(),
    }
}

const HEADERS: [(&str, &str); 7] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
];
const FILTERS: [&str; 7] = [
    "id",
    "name",
    "driver",
    "scope",
    "type",
    "dangling",
    filter::LABEL,
];
/// Those that every agent has.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agent_api::{Driver, Scope};

    use super::*;

    fn networks() -> Vec<NetworkSummary> {
        let network = |digit: &str, name: &str, driver, scope| NetworkSummary {
            id: digit.repeat(64),
            name: name.into(),
            driver,
            scope,
            no_way_out: None,
            not_here: None,
            overlaps: None,
            labels: BTreeMap::from([(name.to_owned(), "yes".to_owned())]),
        };
        vec![
            network("a", "bridge", Driver::Bridge, Scope::Local),
            network("b", "host", Driver::Host, Scope::Local),
            network("c", "none", Driver::Null, Scope::Local),
            network("d", "big", Driver::Overlay, Scope::Global),
        ]
    }

    #[test]
    fn listing_is_dockers_table() {
        let plain = Ls {
            quiet: false,
            no_trunc: false,
            filter: Vec::new(),
            format: None,
            json: false,
        };
        insta::assert_snapshot!(listing(&plain, &networks()), @r"
        NETWORK ID     NAME      DRIVER    SCOPE
        aaaaaaaaaaaa   bridge    bridge    local
        bbbbbbbbbbbb   host      host      local
        cccccccccccc   none      null      local
        dddddddddddd   big       overlay   global
        ");
    }

    #[test]
    fn filters_choose_by_what_a_network_is() {
        let names = |given: &[&str]| {
            let given = given.iter().map(|text| filter::filter(text).unwrap());
            let filters = Filters::new(given.collect(), &FILTERS).unwrap();
            let fitting = networks()
                .into_iter()
                .filter(|network| fits(&filters, network, &["big".to_owned()].into()));
            fitting.map(|network| network.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["driver=overlay"]), ["big"]);
        assert_eq!(names(&["name=o"]), ["host", "none"]);
        assert_eq!(
            names(&["id=cc", "id=aa", "scope=local"]),
            ["bridge", "none"]
        );
        assert_eq!(names(&["label=host=yes"]), ["host"]);
        assert!(names(&["label=host=no"]).is_empty());
        assert_eq!(names(&["type=custom"]), ["big"]);
        assert_eq!(names(&["type=builtin", "name=o"]), ["host", "none"]);
        assert!(names(&["dangling=true"]).is_empty());
        assert_eq!(names(&["dangling=false", "driver=overlay"]), ["big"]);
        for wrong in ["type=mine", "dangling=1"] {
            let given = vec![filter::filter(wrong).unwrap()];
            let filters = Filters::new(given, &FILTERS).unwrap();
            assert!(check_filters(&filters).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quiet_listing_is_ids_only() {
        let quiet = Ls {
            quiet: true,
            no_trunc: true,
            filter: Vec::new(),
            format: None,
            json: false,
        };
        let ids = listing(&quiet, &networks()[..2]);
        assert_eq!(ids, format!("{}\n{}\n", "a".repeat(64), "b".repeat(64)));
    }
}
