//! Tables in Docker's plain look, and JSON.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Columns under upper-case headers, three spaces between them, no borders.
pub(crate) fn table<R>(headers: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = Vec<String>>,
{
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        // Docker's columns are never narrower than this.
        .set_header(headers.iter().map(|header| format!("{header:<7}")));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

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

/// Seconds since the epoch.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
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
