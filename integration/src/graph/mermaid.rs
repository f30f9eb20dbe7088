//! Mermaid's language, which many pages show drawn.

use std::fmt::Write as _;

use super::{Graph, Kind};

/// As a page's fence ```` ```mermaid ```` takes it.
pub fn mermaid(graph: &Graph) -> String {
    let mut text = "graph LR\n".to_owned();
    for (number, node) in graph.nodes.iter().enumerate() {
        let (open, close) = match node.kind {
            Kind::Network => ("([", "])"),
            Kind::Container => ("[", "]"),
            Kind::Host => ("[/", "\\]"),
        };
        let lines: Vec<_> = node.lines.iter().map(|line| quoted(line)).collect();
        let label = lines.join("<br>");
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "  n{number}{open}\"{label}\"{close}");
    }
    for link in &graph.links {
        let [one, other] = link.ends;
        let label = match link.label.as_str() {
            "" => String::new(),
            label => format!("|\"{}\"|", quoted(label)),
        };
        let _ = writeln!(text, "  n{one} ---{label} n{other}");
    }
    text
}

fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        match c {
            '&' => quoted += "#amp;",
            '"' => quoted += "#quot;",
            '<' => quoted += "#lt;",
            '>' => quoted += "#gt;",
            '#' => quoted += "#35;",
            _ => quoted.push(c),
        }
    }
    quoted
}
