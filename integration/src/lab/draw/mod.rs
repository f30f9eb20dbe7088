//! Labs as pictures: SVG of our own, and the languages of graphviz and mermaid.

mod layout;
mod svg;

use std::borrow::Cow;
use std::fmt::Write as _;

use super::model::{Lab, Segment, SegmentKind};

pub use svg::svg;

/// What is drawn: nodes and switches, and the lines between them.
#[derive(Debug)]
struct Picture<'l> {
    points: Vec<Point<'l>>,
    lines: Vec<Line<'l>>,
}

#[derive(Debug)]
struct Point<'l> {
    name: Cow<'l, str>,
    /// The image's or the kind's name; nothing for a switch, and for what is beyond the lab.
    kind: Option<&'l str>,
}

/// Between two points by their number, with the interfaces' names at its ends.
#[derive(Debug)]
struct Line<'l> {
    ends: [usize; 2],
    names: [&'l str; 2],
}

impl<'l> Picture<'l> {
    fn of(lab: &'l Lab) -> Self {
        let mut points: Vec<Point<'l>> = lab
            .nodes
            .iter()
            .map(|node| Point {
                name: Cow::Borrowed(&node.name),
                kind: Some(node.image.as_deref().map_or("base", short)),
            })
            .collect();
        let place = |name: &str| lab.nodes.iter().position(|node| node.name == name);
        let mut lines = Vec::new();
        for (number, segment) in lab.segments.iter().enumerate() {
            let ends: Vec<(usize, &str)> = lab
                .ends(number)
                .filter_map(|(node, interface)| Some((place(&node.name)?, &*interface.name)))
                .collect();
            match ends[..] {
                [(one, near), (other, far)] if !is_switch(segment) => lines.push(Line {
                    ends: [one, other],
                    names: [near, far],
                }),
                [end] if !is_switch(segment) && leads_beyond(segment) => {
                    add_beyond(segment, end, &mut points, &mut lines);
                }
                _ => {
                    points.push(Point {
                        name: Cow::Borrowed(&segment.name),
                        kind: None,
                    });
                    let switch = points.len() - 1;
                    lines.extend(ends.iter().map(|(node, name)| Line {
                        ends: [*node, switch],
                        names: [name, ""],
                    }));
                    add_beyond(segment, (switch, ""), &mut points, &mut lines);
                }
            }
        }
        Self { points, lines }
    }
}

/// What a segment leads to outside of the lab, as points with a line from `from` each.
fn add_beyond<'l>(
    segment: &'l Segment,
    (from, near): (usize, &'l str),
    points: &mut Vec<Point<'l>>,
    lines: &mut Vec<Line<'l>>,
) {
    let hosts = segment.host_links.iter().map(|name| format!("host:{name}"));
    let vxlan = segment.vxlan.iter();
    let vxlan = vxlan.map(|vxlan| format!("vxlan:{}", vxlan.remote));
    for name in hosts.chain(vxlan) {
        lines.push(Line {
            ends: [from, points.len()],
            names: [near, ""],
        });
        points.push(Point {
            name: Cow::Owned(name),
            kind: None,
        });
    }
}

fn leads_beyond(segment: &Segment) -> bool {
    !segment.host_links.is_empty() || segment.vxlan.is_some()
}

fn is_switch(segment: &Segment) -> bool {
    segment.kind == SegmentKind::Bridge
}

/// An image's name without where it comes from.
fn short(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last)
}

/// In graphviz' language.
pub fn dot(lab: &Lab) -> String {
    let picture = Picture::of(lab);
    let mut text = format!(
        "graph {:?} {{\n  node [shape=box style=rounded]\n  edge [fontsize=9]\n",
        lab.name
    );
    for (number, point) in picture.points.iter().enumerate() {
        let shape = if point.kind.is_none() {
            " shape=ellipse"
        } else {
            ""
        };
        // Writing to a String does not fail, here and below.
        let _ = writeln!(text, "  n{number} [label={:?}{shape}]", point.name);
    }
    for line in &picture.lines {
        let ([one, other], [near, far]) = (line.ends, line.names);
        let _ = writeln!(
            text,
            "  n{one} -- n{other} [taillabel={near:?} headlabel={far:?}]"
        );
    }
    text + "}\n"
}

/// In mermaid's language.
pub fn mermaid(lab: &Lab) -> String {
    let picture = Picture::of(lab);
    let mut text = String::from("graph TD\n");
    for (number, point) in picture.points.iter().enumerate() {
        let name = point.name.replace('"', "'");
        let _ = match point.kind {
            Some(_) => writeln!(text, "  n{number}[\"{name}\"]"),
            None => writeln!(text, "  n{number}([\"{name}\"])"),
        };
    }
    for line in &picture.lines {
        let ([one, other], [near, far]) = (line.ends, line.names);
        let label = [near, far].join(" ");
        let _ = writeln!(text, "  n{one} ---|\"{}\"| n{other}", label.trim());
    }
    text
}
