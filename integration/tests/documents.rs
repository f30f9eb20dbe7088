//! What documents name is there: tests, files, and what links lead to.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_that_a_page_names_is_there() {
    let tests: String = sources().iter().map(|path| text(path)).collect();
    let is_there = |word: &str| tests.contains(&format!("fn {word}("));
    let (named, missing) = look_up(is_test, is_there);
    assert!(named > 40, "{named}");
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

/// A source file may be named by the end of its path.
#[test]
fn every_file_that_a_page_names_is_there() {
    let sources = sources();
    let is_there = |word: &str| match word.ends_with(".rs") {
        true => sources.iter().any(|source| source.ends_with(word)),
        false => root().join(word).is_dir(),
    };
    let (named, missing) = look_up(is_path, is_there);
    assert!(named > 40, "{named}");
    assert!(missing.is_empty(), "no such file: {missing:#?}");
}

/// With what it is and never does, before the table of arrows.
#[test]
fn every_room_is_on_the_map() {
    let map = text(&root().join("ARCHITECTURE.md"));
    let manifests = sources();
    let manifests = manifests.iter().filter(|path| path.ends_with("Cargo.toml"));
    for folder in manifests.map(|path| path.parent().unwrap()) {
        let row = format!("\n| `{}` | ", shown(folder));
        assert!(map.contains(&row), "no row for {}", shown(folder));
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut followed = 0;
    let mut lost = Vec::new();
    for page in pages() {
        let text = text(&page);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (target, _) in links.filter(|(target, _)| !target.contains(':')) {
            followed += 1;
            if !leads(&page, target) {
                lost.push(format!("{}: {target}", shown(&page)));
            }
        }
    }
    assert!(followed > 20, "{followed}");
    assert!(lost.is_empty(), "links to nothing: {lost:#?}");
}

#[test]
fn every_page_is_in_the_book() {
    let summary = text(&root().join("docs/SUMMARY.md"));
    let docs = root().join("docs");
    let pages = pages();
    let pages = pages
        .iter()
        .filter_map(|page| page.strip_prefix(&docs).ok());
    let missing: Vec<_> = pages
        .filter(|page| *page != Path::new("SUMMARY.md"))
        .filter(|page| !summary.contains(&format!("]({})", page.display())))
        .collect();
    assert!(missing.is_empty(), "not in SUMMARY.md: {missing:#?}");
}

/// How many words of such a kind all pages have in backticks, and which of them stand for nothing.
fn look_up(is_wanted: fn(&str) -> bool, is_there: impl Fn(&str) -> bool) -> (usize, Vec<String>) {
    let mut named = 0;
    let mut missing = Vec::new();
    for page in pages() {
        let text = text(&page);
        for word in text.split('`').filter(|word| is_wanted(word)) {
            named += 1;
            if !is_there(word) {
                missing.push(format!("{}: {word}", shown(&page)));
            }
        }
    }
    (named, missing)
}

/// Whether a link on `page` finds its file, and its heading there.
fn leads(page: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let to = match file {
        "" => page.to_owned(),
        _ => page.parent().unwrap().join(file),
    };
    to.exists() && (heading.is_empty() || headings(&to).any(|there| there == heading))
}

/// A test's name is a sentence, and so has more words than that of a counter or a file.
fn is_test(word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(is_name) && word.matches('_').count() > 2
}

/// A source file, or a folder from the top.
fn is_path(word: &str) -> bool {
    let is_plain = word
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c));
    let is_folder = |word: &str| TOP.iter().any(|top| word.starts_with(top)) && word.ends_with('/');
    is_plain && (word.ends_with(".rs") || is_folder(word))
}

/// All but the changelog, which tells of what was.
fn pages() -> Vec<PathBuf> {
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
    let mut pages: Vec<PathBuf> = names.map(|name| root().join(name)).into();
    pages.extend(files(&root().join("docs")));
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages
}

fn sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for top in TOP {
        sources.extend(files(&root().join(top)));
    }
    sources
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    let lists = paths.map(|path| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    });
    lists.flatten().collect()
}

/// As a link writes them: in lower case, with hyphens for blanks.
fn headings(page: &Path) -> impl Iterator<Item = String> {
    let lines = text(page);
    let titles: Vec<String> = lines
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|title| title.trim_start_matches('#').trim().to_lowercase())
        .collect();
    titles.into_iter().map(|title| {
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Empty where it is no text.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Its path from the top.
fn shown(page: &Path) -> String {
    let page = page.strip_prefix(root()).unwrap_or(page);
    page.display().to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const TOP: [&str; 6] = ["agent", "bench", "dns", "integration", "overlay", "switch"];
