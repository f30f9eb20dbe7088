//! Rows of `make chaos`, which this crate's tests write when they are run for it.

use std::io::Write;

/// A row of which everything held that it must. One that did not has failed its test.
pub(super) fn row(place: u8, what: &str, must: &str, measured: &str) {
    println!("{what}: {measured}");
    if std::env::var("CHAOS").is_ok_and(|chaos| chaos == "full") {
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(3).unwrap();
        let mut options = std::fs::File::options();
        let table = options
            .create(true)
            .append(true)
            .open(target.join("chaos.tsv"));
        let line = format!("{place:02}\t{what}\t{must}\t\t{measured}\tyes\n");
        table.unwrap().write_all(line.as_bytes()).unwrap();
    }
}
