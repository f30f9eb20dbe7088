//! ARCHITECTURE.md as a test: which crate may depend on which, and what no core reaches.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod drawing;
mod map;
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use map::{ARROWS, EXCEPTIONS, SANS_IO};

#[test]
fn crates_depend_only_along_the_arrows() {
    let packages = workspace();
    let ours = names(&packages);
    let allowed: BTreeSet<_> = ARROWS.iter().map(|&(from, to, _)| (from, to)).collect();
    for package in &packages {
        for to in dependencies(package).filter(|to| ours.contains(to)) {
            let arrow = (package.name.as_str(), to);
            assert!(
                allowed.contains(&arrow),
                "{} -> {to} is not in ARROWS: add it there with a reason, or do without",
                arrow.0
            );
        }
    }
}

/// An arrow that nobody follows would say that somebody may.
#[test]
fn every_arrow_is_followed_and_there_once() {
    let packages = workspace();
    let mut seen = BTreeSet::new();
    for &(from, to, _) in ARROWS {
        assert!(seen.insert((from, to)), "{from} -> {to} is there twice");
        let package = packages.iter().find(|package| package.name == from);
        let package = package.unwrap_or_else(|| panic!("{from} -> {to}: no crate {from}"));
        assert!(
            dependencies(package).any(|name| name == to),
            "{from} does not depend on {to}: take the arrow away"
        );
    }
}

#[test]
fn cores_do_no_io() {
    let mut excused = BTreeSet::new();
    for core in workspace().iter().filter(|core| is_core(core)) {
        for chain in tree::below(&core.name) {
            let [.., from, to] = &chain[..] else {
                continue;
            };
            let Some((_, can)) = SANS_IO.iter().find(|(name, _)| name == to) else {
                continue;
            };
            let exception = EXCEPTIONS.iter().find(|e| (e.0, e.1) == (from, to));
            let Some(&(from, to, _)) = exception else {
                panic!(
                    "a core takes time and bytes as arguments, but {} reaches {to} ({can}): {}",
                    core.name,
                    chain.join(" -> ")
                );
            };
            excused.insert((from, to));
        }
    }
    for &(from, to, reason) in EXCEPTIONS {
        assert!(
            excused.contains(&(from, to)),
            "no core reaches {to} through {from} ({reason}): take the exception away"
        );
    }
}

#[test]
fn the_map_in_architecture_is_the_arrows() {
    drawing::compare(&root().join("ARCHITECTURE.md"), &workspace());
}

fn workspace() -> Vec<Package> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap()
        .packages
}

fn names(packages: &[Package]) -> BTreeSet<&str> {
    packages
        .iter()
        .map(|package| package.name.as_str())
        .collect()
}

fn is_core(package: &Package) -> bool {
    package.name.ends_with("-core")
}

/// Without those of tests: a test may use anything to look at what it tests.
fn dependencies(package: &Package) -> impl Iterator<Item = &str> {
    let shipped = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development);
    shipped.map(|dependency| dependency.name.as_str())
}

/// The workspace's folder.
fn root() -> PathBuf {
    let integration = Path::new(env!("CARGO_MANIFEST_DIR"));
    integration.parent().unwrap().to_owned()
}
