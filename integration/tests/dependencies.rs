//! deny.toml as a test: licences, banned crates and sources of all that is linked. Advisories are cargo-deny's (`make deny`), as they
//! are not in a registry.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::path::{Path, PathBuf};

use cargo_metadata::{MetadataCommand, Package};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

/// What of deny.toml can be judged by what cargo says of the packages.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rules() -> Rules {
    toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

/// All that is linked on the first platform that we build for; the others' packages may not be on this machine.
fn packages(rules: &Rules) -> Vec<Package> {
    let platform = format!("--filter-platform={}", rules.graph.targets[0]);
    let options = ["--locked", "--offline", &platform].map(str::to_owned);
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .unwrap();
    assert!(metadata.packages.len() > 100, "most are missing");
    metadata.packages
}

/// Whether one of the licences that the package can be had under is allowed.
fn is_allowed(licence: &str, allowed: &[Licensee]) -> bool {
    let Ok(licence) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return false;
    };
    licence.evaluate(|needed| allowed.iter().any(|licence| licence.satisfies(needed)))
}

#[test]
fn every_licence_is_an_allowed_one() {
    let rules = rules();
    let allowed = rules.licenses.allow.iter();
    let allowed: Vec<_> = allowed.map(|text| Licensee::parse(text).unwrap()).collect();
    assert!(is_allowed("GPL-3.0-only OR MIT", &allowed));
    assert!(!is_allowed("GPL-3.0-only AND MIT", &allowed));
    assert!(!is_allowed("", &allowed));
    let packages = packages(&rules);
    let wrong: Vec<_> = packages
        .iter()
        .filter(|package| !is_allowed(package.license.as_deref().unwrap_or_default(), &allowed))
        .map(|package| (&package.name, &package.license))
        .collect();
    assert!(wrong.is_empty(), "not in deny.toml: {wrong:?}");
}

#[test]
fn no_crate_is_a_banned_one() {
    let rules = rules();
    let packages = packages(&rules);
    for banned in &rules.bans.deny {
        let (name, reason) = (banned.name.as_str(), &banned.reason);
        let users = packages.iter().filter(|package| {
            let mut uses = package.dependencies.iter();
            uses.any(|dependency| dependency.name == name)
        });
        let users: Vec<_> = users.map(|package| &package.name).collect();
        assert!(
            packages.iter().all(|package| package.name.as_str() != name),
            "{name}: {reason}; of those that can use it, one does: {users:?}"
        );
    }
}

#[test]
fn every_crate_is_ours_or_of_the_registry() {
    for package in packages(&rules()) {
        let source = package.source.as_ref();
        assert!(
            source.is_none_or(cargo_metadata::Source::is_crates_io),
            "{} is of {source:?}",
            package.name
        );
    }
}
