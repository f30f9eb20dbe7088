//! Maps of what is connected with what, as dot, mermaid or SVG.
//!
//! # Theory of operation
//!
//! A [`Graph`] is nodes and links between them, in the order in which they were added; each way to show it is a pure function, so that
//! the same graph is the same text. Names are other people's: each way quotes what its language gives a meaning.

mod dot;
mod mermaid;
pub(crate) mod place;
pub(crate) mod svg;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;

/// What is connected with what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
}

/// Something that links lead to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Its name, and what else is to be said of it, a line each.
    pub(crate) lines: Vec<String>,
}

/// What sort of thing it is: each looks another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A segment that many are on.
    Network,
    /// A container, or a node of a lab.
    Container,
    /// A host, and whatever is beyond it.
    Host,
}

/// Positions of two nodes, and what is said at the link.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) ends: [usize; 2],
    pub(crate) label: String,
}

impl Graph {
    /// Adds a node. What is returned names it to [`Graph::link`].
    pub fn add(&mut self, kind: Kind, lines: impl IntoIterator<Item = String>) -> usize {
        let lines = lines.into_iter().map(|line| shown(&line)).collect();
        self.nodes.push(Node { kind, lines });
        self.nodes.len() - 1
    }

    /// Joins two nodes; nothing where one of them is not there.
    pub fn link(&mut self, one: usize, other: usize, label: &str) {
        if one.max(other) < self.nodes.len() {
            self.links.push(Link {
                ends: [one, other],
                label: shown(label),
            });
        }
    }
}

/// Without what moves a terminal's cursor or ends a line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two networks with a router between them, and the way out.
    fn sample() -> Graph {
        let mut graph = Graph::default();
        let line = |text: &str| text.to_owned();
        let host = graph.add(Kind::Host, [line("host")]);
        let front = graph.add(Kind::Network, [line("front"), line("10.1.0.0/24")]);
        let back = graph.add(Kind::Network, [line("back"), line("10.2.0.0/24")]);
        let web = graph.add(Kind::Container, [line("web")]);
        let router = graph.add(Kind::Container, [line("router \"r1\" <&>")]);
        graph.link(host, front, "10.1.0.1");
        graph.link(front, web, "eth0 10.1.0.2");
        graph.link(front, router, "eth0 10.1.0.3");
        graph.link(back, router, "eth1 10.2.0.3");
        graph.link(back, 99, "to nobody");
        graph
    }

    #[test]
    fn dot_is_as_reviewed() {
        insta::assert_snapshot!(dot(&sample()), @r#"
        graph {
          layout=neato; overlap=false; splines=true
          node [fontname="sans-serif"]; edge [fontname="sans-serif", fontsize=10]
          n0 [label="host", shape=house]
          n1 [label="front\n10.1.0.0/24", shape=ellipse]
          n2 [label="back\n10.2.0.0/24", shape=ellipse]
          n3 [label="web", shape=box]
          n4 [label="router \"r1\" <&>", shape=box]
          n0 -- n1 [label="10.1.0.1"]
          n1 -- n3 [label="eth0 10.1.0.2"]
          n1 -- n4 [label="eth0 10.1.0.3"]
          n2 -- n4 [label="eth1 10.2.0.3"]
        }
        "#);
    }

    #[test]
    fn mermaid_is_as_reviewed() {
        insta::assert_snapshot!(mermaid(&sample()), @r#"
        graph LR
          n0[/"host"\]
          n1(["front<br>10.1.0.0/24"])
          n2(["back<br>10.2.0.0/24"])
          n3["web"]
          n4["router #quot;r1#quot; #lt;#amp;#gt;"]
          n0 ---|"10.1.0.1"| n1
          n1 ---|"eth0 10.1.0.2"| n3
          n1 ---|"eth0 10.1.0.3"| n4
          n2 ---|"eth1 10.2.0.3"| n4
        "#);
    }

    #[test]
    fn svg_has_every_name_and_nothing_that_is_not_quoted() {
        let drawn = svg(&sample());
        assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
        assert!(drawn.contains("router &quot;r1&quot; &lt;&amp;&gt;"));
        assert_eq!(drawn.matches("<line ").count(), 4);
        for name in ["front", "back", "web", "10.2.0.0/24", "eth1 10.2.0.3"] {
            assert!(drawn.contains(&format!(">{name}</text>")), "{name}");
        }
        assert_eq!(svg(&sample()), drawn);
        assert!(svg(&Graph::default()).starts_with("<svg "));
    }

    #[test]
    fn no_two_nodes_are_at_one_place() {
        let mut graph = Graph::default();
        let network = graph.add(Kind::Network, ["n".to_owned()]);
        for number in 0..40 {
            let container = graph.add(Kind::Container, [number.to_string()]);
            graph.link(network, container, "");
        }
        let places = place::places(&graph);
        for (at, one) in places.iter().enumerate() {
            for other in &places[..at] {
                let apart = (one.0 - other.0).hypot(one.1 - other.1);
                assert!(apart > 60.0, "{one:?} {other:?}");
            }
        }
    }
}
