//! Everything below a crate, as cargo resolves it for that crate alone.

use std::process::Command;

use super::root;

/// A chain of names for every dependency below `package`: from `package` itself down to the dependency.
///
/// With the features that `package` asks for, not with those that others of the workspace add. Without what tests,
/// build scripts and macros use: it is gone when the crate runs. Under an entry that stood before, cargo does not
/// repeat the rest.
pub(crate) fn below(package: &str) -> Vec<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--offline", "--package", package])
        .args(["--edges", "normal,no-proc-macro"])
        .args(["--prefix", "depth", "--format", " {p}"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {complaint}");
    chains(&String::from_utf8(output.stdout).unwrap())
}

/// Lines such as `2 libc v0.2.191`: how deep, and what.
fn chains(text: &str) -> Vec<Vec<String>> {
    let mut chain: Vec<String> = Vec::new();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let depth: usize = words.next().unwrap().parse().unwrap();
            chain.truncate(depth);
            chain.push(words.next().unwrap().to_owned());
            chain.clone()
        })
        .collect()
}

#[test]
fn a_chain_ends_where_the_tree_goes_back_up() {
    let text = "0 core v1 (/x)\n1 names v2\n2 libc v0.2\n1 table v3 (*)\n";
    let chains: Vec<String> = chains(text).iter().map(|chain| chain.join(" ")).collect();
    assert_eq!(
        chains,
        ["core", "core names", "core names libc", "core table"]
    );
}
