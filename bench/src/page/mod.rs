//! The report as one page of HTML that needs nothing else.

mod escape;
mod svg;

use std::fmt::Write;

use self::escape::escape;
use self::svg::bars;
use crate::lab::Cost;
use crate::report::{FamilyReport, Report, RowReport, number};
use crate::row::Better;
use crate::spec::Judged;
use crate::statistics::{Summary, count_f64};

/// Plots of every figure, costs, contenders, and the promises if they were judged.
pub(crate) fn page(report: &Report, judged: &[Judged]) -> String {
    let mut body = String::new();
    let machine = &report.machine;
    let quick = if report.quick { ", a quick run" } else { "" };
    let _ = write!(
        body,
        "<h1>tapestry-bench</h1><p>{}, {} cores, {}, TCP by {}, load {} before{quick}; {:.0} s{}. Only ratios of one run mean \
         anything: ends and switch share the cores.</p>",
        escape(&machine.kernel),
        machine.cores,
        escape(&machine.processor),
        escape(&machine.congestion_control),
        escape(&machine.load),
        report.took_s,
        report.end()
    );
    promises(&mut body, judged);
    for family in &report.families {
        let _ = write!(body, "<h2>{}</h2>", escape(&family.name));
        contenders(&mut body, family);
        for row in &family.rows {
            figures(&mut body, family, row);
        }
    }
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>tapestry-bench</title><style>{STYLE}</style><body>{body}\n"
    )
}

fn promises(body: &mut String, judged: &[Judged]) {
    if judged.is_empty() {
        return;
    }
    body.push_str("<h2>Promises</h2><table><tr><th>figure<th>measured<th>must<th>aim<th>verdict");
    for one in judged {
        let measured = one.measured.map_or("-".to_owned(), number);
        let _ = write!(
            body,
            "<tr><td>{}<td>{measured}<td>{}<td>{}<td>{}",
            escape(&one.promise.figure),
            escape(&one.promise.must.to_string()),
            escape(&one.promise.aim.to_string()),
            one.verdict
        );
    }
    body.push_str("</table>");
}

fn contenders(body: &mut String, family: &FamilyReport) {
    body.push_str("<table><tr><th>contender<th>version<th>setting<th>offloads");
    for contender in &family.contenders {
        let description = contender.description.clone().unwrap_or_default();
        let _ = write!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}",
            escape(&contender.name),
            escape(&description.version),
            escape(&description.setting),
            escape(&description.offloads)
        );
    }
    body.push_str("</table>");
}

fn figures(body: &mut String, family: &FamilyReport, row: &RowReport) {
    let names: Vec<&str> = family
        .contenders
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let _ = write!(
        body,
        "<h3>{}</h3><p>{}.",
        escape(&row.name),
        escape(&row.what)
    );
    for figure in &row.figures {
        let better = match figure.better {
            Better::Higher => "more is better",
            Better::Lower => "less is better",
        };
        let _ = write!(
            body,
            "<p class=\"figure\">{} [{}], {better}</p>{}",
            escape(&figure.name),
            escape(&figure.unit),
            bars(figure, &names, family.baseline.as_deref())
        );
    }
    for (contender, reason) in &row.absent {
        let _ = write!(
            body,
            "<p class=\"absent\">{}: {}</p>",
            escape(contender),
            escape(reason)
        );
    }
    costs(body, row, &names);
}

fn costs(body: &mut String, row: &RowReport, names: &[&str]) {
    body.push_str(
        "<details><summary>Cost a round</summary><table><tr><th>contender<th>switch CPU s<th>sender CPU s<th>receiver \
         CPU s<th>all cores s<th>of wall s<th>drops at links<th>at the switch<th>at sockets",
    );
    for name in names {
        let Some(costs) = row.costs.get(*name) else {
            continue;
        };
        let _ = write!(body, "<tr><td>{}", escape(name));
        for column in COLUMNS {
            let values: Vec<f64> = costs.iter().filter_map(column).collect();
            let median =
                Summary::of(&values).map_or("-".to_owned(), |summary| number(summary.median));
            let _ = write!(body, "<td>{median}");
        }
    }
    body.push_str("</table></details>");
}

type Column = fn(&Cost) -> Option<f64>;

const COLUMNS: [Column; 8] = [
    |cost| cost.switch_cpu_s,
    |cost| Some(cost.sender_cpu_s),
    |cost| Some(cost.receiver_cpu_s),
    |cost| Some(cost.machine_cpu_s),
    |cost| Some(cost.wall_s),
    |cost| Some(count_f64(cost.link_drops)),
    |cost| cost.switch_drops.map(count_f64),
    |cost| Some(count_f64(cost.socket_drops)),
];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
    table{border-collapse:collapse;margin:.5rem 0}td,th{text-align:left;padding:.15rem .8rem .15rem 0;\
    border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}h3{margin:2rem 0 0}.figure{margin:.6rem 0 .2rem;\
    color:#555}.absent{color:#a40;margin:.2rem 0}svg{font:12px system-ui,sans-serif}svg .name{text-anchor:end}\
    rect.base{fill:#888}rect.ours{fill:#2a7ab8}rect.peer{fill:#c9b27c}line{stroke:#222}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn what_was_read_from_the_machine_is_text_not_markup() {
        let page = page(&report(&[("bridge", &[1.0])]), &[]);
        assert!(page.contains("&lt;fast&gt;"));
        assert!(!page.contains("<fast>"));
        assert!(page.contains("vde: not installed"));
        assert!(!page.contains("http"), "self-contained");
    }
}
