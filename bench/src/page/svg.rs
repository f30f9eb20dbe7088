//! Bars with whiskers.

use std::fmt::Write;

use super::escape::escape;
use crate::report::{Figure, number};

/// One bar a contender, as wide as its median, with a line from the lowest to the highest reading.
pub(super) fn bars(figure: &Figure, contenders: &[&str], baseline: Option<&str>) -> String {
    let known: Vec<_> = contenders
        .iter()
        .filter_map(|name| Some((*name, figure.summary(name)?)))
        .collect();
    let largest = known
        .iter()
        .map(|(_, summary)| summary.max)
        .fold(0.0, f64::max);
    let scale = if largest > 0.0 {
        BAR_WIDTH / largest
    } else {
        0.0
    };
    let mut bars = String::new();
    let mut top = 0.0;
    for (name, summary) in known {
        let class = if Some(name) == baseline {
            "base"
        } else if OURS.contains(&name) {
            "ours"
        } else {
            "peer"
        };
        let middle = top + ROW_HEIGHT / 2.0;
        let ratio = figure.ratio(name, baseline);
        let ratio = ratio.map_or(String::new(), |ratio| format!(" · {ratio:.2}×"));
        let (width, low, high) = (
            summary.median * scale,
            summary.min * scale,
            summary.max * scale,
        );
        let _ = write!(
            bars,
            "<text class=\"name\" x=\"{x}\" y=\"{text}\">{name}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\"/>\
             <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\
             <text x=\"{label}\" y=\"{text}\">{median}{ratio}</text>",
            x = LEFT - 6.0,
            text = middle + 4.0,
            name = escape(name),
            y = top + 3.0,
            height = ROW_HEIGHT - 6.0,
            from = LEFT + low,
            to = LEFT + high,
            label = LEFT + BAR_WIDTH + 8.0,
            median = number(summary.median),
        );
        top += ROW_HEIGHT;
    }
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\" role=\"img\" aria-label=\"{}\">{bars}</svg>",
        escape(&figure.name)
    )
}

const OURS: [&str; 4] = ["tapestry", "epoll", "basic", "switch-core"];
const WIDTH: f64 = 720.0;
const LEFT: f64 = 90.0;
const BAR_WIDTH: f64 = 480.0;
const ROW_HEIGHT: f64 = 22.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_largest_reading_fills_the_width() {
        let report = report(&[("bridge", &[5.0, 10.0, 20.0]), ("tapestry", &[10.0])]);
        let figure = &report.families[0].rows[0].figures[0];
        let svg = bars(figure, &["bridge", "tapestry", "vde"], Some("bridge"));
        assert!(svg.contains("x2=\"570.0\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2, "who is absent has no bar");
    }
}
