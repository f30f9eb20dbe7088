//! The shortest circle of a graph.

use std::collections::{BTreeMap, VecDeque};

/// Nodes in the order of the arrows; `None` when there is no circle. Arrows to a node itself do not count.
pub(crate) fn shortest_circle<T>(
    graph: &BTreeMap<String, BTreeMap<String, T>>,
) -> Option<Vec<String>> {
    graph
        .keys()
        .filter_map(|start| shortest_from(graph, start))
        .min_by_key(Vec::len)
}

/// The shortest way from `start` back to it.
fn shortest_from<T>(
    graph: &BTreeMap<String, BTreeMap<String, T>>,
    start: &String,
) -> Option<Vec<String>> {
    let mut came_from = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(node) = waiting.pop_front() {
        for next in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if next == start && node != start {
                let mut circle = vec![node.clone()];
                while circle.last() != Some(start) {
                    let last: &String = &circle[circle.len() - 1];
                    let before: &&String = &came_from[last];
                    circle.push((*before).clone());
                }
                circle.reverse();
                return Some(circle);
            }
            if next != start && !came_from.contains_key(next) {
                came_from.insert(next, node);
                waiting.push_back(next);
            }
        }
    }
    None
}
