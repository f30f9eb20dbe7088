//! No circle of modules within a crate.
//!
//! # The rule
//!
//! The children of a module, each taken with all that is below it, use one another in one direction only. Somebody who wants
//! to understand one of them reads it and what it uses, and never comes back to where they began.
//!
//! What counts is a path in the sources that leads from one child to another, in a `use` or in the middle of a line. It leads
//! to where the item is defined: a re-export is followed, so that `crate::Frame` is the module that defines `Frame`, not the
//! crate's root. What a module takes from those that it lies in does not count: a child is a part of its parent, and may
//! use what the parent keeps for all its children. What is only compiled for tests does not count.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod circle;
mod modules;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cargo_metadata::MetadataCommand;

use crate::circle::shortest_circle;
use crate::modules::{Module, read_crate};

/// Crates that still have circles. Untie one, and take it off; nothing is ever added.
const STILL_TIED: &[&str] = &[];

#[test]
fn modules_form_no_circle() {
    let mut complaints = Vec::new();
    let mut tied = BTreeSet::new();
    for (name, root) in roots() {
        let modules = read_crate(&root, &|path| std::fs::read_to_string(path).ok());
        let circles = circles(&modules);
        if !circles.is_empty() {
            tied.insert(name.clone());
        }
        if !STILL_TIED.contains(&&*name) {
            complaints.extend(circles.iter().map(|circle| format!("{name}: {circle}")));
        }
    }
    for name in STILL_TIED {
        if !tied.contains(*name) {
            complaints.push(format!("{name} has no circle: take it off the list"));
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Name and root file of everything that is built, once for each root.
fn roots() -> Vec<(String, PathBuf)> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let packages = metadata.packages.iter();
    packages
        .flat_map(|package| {
            let targets = package.targets.iter();
            targets
                .filter(|target| target.is_lib() || target.is_bin())
                .map(|target| (package.name.to_string(), target.src_path.clone().into()))
        })
        .collect()
}

/// For each module whose children form circles, the shortest one.
fn circles(modules: &BTreeMap<Vec<String>, Module>) -> Vec<String> {
    let mut uses: BTreeMap<Vec<String>, BTreeMap<String, BTreeMap<String, String>>> =
        BTreeMap::new();
    for (from, module) in modules {
        for path in &module.paths {
            let Some(to) = modules::defined_in(modules, from, path) else {
                continue;
            };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let (Some(user), Some(used)) = (from.get(common), to.get(common)) else {
                continue;
            };
            let why = format!("{} uses {}", from.join("::"), path.join("::"));
            uses.entry(from[..common].to_vec())
                .or_default()
                .entry(user.clone())
                .or_default()
                .entry(used.clone())
                .or_insert(why);
        }
    }
    let describe = |(parent, graph): (&Vec<String>, &BTreeMap<_, BTreeMap<String, String>>)| {
        let circle = shortest_circle(graph)?;
        let next = circle.iter().cycle().skip(1);
        let steps: Vec<_> = circle
            .iter()
            .zip(next)
            .map(|(from, to)| format!("    {}", graph[from][to]))
            .collect();
        let parent = [&["crate".to_owned()], &parent[..]].concat().join("::");
        Some(format!(
            "{} children of {parent} form a circle:\n{}",
            circle.len(),
            steps.join("\n")
        ))
    };
    uses.iter().filter_map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate made of these files.
    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let read = |path: &std::path::Path| {
            let found = files
                .iter()
                .find(|(name, _)| path == std::path::Path::new(name));
            found.map(|(_, text)| (*text).to_owned())
        };
        circles(&read_crate(std::path::Path::new("lib.rs"), &read))
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "pub struct B; fn f() { super::a::A; }"),
        ]);
        assert_eq!(
            found,
            ["2 children of crate form a circle:\n    a uses crate::b::B\n    b uses super::a::A"]
        );
    }

    #[test]
    fn folders_are_taken_whole() {
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod low; mod high;"),
            ("a/low.rs", "pub struct Low;"),
            ("a/high.rs", "use crate::b::B;"),
            ("b/mod.rs", "use crate::a::low::Low; pub struct B;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_re_export_leads_to_where_the_item_is_defined() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; pub use a::A; pub use b::*;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "use crate::A; pub struct B;"),
            ("c.rs", "use crate::{B, A as Renamed};"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
        let mut tied = files;
        tied[1].1 = "use crate::B; pub struct A;";
        assert_eq!(circles_of(&tied).len(), 1);
    }

    #[test]
    fn what_a_parent_keeps_for_its_children_does_not_count() {
        let found = circles_of(&[
            ("lib.rs", "mod a; use a::f; const LIMIT: u8 = 1;"),
            ("a.rs", "use super::LIMIT; pub fn f() {}"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn tests_and_comments_do_not_count() {
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod testing;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            (
                "b.rs",
                "pub struct B; // crate::a::A\n /* crate::a::A */ const TEXT: &str = \"crate::a::A\";\n\
                 #[cfg(test)] mod tests { use crate::a::A; fn f() { if true {} } }\n\
                 #[cfg(test)] use crate::a::A;",
            ),
            ("testing.rs", "use crate::a::A;"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
