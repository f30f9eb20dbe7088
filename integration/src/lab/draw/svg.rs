//! A lab as SVG, on white, so that it can be read wherever it is shown.

use std::fmt::Write as _;

use super::layout::{ARC, BOX_HEIGHT, Layout};
use super::{Lab, Line, Picture, Point};
use crate::graph::place::as_f64;
use crate::graph::svg::quoted;

/// The whole picture.
pub fn svg(lab: &Lab) -> String {
    let picture = Picture::of(lab);
    let layout = Layout::of(&picture);
    let (width, height) = (layout.width, layout.height);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n{STYLE}\
         <rect class=\"ground\" width=\"100%\" height=\"100%\" rx=\"10\"/>\n",
        quoted(&lab.name)
    );
    let drawn: Vec<String> = picture
        .lines
        .iter()
        .map(|line| curve(line, &layout))
        .collect();
    drawn.iter().for_each(|line| text.push_str(line));
    for (number, point) in picture.points.iter().enumerate() {
        text.push_str(&shape(point, number, &layout));
    }
    for line in &picture.lines {
        text.push_str(&names(line, &layout));
    }
    text + "</svg>\n"
}

/// Lines of a row that pass other points rise above them.
fn bend(line: &Line<'_>, layout: &Layout) -> f64 {
    let [one, other] = line.ends;
    let row = |point: usize| layout.rows.get(point).copied().flatten();
    let (Some(near), Some(far)) = (row(one), row(other)) else {
        return 0.0;
    };
    if near != far {
        return 0.0;
    }
    let x = |point: usize| layout.at.get(point).map_or(0.0, |at| at.0);
    let (from, to) = (x(one).min(x(other)), x(one).max(x(other)));
    let between = (0..layout.at.len())
        .filter(|point| row(*point) == Some(near) && x(*point) > from && x(*point) < to)
        .count();
    match between {
        0 => 0.0,
        _ => (ARC + 4.0 * as_f64(between)).min(2.0 * ARC),
    }
}

fn ends(line: &Line<'_>, layout: &Layout) -> [(f64, f64); 2] {
    line.ends
        .map(|end| layout.at.get(end).copied().unwrap_or_default())
}

fn curve(line: &Line<'_>, layout: &Layout) -> String {
    let [(x1, y1), (x2, y2)] = ends(line, layout);
    match bend(line, layout) {
        0.0 => format!("<path class=\"link\" d=\"M{x1:.1} {y1:.1} L{x2:.1} {y2:.1}\"/>\n"),
        up => format!(
            "<path class=\"link\" d=\"M{x1:.1} {y1:.1} C{x1:.1} {y:.1} {x2:.1} {y:.1} {x2:.1} {y2:.1}\"/>\n",
            y = y1 - BOX_HEIGHT / 2.0 - up
        ),
    }
}

fn shape(point: &Point<'_>, number: usize, layout: &Layout) -> String {
    let (x, y) = layout.at.get(number).copied().unwrap_or_default();
    let width = layout.widths.get(number).copied().unwrap_or_default();
    let (class, radius, height) = match point.kind {
        Some(_) => ("node", 8.0, BOX_HEIGHT),
        None => ("switch", 14.0, 28.0),
    };
    let mut text = format!(
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\"/>\n",
        x - width / 2.0,
        y - height / 2.0
    );
    let name = quoted(&point.name);
    // Writing to a String does not fail.
    let _ = match point.kind {
        Some(kind) => writeln!(
            text,
            "<text class=\"name\" x=\"{x:.1}\" y=\"{:.1}\">{name}</text>\
             <text class=\"kind\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            y - 2.0,
            y + 12.0,
            quoted(kind)
        ),
        None => writeln!(
            text,
            "<text class=\"name\" x=\"{x:.1}\" y=\"{:.1}\">{name}</text>",
            y + 4.0
        ),
    };
    text
}

/// The interfaces' names, on the line beside the boxes.
fn names(line: &Line<'_>, layout: &Layout) -> String {
    let [one, other] = ends(line, layout);
    let up = bend(line, layout);
    let mut text = String::new();
    for (name, from, to, end) in [
        (line.names[0], one, other, line.ends[0]),
        (line.names[1], other, one, line.ends[1]),
    ] {
        if name.is_empty() {
            continue;
        }
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let width = layout.widths.get(end).copied().unwrap_or_default();
        let (x, y) = match (up > 0.0, dy.abs() < 1.0) {
            (true, _) => (from.0 + 4.0 * dx.signum(), from.1 - BOX_HEIGHT / 2.0 - 12.0),
            (_, true) => (from.0 + dx.signum() * (width / 2.0 + 16.0), from.1 - 6.0),
            (_, false) => {
                // Where the line leaves the box, and a little further.
                let steep = (BOX_HEIGHT / 2.0 + 16.0) / dy.abs();
                let flat = (width / 2.0 + 16.0) / dx.abs().max(0.1);
                let part = steep.min(flat).min(0.4);
                (from.0 + dx * part, from.1 + dy * part + 3.0)
            }
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "<text class=\"if\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            quoted(name)
        );
    }
    text
}

const STYLE: &str = "<style>\n\
.ground { fill: #ffffff }\n\
.link { fill: none; stroke: #8795a8; stroke-width: 1.6 }\n\
.node { fill: #edf3fc; stroke: #4a6fa5; stroke-width: 1.4 }\n\
.switch { fill: #fdf3e1; stroke: #c08a2c; stroke-width: 1.4 }\n\
text { font-family: system-ui, sans-serif; text-anchor: middle; fill: #1d2935 }\n\
.name { font-size: 13px; font-weight: 600 }\n\
.kind { font-size: 10px; fill: #5b6b7d }\n\
.if { font-size: 10px; fill: #44566b; paint-order: stroke; stroke: #ffffff; stroke-width: 4px }\n\
</style>\n";
