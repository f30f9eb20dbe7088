//! The report on a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::{FamilyReport, Figure, Report, number};

/// Medians, ratios to the baseline and spreads; then who was absent, and why.
pub(crate) fn table(report: &Report) -> String {
    let mut text = String::new();
    for family in &report.families {
        let _ = writeln!(text, "{}\n\n{}\n", heading(family), figures(family));
        for (reason, places) in absences(family) {
            let _ = writeln!(text, "absent: {places}: {reason}");
        }
    }
    let _ = writeln!(
        text,
        "\n{}, {} cores, {}, TCP by {}; {:.0} s{}",
        report.machine.kernel,
        report.machine.cores,
        report.machine.processor,
        report.machine.congestion_control,
        report.took_s,
        report.end()
    );
    text
}

fn heading(family: &FamilyReport) -> String {
    let baseline = family.baseline.as_deref();
    let ratios = baseline.map_or(String::new(), |name| format!(", ratio to {name}"));
    format!("{}: median{ratios}; lowest..highest below", family.name)
}

fn figures(family: &FamilyReport) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let names = family
        .contenders
        .iter()
        .map(|contender| contender.name.clone());
    table.set_header(
        ["figure".to_owned(), "unit".to_owned()]
            .into_iter()
            .chain(names),
    );
    for figure in family.rows.iter().flat_map(|row| &row.figures) {
        let cells = family
            .contenders
            .iter()
            .map(|contender| cell(figure, &contender.name, family.baseline.as_deref()));
        table.add_row(
            [figure.name.clone(), figure.unit.clone()]
                .into_iter()
                .chain(cells),
        );
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cell(figure: &Figure, contender: &str, baseline: Option<&str>) -> String {
    let Some(summary) = figure.summary(contender) else {
        return "-".to_owned();
    };
    let ratio = figure.ratio(contender, baseline);
    let ratio = ratio.map_or(String::new(), |ratio| format!(" {ratio:.2}×"));
    let (median, min, max) = (
        number(summary.median),
        number(summary.min),
        number(summary.max),
    );
    format!("{median}{ratio}\n{min}..{max}")
}

/// Reasons, with the rows and contenders they hold for.
fn absences(family: &FamilyReport) -> BTreeMap<String, String> {
    let mut absences: BTreeMap<String, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for row in &family.rows {
        for (contender, reason) in &row.absent {
            let places = absences.entry(reason.clone()).or_default();
            places.entry(contender).or_default().push(&row.name);
        }
    }
    absences
        .into_iter()
        .map(|(reason, places)| {
            let places = places.into_iter();
            let places =
                places.map(|(contender, rows)| format!("{contender} ({})", rows.join(", ")));
            (reason, places.collect::<Vec<_>>().join("; "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn cells_have_median_ratio_and_spread_and_absence_has_its_reason() {
        let report = report(&[
            ("bridge", &[10.0, 10.0, 20.0]),
            ("tapestry", &[9.0, 9.0, 9.0]),
        ]);
        let text = table(&report);
        assert!(text.contains("9.00 0.90×"), "{text}");
        assert!(text.contains("10.0..20.0"), "{text}");
        assert!(
            text.contains("absent: vde (tcp-x1-1500): not installed"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_was_ended_says_so() {
        let mut report = report(&[("bridge", &[1.0])]);
        assert!(table(&report).trim_end().ends_with(" s"));
        report.interrupted = true;
        assert!(table(&report).trim_end().ends_with(" s, interrupted"));
    }
}
