//! Graphviz's language.

use std::fmt::Write as _;

use super::{Graph, Kind};

/// As `dot -T svg` and its like read it.
pub fn dot(graph: &Graph) -> String {
    let mut text = "graph {\n  layout=neato; overlap=false; splines=true\n".to_owned();
    text += "  node [fontname=\"sans-serif\"]; edge [fontname=\"sans-serif\", fontsize=10]\n";
    for (number, node) in graph.nodes.iter().enumerate() {
        let shape = match node.kind {
            Kind::Network => "ellipse",
            Kind::Container => "box",
            Kind::Host => "house",
        };
        let lines: Vec<_> = node.lines.iter().map(|line| quoted(line)).collect();
        let label = lines.join("\\n");
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "  n{number} [label=\"{label}\", shape={shape}]");
    }
    for link in &graph.links {
        let [one, other] = link.ends;
        let label = match link.label.as_str() {
            "" => String::new(),
            label => format!(" [label=\"{}\"]", quoted(label)),
        };
        let _ = writeln!(text, "  n{one} -- n{other}{label}");
    }
    text + "}\n"
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
