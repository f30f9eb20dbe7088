//! Where each node is drawn.
//!
//! Networks are on an inner ring, everything else on an outer one, in the direction of its networks: so most links are short, and few
//! cross. Without networks there is one ring, in the order in which links lead from one node to the next.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use super::{Graph, Kind};

/// Of each node, its place from the middle.
pub(super) fn places(graph: &Graph) -> Vec<(f64, f64)> {
    let order = in_order(graph);
    let is_hub = |node: &usize| graph.nodes[*node].kind == Kind::Network;
    let (hubs, mut others): (Vec<_>, Vec<_>) = order.into_iter().partition(is_hub);
    let mut places = vec![(0.0, 0.0); graph.nodes.len()];
    let inner = match hubs.len() {
        0 | 1 => 0.0,
        many => radius(many, HUB_ROOM),
    };
    ring(&mut places, &hubs, inner);
    let angles: Vec<_> = (0..graph.nodes.len())
        .map(|node| direction(graph, &places, node))
        .collect();
    // Stable: those in one direction stay in the order in which links lead to them.
    others.sort_by(|one, other| angles[*one].total_cmp(&angles[*other]));
    let clear = if hubs.is_empty() {
        0.0
    } else {
        inner + RINGS_APART
    };
    ring(&mut places, &others, radius(others.len(), ROOM).max(clear));
    places
}

/// Every node, those that are linked near to each other.
fn in_order(graph: &Graph) -> Vec<usize> {
    let mut is_seen = vec![false; graph.nodes.len()];
    let mut order = Vec::new();
    for start in 0..graph.nodes.len() {
        let mut next = VecDeque::from([start]);
        while let Some(node) = next.pop_front() {
            if std::mem::replace(&mut is_seen[node], true) {
                continue;
            }
            order.push(node);
            next.extend(neighbours(graph, node));
        }
    }
    order
}

fn neighbours(graph: &Graph, node: usize) -> impl Iterator<Item = usize> {
    graph.links.iter().filter_map(move |link| match link.ends {
        [one, other] if one == node => Some(other),
        [one, other] if other == node => Some(one),
        _ => None,
    })
}

/// The angle to the middle of a node's networks.
fn direction(graph: &Graph, places: &[(f64, f64)], node: usize) -> f64 {
    let (mut x, mut y) = (0.0, 0.0);
    for hub in neighbours(graph, node).filter(|hub| graph.nodes[*hub].kind == Kind::Network) {
        x += places[hub].0;
        y += places[hub].1;
    }
    f64::atan2(y, x).rem_euclid(TAU)
}

fn ring(places: &mut [(f64, f64)], nodes: &[usize], radius: f64) {
    let count = as_f64(nodes.len().max(1));
    for (at, node) in nodes.iter().enumerate() {
        let angle = TAU * as_f64(at) / count;
        places[*node] = (radius * angle.cos(), radius * angle.sin());
    }
}

/// Of a ring on which so many have that much room each.
fn radius(count: usize, room: f64) -> f64 {
    as_f64(count) * room / TAU
}

pub(crate) fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Pixels along the ring.
const ROOM: f64 = 130.0;
const HUB_ROOM: f64 = 220.0;
const RINGS_APART: f64 = 200.0;
