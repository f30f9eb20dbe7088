//! Where the points of a picture go.
//!
//! # Theory of operation
//!
//! Hosts, which have one line, stand in the last row, and every other point as many rows above as it is lines away from one: so leaves
//! come to stand above hosts, and spines above leaves. Without hosts, those with the most lines stand in the first row. Within a row, points are ordered by where their neighbours in the row
//! above stand, which keeps most lines from crossing. A ring, of which all points have equally many lines, is drawn as one.

use std::collections::VecDeque;

use super::Picture;
use crate::graph::place::as_f64;

/// Middles of the points, and the size of the whole.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) at: Vec<(f64, f64)>,
    pub(super) widths: Vec<f64>,
    /// By point; a ring has none.
    pub(super) rows: Vec<Option<usize>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Layout {
    pub(super) fn of(picture: &Picture<'_>) -> Self {
        let widths: Vec<f64> = picture
            .points
            .iter()
            .map(|point| {
                let letters = point
                    .name
                    .chars()
                    .count()
                    .max(point.kind.map_or(0, |kind| kind.chars().count()));
                (as_f64(letters) * LETTER + 28.0).max(BOX_WIDTH_LEAST)
            })
            .collect();
        let degrees = degrees(picture);
        let most = degrees.iter().copied().max().unwrap_or(0);
        let is_ring =
            picture.points.len() > 3 && degrees.iter().all(|degree| *degree == most) && most == 2;
        match is_ring {
            true => ring(picture, widths),
            false => rows(picture, widths, &degrees, most),
        }
    }
}

fn degrees(picture: &Picture<'_>) -> Vec<usize> {
    let mut degrees = vec![0; picture.points.len()];
    for end in picture.lines.iter().flat_map(|line| line.ends) {
        if let Some(degree) = degrees.get_mut(end) {
            *degree += 1;
        }
    }
    degrees
}

fn neighbours<'p>(picture: &'p Picture<'_>, point: usize) -> impl Iterator<Item = usize> + 'p {
    picture
        .lines
        .iter()
        .filter_map(move |line| match line.ends {
            [one, other] if one == point => Some(other),
            [one, other] if other == point => Some(one),
            _ => None,
        })
}

fn ring(picture: &Picture<'_>, widths: Vec<f64>) -> Layout {
    let mut order = vec![0];
    while let Some(last) = order.last().copied() {
        match neighbours(picture, last).find(|next| !order.contains(next)) {
            Some(next) => order.push(next),
            None => break,
        }
    }
    order.extend(
        (0..picture.points.len())
            .filter(|point| !order.contains(point))
            .collect::<Vec<_>>(),
    );
    let widest = widths.iter().copied().fold(0.0, f64::max);
    let radius = as_f64(order.len()) * (widest + GAP) / std::f64::consts::TAU;
    let radius = radius.max(110.0);
    let mut at = vec![(0.0, 0.0); order.len()];
    for (place, point) in order.iter().enumerate() {
        let angle = as_f64(place) / as_f64(order.len()) * std::f64::consts::TAU
            - std::f64::consts::FRAC_PI_2;
        let middle = (
            radius + widest / 2.0 + MARGIN,
            radius + BOX_HEIGHT / 2.0 + MARGIN,
        );
        if let Some(at) = at.get_mut(*point) {
            *at = (
                middle.0 + radius * angle.cos(),
                middle.1 + radius * angle.sin(),
            );
        }
    }
    Layout {
        rows: vec![None; order.len()],
        at,
        widths,
        width: 2.0 * (radius + MARGIN) + widest,
        height: 2.0 * (radius + MARGIN) + BOX_HEIGHT,
    }
}

fn rows(picture: &Picture<'_>, widths: Vec<f64>, degrees: &[usize], most: usize) -> Layout {
    let tiers = tiers(picture, degrees, most);
    let count = tiers.iter().max().map_or(0, |last| last + 1);
    let mut ordered: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (point, tier) in tiers.iter().enumerate() {
        if let Some(row) = ordered.get_mut(*tier) {
            row.push(point);
        }
    }
    let mut place = vec![0.0; tiers.len()];
    for row in &mut ordered {
        let mean = |point: usize, place: &[f64]| {
            let above =
                neighbours(picture, point).filter(|other| tiers.get(*other) < tiers.get(point));
            let places: Vec<f64> = above
                .filter_map(|other| place.get(other).copied())
                .collect();
            places.iter().sum::<f64>() / as_f64(places.len().max(1))
        };
        row.sort_by(|one, other| mean(*one, &place).total_cmp(&mean(*other, &place)));
        let length = as_f64(row.len().max(1));
        for (number_in_row, point) in row.iter().enumerate() {
            if let Some(place) = place.get_mut(*point) {
                *place = (as_f64(number_in_row) + 0.5) / length;
            }
        }
    }
    let width_of = |row: &Vec<usize>| {
        let boxes = row.iter().filter_map(|point| widths.get(*point));
        boxes.map(|width| width + GAP).sum::<f64>() - GAP
    };
    let widest = ordered.iter().map(width_of).fold(0.0, f64::max);
    let mut at = vec![(0.0, 0.0); tiers.len()];
    let top = MARGIN + arcs_height(picture, &tiers, &ordered);
    for (number_of_row, row) in ordered.iter().enumerate() {
        // What is left over goes between the boxes, so that rows are as wide as each other, within reason.
        let left = (widest - width_of(row)).max(0.0);
        let spread = left / as_f64(row.len() + 1);
        let mut x = MARGIN + spread;
        for point in row {
            let width = widths.get(*point).copied().unwrap_or(BOX_WIDTH_LEAST);
            if let Some(at) = at.get_mut(*point) {
                let y = top + BOX_HEIGHT / 2.0 + as_f64(number_of_row) * ROW;
                *at = (x + width / 2.0, y);
            }
            x += width + GAP + spread;
        }
    }
    Layout {
        at,
        rows: tiers.iter().copied().map(Some).collect(),
        width: widest + 2.0 * MARGIN,
        height: top + BOX_HEIGHT + as_f64(count.saturating_sub(1)) * ROW + MARGIN,
        widths,
    }
}

/// What lines within the first row need above it.
fn arcs_height(picture: &Picture<'_>, tiers: &[usize], ordered: &[Vec<usize>]) -> f64 {
    let first = ordered.first().map_or(&[][..], Vec::as_slice);
    let place = |point: usize| first.iter().position(|other| *other == point);
    let is_arc = |ends: [usize; 2]| match ends.map(place) {
        [Some(one), Some(other)] => one.abs_diff(other) > 1,
        _ => false,
    };
    let any = picture
        .lines
        .iter()
        .any(|line| tiers.get(line.ends[0]) == Some(&0) && is_arc(line.ends));
    if any { ARC } else { 0.0 }
}

/// In which row each point stands: as far from the hosts as it can, or, without hosts, near those with the most lines. What nothing
/// leads to is in the last row.
fn tiers(picture: &Picture<'_>, degrees: &[usize], most: usize) -> Vec<usize> {
    let has_hosts = degrees.contains(&1) && most > 1;
    let begin = if has_hosts { 1 } else { most };
    let mut far: Vec<Option<usize>> = degrees
        .iter()
        .map(|degree| (*degree == begin).then_some(0))
        .collect();
    let mut queue: VecDeque<usize> = (0..far.len())
        .filter(|point| degrees.get(*point) == Some(&begin))
        .collect();
    let mut last = 0;
    while let Some(point) = queue.pop_front() {
        let here = far.get(point).copied().flatten().unwrap_or(0);
        last = last.max(here);
        for other in neighbours(picture, point).collect::<Vec<_>>() {
            if let Some(unknown @ None) = far.get_mut(other) {
                *unknown = Some(here + 1);
                queue.push_back(other);
            }
        }
    }
    let rows = far.into_iter().map(|far| match (far, has_hosts) {
        (Some(far), true) => last - far,
        (Some(far), false) => far,
        (None, _) => last + 1,
    });
    rows.collect()
}

/// A count as a length.
pub(super) const BOX_HEIGHT: f64 = 40.0;
/// How high a line may rise above its row.
pub(super) const ARC: f64 = 60.0;
const BOX_WIDTH_LEAST: f64 = 76.0;
/// Of a letter in a box, at most.
const LETTER: f64 = 8.0;
const GAP: f64 = 44.0;
const ROW: f64 = 124.0;
const MARGIN: f64 = 24.0;
