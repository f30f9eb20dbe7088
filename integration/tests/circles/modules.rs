//! The modules of a crate, and where a path in one of them leads.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use crate::source::{Path, Source};

/// One module that is a file.
pub(crate) type Module = Source;

/// Every module under the file `root`, by its path; the crate's own path is empty. `read` gives the text of a file.
pub(crate) fn read_crate(
    root: &FilePath,
    read: &dyn Fn(&FilePath) -> Option<String>,
) -> BTreeMap<Path, Module> {
    let mut modules = BTreeMap::new();
    let folder = root.parent().unwrap().to_owned();
    let mut waiting = vec![(Path::new(), folder, read(root).unwrap())];
    while let Some((path, folder, text)) = waiting.pop() {
        let module = Source::parse(&text);
        for child in &module.children {
            let files = [
                folder.join(format!("{child}.rs")),
                folder.join(child).join("mod.rs"),
            ];
            // What is not there is compiled under a condition that `cfg` states.
            if let Some(text) = files.iter().find_map(|file: &PathBuf| read(file)) {
                waiting.push((
                    [&path[..], std::slice::from_ref(child)].concat(),
                    folder.join(child),
                    text,
                ));
            }
        }
        modules.insert(path, module);
    }
    modules
}

/// The module that defines what `path` leads to, as it stands in `from`; `None` when that is outside the crate.
pub(crate) fn defined_in(
    modules: &BTreeMap<Path, Module>,
    from: &Path,
    path: &Path,
) -> Option<Path> {
    resolve(modules, from, path, STEPS_MAX)
}

fn resolve(
    modules: &BTreeMap<Path, Module>,
    from: &Path,
    path: &[String],
    steps: usize,
) -> Option<Path> {
    let steps = steps.checked_sub(1)?;
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => follow(modules, &[], rest, steps),
        "self" => follow(modules, from, rest, steps),
        "super" => {
            let parent = &from[..from.len().checked_sub(1)?];
            match rest.first().is_some_and(|next| next == "super") {
                true => resolve(modules, &parent.to_vec(), rest, steps),
                false => follow(modules, parent, rest, steps),
            }
        }
        // A child or a name of the module itself; otherwise another crate.
        _ if knows(modules, from, first) => follow(modules, from, path, steps),
        _ => None,
    }
}

fn knows(modules: &BTreeMap<Path, Module>, module: &Path, name: &String) -> bool {
    let module = &modules[module];
    module.children.contains(name) || module.items.contains(name)
}

/// Where `path` leads that starts in `module`.
fn follow(
    modules: &BTreeMap<Path, Module>,
    module: &[String],
    path: &[String],
    steps: usize,
) -> Option<Path> {
    let steps = steps.checked_sub(1)?;
    let module = module.to_vec();
    let Some((first, rest)) = path.split_first() else {
        return Some(module);
    };
    let source = modules.get(&module)?;
    let child = [&module[..], std::slice::from_ref(first)].concat();
    if modules.contains_key(&child) {
        return follow(modules, &child, rest, steps);
    }
    if source.items.contains(first) {
        return Some(module);
    }
    if let Some(target) = source.names.get(first) {
        return resolve(modules, &module, &[&target[..], rest].concat(), steps);
    }
    for glob in &source.globs {
        let inside = resolve(modules, &module, glob, steps);
        let defines = |inside: &Path| {
            modules[inside].items.contains(first) || modules[inside].names.contains_key(first)
        };
        if let Some(inside) = inside.filter(defines) {
            return follow(modules, &inside, path, steps);
        }
    }
    // Made by a macro, or nothing that is ours.
    Some(module)
}

/// Far more than any path takes; ends a walk in circles.
const STEPS_MAX: usize = 64;
