//! Tables in Docker's plain look, and JSON.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;
use crate::screen::{self, Ink};

/// Columns under upper-case headers, three spaces between them, no borders. At a terminal that is too narrow, the longest cells are cut.
pub(crate) fn table<R>(headers: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = Vec<String>>,
{
    let rows: Vec<_> = rows.into_iter().collect();
    match screen::look().width {
        Some(width) => whole_table(headers, fitted(headers, rows, width)),
        None => whole_table(headers, rows),
    }
}

/// The same; with nothing cut where it is to be `whole`.
pub(crate) fn table_as<R>(whole: bool, headers: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = Vec<String>>,
{
    match whole {
        true => whole_table(headers, rows),
        false => table(headers, rows),
    }
}

fn whole_table<R>(headers: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = Vec<String>>,
{
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(
            headers
                .iter()
                .map(|header| format!("{header:<HEADER_LEN_MIN$}")),
        );
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match number {
            0 => text.push_str(&screen::painted(line, Ink::Head)),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Rows whose table has lines of `width` at most, as far as columns can be made narrower.
fn fitted(headers: &[&str], mut rows: Vec<Vec<String>>, width: usize) -> Vec<Vec<String>> {
    let length = |text: &str| text.chars().count();
    let column = |(at, header): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let widest = cells.map(|cell| length(cell)).max().unwrap_or(0);
        widest.max(length(header)).max(HEADER_LEN_MIN)
    };
    let mut widths: Vec<usize> = headers.iter().enumerate().map(column).collect();
    let least: Vec<usize> = headers
        .iter()
        .map(|header| length(header).max(CELL_LEN_MIN))
        .collect();
    screen::narrow(&mut widths, &least, GAP, width);
    for row in &mut rows {
        for (cell, width) in row.iter_mut().zip(&widths) {
            *cell = screen::cut(cell, *width);
        }
    }
    rows
}

/// Docker's columns are never narrower than this.
const HEADER_LEN_MIN: usize = 7;
/// What is left of a cell that is cut.
const CELL_LEN_MIN: usize = 8;
const GAP: usize = 3;

/// JSON that people can read and programs can parse, with a newline at its end.
pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        // Only maps with other keys than strings fail; the API has none.
        Err(error) => format!("{error}\n"),
    }
}

pub(crate) fn print(text: &str) -> Result<(), Failure> {
    write(io::stdout(), text.as_bytes())
}

/// Writes all of it at once, and lets nothing wait in a buffer.
pub(crate) fn write(mut target: impl Write, bytes: &[u8]) -> Result<(), Failure> {
    target
        .write_all(bytes)
        .and_then(|()| target.flush())
        .map_err(Failure::Output)
}

/// The first twelve digits of an id, as people see it; the whole with `--no-trunc`.
pub(crate) fn shown_id(id: &str, whole: bool) -> String {
    if whole {
        id.to_owned()
    } else {
        id.chars().take(12).collect()
    }
}

/// An API enum in the word it has on the wire.
pub(crate) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The VLAN that rows are about, behind their first column.
pub(crate) fn with_vlan(mut rows: Vec<Vec<String>>, vlan: Option<u16>) -> Vec<Vec<String>> {
    let vlan = vlan.map_or("-".to_owned(), |vlan| vlan.to_string());
    for row in &mut rows {
        row.insert(1, vlan.clone());
    }
    rows
}

/// Seconds since the epoch.
pub(crate) fn now_s() -> u64 {
    now_ms() / 1000
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A span as Docker words it.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if days < 14 => format!("{days} days"),
        () if days < 60 => format!("{} weeks", days / 7),
        () if days < 730 => format!("{} months", days / 30),
        () => format!("{} years", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_cells_are_cut_where_a_line_is_too_long() {
        let rows = || vec![vec!["x".repeat(60), "y".repeat(30), "up".to_owned()]];
        let headers = ["NAME", "IMPAIRMENT", "STATE"];
        let lengths = |width| -> Vec<usize> {
            let rows = fitted(&headers, rows(), width);
            rows[0].iter().map(|cell| cell.chars().count()).collect()
        };
        assert_eq!(lengths(200), [60, 30, 2]);
        assert_eq!(lengths(80), [37, 30, 2]);
        assert_eq!(lengths(40), [14, 13, 2]);
        assert_eq!(lengths(10), [8, 10, 2], "no shorter than its header");
        let text = whole_table(&headers, fitted(&headers, rows(), 60));
        assert!(
            text.lines().all(|line| line.chars().count() <= 60),
            "{text}"
        );
    }

    #[test]
    fn table_has_dockers_widths() {
        let rows = [
            vec!["b4f1e0c3a2d1".into(), "bridge".into(), "local".into()],
            vec![
                "0123456789ab".into(),
                "a-longer-name".into(),
                "global".into(),
            ],
        ];
        insta::assert_snapshot!(table(&["NETWORK ID", "NAME", "SCOPE"], rows), @r"
        NETWORK ID     NAME            SCOPE
        b4f1e0c3a2d1   bridge          local
        0123456789ab   a-longer-name   global
        ");
        assert_eq!(table(&["ID", "NAME"], []), "ID        NAME\n");
    }

    #[test]
    fn span_rounds_as_docker_does() {
        let spans = [
            0,
            1,
            59,
            60,
            125,
            3600,
            7300,
            90_000,
            200_000,
            86_400 * 15,
            86_400 * 90,
        ];
        let words: Vec<_> = spans.into_iter().map(span).collect();
        assert_eq!(
            words,
            [
                "Less than a second",
                "1 second",
                "59 seconds",
                "About a minute",
                "2 minutes",
                "About an hour",
                "2 hours",
                "25 hours",
                "2 days",
                "2 weeks",
                "3 months"
            ]
        );
    }
}
