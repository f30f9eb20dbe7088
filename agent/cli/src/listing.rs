//! What every list can be asked for: a table, JSON, a template, ids only; all of it, or what fits.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::failure::Failure;
use crate::filter::{self, Filters};
use crate::format::{self, Format, Row};
use crate::output;

// Not a doc comment: clap would show it as the text of each command.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Listing {
    /// Print what each is called only, one a line
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Only those that have this in a column, as state=up; may be repeated: values of one column are alternatives
    #[arg(short, long, value_name = "COLUMN=VALUE", value_parser = filter::filter)]
    filter: Vec<(String, String)>,
    /// Print what a template says of each, as '{{.Name}}'; or json, table, 'table {{.Name}}\t{{.State}}'
    #[arg(long, value_name = "TEMPLATE", value_parser = format::format, conflicts_with_all = ["json", "quiet"])]
    format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

// As above, for what is about one network.
#[derive(Debug, clap::Args)]
pub(crate) struct OfNetwork {
    #[command(flatten)]
    pub(crate) listing: Listing,
    /// The network's name or id
    pub(crate) network: String,
}

/// How a list looks.
pub(crate) struct Sheet<T> {
    /// By the names that templates have for them, with their headers. A filter's key is the header in small letters.
    pub(crate) columns: &'static [(&'static str, &'static str)],
    /// The column that `--quiet` prints.
    pub(crate) called: usize,
    /// Rows of one item, with a text for each column.
    pub(crate) rows: fn(&T) -> Vec<Vec<String>>,
}

impl Listing {
    /// Whether the plain table was asked for, beside which something may be said.
    pub(crate) fn is_plain(&self) -> bool {
        !self.quiet && !self.json && self.format.is_none()
    }

    /// Prints `items` as the caller asked for them.
    pub(crate) fn print<T: Serialize>(&self, items: &[T], sheet: &Sheet<T>) -> Result<u8, Failure> {
        self.print_as(false, items, sheet)
    }

    /// The same; with nothing cut where it is to be `whole`.
    pub(crate) fn print_as<T: Serialize>(
        &self,
        whole: bool,
        items: &[T],
        sheet: &Sheet<T>,
    ) -> Result<u8, Failure> {
        output::print(&self.shown(whole, items, sheet)?)?;
        Ok(0)
    }

    /// Whether JSON was asked for.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// The items that have a row which fits.
    pub(crate) fn fitting<'i, T>(
        &self,
        items: &'i [T],
        sheet: &Sheet<T>,
    ) -> Result<Vec<&'i T>, Failure> {
        let fitting = Fitting::new(self, sheet)?;
        let items = items.iter();
        Ok(items
            .filter(|item| !fitting.rows(item).is_empty())
            .collect())
    }

    fn shown<T: Serialize>(
        &self,
        whole: bool,
        items: &[T],
        sheet: &Sheet<T>,
    ) -> Result<String, Failure> {
        if self.json {
            return Ok(output::json(&self.fitting(items, sheet)?));
        }
        let fitting = Fitting::new(self, sheet)?;
        let rows: Vec<Vec<String>> = items.iter().flat_map(|item| fitting.rows(item)).collect();
        if self.quiet {
            return Ok(names(&rows, sheet.called));
        }
        if let Some(format) = &self.format
            && let Some(text) = format.list(&named(&rows, sheet.columns), sheet.columns)?
        {
            return Ok(text);
        }
        let headers: Vec<&str> = sheet.columns.iter().map(|(_, header)| *header).collect();
        Ok(output::table_as(whole, &headers, rows))
    }
}

/// Which rows are wanted.
struct Fitting<'s, T> {
    sheet: &'s Sheet<T>,
    keys: Vec<String>,
    filters: Filters,
}

impl<'s, T> Fitting<'s, T> {
    fn new(listing: &Listing, sheet: &'s Sheet<T>) -> Result<Self, Failure> {
        let keys: Vec<_> = sheet
            .columns
            .iter()
            .map(|(_, header)| key(header))
            .collect();
        let known: Vec<&str> = keys.iter().map(String::as_str).collect();
        let filters = Filters::new(listing.filter.clone(), &known).map_err(Failure::usage)?;
        Ok(Self {
            sheet,
            keys,
            filters,
        })
    }

    fn rows(&self, item: &T) -> Vec<Vec<String>> {
        let fits = |row: &Vec<String>| {
            let mut cells = self.keys.iter().zip(row);
            cells.all(|(key, cell)| self.filters.accept(key, |value| has(cell, value)))
        };
        let mut rows = (self.sheet.rows)(item);
        rows.retain(fits);
        rows
    }
}

/// Whether it is the cell's text, or its first words: `up` is also `up via east`.
fn has(cell: &str, value: &str) -> bool {
    let rest = cell.strip_prefix(value);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Each once, as rows of one item may follow each other.
fn names(rows: &[Vec<String>], called: usize) -> String {
    let mut names: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.get(called).map(String::as_str))
        .collect();
    names.dedup();
    names.iter().map(|name| format!("{name}\n")).collect()
}

fn named(rows: &[Vec<String>], columns: &[(&'static str, &'static str)]) -> Vec<Row> {
    let rows = rows.iter().map(|row| {
        let cells = columns.iter().zip(row);
        Row {
            columns: cells
                .map(|((name, _), cell)| (*name, cell.clone()))
                .collect(),
            labels: BTreeMap::new(),
        }
    });
    rows.collect()
}

/// `TAP DRIVER` is `tap-driver`.
fn key(header: &str) -> String {
    header.to_ascii_lowercase().replace(' ', "-")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Thing(&'static str, &'static str);

    const SHEET: Sheet<Thing> = Sheet {
        columns: &[("Name", "NAME"), ("State", "LINK STATE")],
        called: 0,
        rows: |thing| vec![vec![thing.0.into(), thing.1.into()]],
    };

    /// The plain table.
    pub(crate) fn table<T: Serialize>(items: &[T], sheet: &Sheet<T>) -> String {
        Listing::default().shown(false, items, sheet).unwrap()
    }

    fn shown(listing: Listing) -> Result<String, String> {
        let things = [Thing("web", "up"), Thing("db", "down"), Thing("dns", "up")];
        let shown = listing.shown(false, &things, &SHEET);
        shown.map_err(|failure| failure.to_string())
    }

    fn filtered(given: &[&str]) -> Listing {
        let pairs = given.iter().map(|text| filter::filter(text).unwrap());
        Listing {
            quiet: true,
            filter: pairs.collect(),
            ..Listing::default()
        }
    }

    #[test]
    fn a_list_is_filtered_by_its_columns() {
        assert_eq!(shown(filtered(&["link-state=up"])).unwrap(), "web\ndns\n");
        assert_eq!(
            shown(filtered(&["name=web", "name=db", "link-state=down"])).unwrap(),
            "db\n"
        );
        assert!(has("up via east", "up") && !has("upper", "up"));
        assert_eq!(
            shown(filtered(&["colour=red"])).unwrap_err(),
            "there is no filter \"colour\"; filter by name, link-state"
        );
    }

    #[test]
    fn a_list_is_a_table_json_or_a_template() {
        let format = |text: &str| {
            shown(Listing {
                format: Some(format::format(text).unwrap()),
                ..Listing::default()
            })
        };
        assert_eq!(
            format("{{.Name}}:{{.State}}").unwrap(),
            "web:up\ndb:down\ndns:up\n"
        );
        insta::assert_snapshot!(format("table").unwrap(), @r"
        NAME      LINK STATE
        web       up
        db        down
        dns       up
        ");
        let json = Listing {
            json: true,
            filter: filtered(&["name=db"]).filter,
            ..Listing::default()
        };
        let parsed: Vec<(String, String)> = serde_json::from_str(&shown(json).unwrap()).unwrap();
        assert_eq!(parsed, [("db".to_owned(), "down".to_owned())]);
    }
}
