//! Tables that fit a screen: text to the left, numbers to the right, and both sorted by what they are.

use std::cmp::Ordering;

use crate::screen::{cut, narrow};

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Grid {
    pub(super) headers: &'static [&'static str],
    pub(super) rows: Vec<GridRow>,
    /// The column that it is sorted by unless somebody chooses another one.
    pub(super) sorted_by: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct GridRow {
    /// The network that the row leads into.
    pub(super) leads_to: Option<String>,
    pub(super) cells: Vec<Cell>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// With what is shown of it.
    Number(f64, String),
}

impl Cell {
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(_, text) => text,
        }
    }

    /// Greater numbers come first, and text by its letters.
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one, _), Self::Number(other, _)) => other.total_cmp(one),
            (one, other) => one.shown().cmp(other.shown()),
        }
    }
}

impl GridRow {
    /// What says which row it is.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().take(NAMING).map(Cell::shown)
    }
}

impl Grid {
    /// By a column, the greatest number or the first letter first, unless `reversed`. Equal rows keep the order of their first columns.
    pub(super) fn sort(&mut self, column: usize, reversed: bool) {
        self.rows.sort_by(|one, other| {
            let order = match (one.cells.get(column), other.cells.get(column)) {
                (Some(a), Some(b)) => a.order(b),
                _ => Ordering::Equal,
            };
            let order = if reversed { order.reverse() } else { order };
            order.then_with(|| one.names().cmp(other.names()))
        });
    }

    /// Rows in which some text has `wanted` in it.
    pub(super) fn filter(&mut self, wanted: &str) {
        let wanted = wanted.to_lowercase();
        self.rows.retain(|row| {
            let mut cells = row.cells.iter();
            cells.any(|cell| cell.shown().to_lowercase().contains(&wanted))
        });
    }

    /// The line of headers, and one of each row, no longer than `width`. `sorted` is marked.
    pub(super) fn lines(&self, width: usize, sorted: usize) -> Vec<String> {
        let headers = self.headers.iter().enumerate();
        let headers: Vec<String> = headers
            .map(|(at, header)| match at == sorted {
                true => format!("{header}*"),
                false => (*header).to_owned(),
            })
            .collect();
        let widths = self.widths(&headers, width);
        let is_number = |at: usize| {
            let first = self.rows.first().and_then(|row| row.cells.get(at));
            matches!(first, Some(Cell::Number(..)))
        };
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.zip(&widths).enumerate();
            let cells: Vec<String> = cells
                .map(|(at, (cell, width))| {
                    let cell = cut(cell, *width);
                    match is_number(at) {
                        true => format!("{cell:>width$}"),
                        false => format!("{cell:<width$}"),
                    }
                })
                .collect();
            cut(cells.join(GAP).trim_end(), width)
        };
        let head = line(&mut headers.iter().map(String::as_str));
        let rows = self.rows.iter();
        let rows = rows.map(|row| line(&mut row.cells.iter().map(Cell::shown)));
        std::iter::once(head).chain(rows).collect()
    }

    /// Text gives way where there is too little room.
    fn widths(&self, headers: &[String], width: usize) -> Vec<usize> {
        let length = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = headers.iter().map(|header| length(header)).collect();
        let mut is_text = vec![false; widths.len()];
        for row in &self.rows {
            for (at, cell) in row.cells.iter().enumerate().take(widths.len()) {
                widths[at] = widths[at].max(length(cell.shown()));
                is_text[at] |= matches!(cell, Cell::Text(_));
            }
        }
        let least = is_text
            .iter()
            .zip(&widths)
            .map(|(is_text, width)| match is_text {
                true => TEXT_LEN_MIN,
                false => *width,
            });
        let least: Vec<usize> = least.collect();
        narrow(&mut widths, &least, GAP.len(), width);
        widths
    }
}

const GAP: &str = "  ";
const TEXT_LEN_MIN: usize = 6;
/// How many columns say which row it is.
const NAMING: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let row = |name: &str, rate: f64| GridRow {
            leads_to: None,
            cells: vec![
                Cell::Text(name.to_owned()),
                Cell::Number(rate, format!("{rate} k/s")),
            ],
        };
        Grid {
            headers: &["NETWORK", "RX"],
            rows: vec![
                row("lab", 5.0),
                row("a-network-with-a-long-name", 70.0),
                row("db", 5.0),
            ],
            sorted_by: 1,
        }
    }

    #[test]
    fn numbers_are_sorted_as_numbers_and_stand_to_the_right() {
        let mut grid = grid();
        grid.sort(1, false);
        assert_eq!(
            grid.lines(80, 1),
            [
                "NETWORK                        RX*",
                "a-network-with-a-long-name  70 k/s",
                "db                           5 k/s",
                "lab                          5 k/s",
            ]
        );
        grid.sort(0, true);
        assert_eq!(grid.rows[0].cells[0].shown(), "lab");
    }

    #[test]
    fn text_gives_way_to_numbers() {
        for width in [20, 16, 12, 3] {
            let lines = grid().lines(width, 1);
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:?}"
            );
        }
        assert!(grid().lines(16, 1)[2].ends_with("70 k/s"));
    }

    #[test]
    fn a_filter_is_part_of_any_text() {
        let mut grid = grid();
        grid.filter("LAB");
        assert_eq!(grid.rows.len(), 1);
    }
}
