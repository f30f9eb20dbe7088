//! What documents say of tests is true: each test they name is there.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let tests = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let page = fs::read_to_string(page).unwrap();
    let named: Vec<&str> = page.split('`').filter(|word| is_test(word)).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let head = format!("fn {name}(");
        assert!(tests.contains(&head), "no test is called {name}");
    }
}

/// A test's name is a sentence, and so has more words than that of a counter or a file.
fn is_test(word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(is_name) && word.matches('_').count() > 2
}

fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let texts = paths.iter().map(|path| {
        if path.is_dir() {
            sources(path)
        } else {
            fs::read_to_string(path).unwrap_or_default()
        }
    });
    texts.collect()
}
