//! A drawing for browsers.

use std::fmt::Write as _;

use super::place::{as_f64, places};
use super::{Graph, Kind, Node};

/// A whole SVG document.
pub fn svg(graph: &Graph) -> String {
    let places = places(graph);
    let far = places.iter().map(|(x, y)| x.abs().max(y.abs()));
    let half = far.fold(0.0, f64::max) + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"{:.0} {:.0} {:.0} {:.0}\" font-family=\"sans-serif\" font-size=\"13\" text-anchor=\"middle\">\n",
        -half,
        -half,
        2.0 * half,
        2.0 * half
    );
    // Writing to a string does not fail, here and below.
    let _ = writeln!(
        text,
        "<rect x=\"{:.0}\" y=\"{:.0}\" width=\"100%\" height=\"100%\" fill=\"white\"/>",
        -half, -half
    );
    for link in &graph.links {
        let [(x1, y1), (x2, y2)] = link.ends.map(|end| places[end]);
        let _ = writeln!(
            text,
            "<line x1=\"{x1:.0}\" y1=\"{y1:.0}\" x2=\"{x2:.0}\" y2=\"{y2:.0}\" stroke=\"#789\"/>"
        );
    }
    // Above the lines, nearer to the second end, where fewer links meet.
    for link in graph.links.iter().filter(|link| !link.label.is_empty()) {
        let [(x1, y1), (x2, y2)] = link.ends.map(|end| places[end]);
        let (x, y) = (x1 + (x2 - x1) * 0.6, y1 + (y2 - y1) * 0.6);
        let label = quoted(&link.label);
        let _ = writeln!(
            text,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" font-size=\"10\" fill=\"#456\" stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\">{label}</text>"
        );
    }
    for (node, place) in graph.nodes.iter().zip(&places) {
        draw(&mut text, node, *place);
    }
    text + "</svg>\n"
}

fn draw(text: &mut String, node: &Node, (x, y): (f64, f64)) {
    let (fill, corner) = match node.kind {
        Kind::Network => ("#cfe8d5", 18),
        Kind::Container => ("#d6e4f5", 3),
        Kind::Host => ("#f5e3c8", 3),
    };
    let longest = node.lines.iter().map(|line| line.chars().count()).max();
    let width = as_f64(longest.unwrap_or(0)) * 8.0 + 20.0;
    let height = as_f64(node.lines.len()) * LINE + 14.0;
    let (left, top) = (x - width / 2.0, y - height / 2.0);
    let _ = writeln!(
        text,
        "<rect x=\"{left:.0}\" y=\"{top:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"{corner}\" fill=\"{fill}\" stroke=\"#456\"/>"
    );
    for (number, line) in node.lines.iter().enumerate() {
        let base = top + 6.0 + LINE * (as_f64(number) + 0.75);
        let _ = writeln!(
            text,
            "<text x=\"{x:.0}\" y=\"{base:.0}\">{}</text>",
            quoted(line)
        );
    }
}

/// As XML has it, in text and in attributes.
pub(crate) fn quoted(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const LINE: f64 = 16.0;
/// Half a node's width, and some.
const MARGIN: f64 = 130.0;
