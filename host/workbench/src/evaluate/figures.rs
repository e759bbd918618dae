//! Means, hulls and confidence: the arithmetic of an evaluation. Pure; chance comes from fixed seeds.

use serde::Serialize;

use super::Choices;
use super::table::Table;
use crate::world::next;

/// Samples that intervals are taken from.
const SAMPLES: usize = 1000;
const SEED: u64 = 1;

/// A mean score at a mean cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Mean score.
    pub score: f64,
    /// Mean USD a prompt.
    pub cost: f64,
}

/// What 95 of 100 samples lie in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// 2.5 of 100 lie below.
    pub low: f64,
    /// 2.5 of 100 lie above.
    pub high: f64,
}

/// What a row comes to under a choice; nothing for one that goes nowhere.
pub(super) fn outcome(table: &Table, row: usize, choice: Option<usize>) -> Point {
    choice.map_or(Point::default(), |place| {
        let outcome = table.rows[row].outcomes[place];
        Point { score: outcome.score, cost: outcome.cost }
    })
}

/// The mean over all rows.
pub(super) fn point_of(table: &Table, choices: &Choices) -> Point {
    mean(choices.iter().enumerate().map(|(row, choice)| outcome(table, row, *choice)))
}

/// The means of always taking each target.
pub(super) fn fixed(table: &Table) -> Vec<Point> {
    let of = |place| mean((0..table.rows.len()).map(|row| outcome(table, row, Some(place))));
    (0..table.targets.len()).map(of).collect()
}

fn mean(points: impl Iterator<Item = Point>) -> Point {
    let (mut sum, mut count) = (Point::default(), 0_u32);
    for point in points {
        sum.score += point.score;
        sum.cost += point.cost;
        count += 1;
    }
    let count = f64::from(count.max(1));
    Point { score: sum.score / count, cost: sum.cost / count }
}

/// The corners of what random mixes of these points can reach: cheapest first, each better than the one before, and
/// ever less worth its money.
pub(super) fn hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.score.total_cmp(&a.score)));
    let mut hull: Vec<Point> = Vec::new();
    for point in sorted {
        if hull.last().is_some_and(|last| point.score <= last.score) {
            continue;
        }
        while let [.., before, last] = hull[..] {
            let turn = (last.cost - before.cost) * (point.score - before.score)
                - (last.score - before.score) * (point.cost - before.cost);
            if turn < 0.0 {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

/// The best score that random mixes of the hull's points have at this cost; none below the cheapest.
pub(super) fn mix_at(hull: &[Point], cost: f64) -> Option<f64> {
    let (first, last) = (hull.first()?, hull.last()?);
    if cost < first.cost {
        return None;
    }
    if cost >= last.cost {
        return Some(last.score);
    }
    let above = hull.partition_point(|point| point.cost <= cost);
    let (a, b) = (hull[above - 1], hull[above]);
    Some(a.score + (b.score - a.score) * (cost - a.cost) / (b.cost - a.cost))
}

/// The mean score of a hull over a range of costs. Below its cheapest point it scores nothing, beyond its dearest as
/// much as there.
pub(super) fn area(hull: &[Point], low: f64, high: f64) -> f64 {
    let (Some(first), Some(last)) = (hull.first(), hull.last()) else { return 0.0 };
    if high <= low {
        return mix_at(hull, low).unwrap_or(0.0);
    }
    let mut sum = (high - last.cost.max(low)).max(0.0) * last.score;
    for pair in hull.windows(2) {
        let (from, to) = (pair[0].cost.clamp(low, high), pair[1].cost.clamp(low, high));
        if let (Some(a), Some(b)) = (mix_at(hull, from), mix_at(hull, to)) {
            sum += (to - from) * (a + b) / 2.0;
        }
    }
    debug_assert!(first.cost <= last.cost, "a hull goes from cheap to dear");
    sum / (high - low)
}

/// Intervals of figures that follow from the rows, by drawing as many rows with repetition again and again.
pub(super) fn intervals<const N: usize>(
    rows: usize,
    figures: impl Fn(&[usize]) -> [f64; N],
) -> [Interval; N] {
    let mut state = SEED;
    let mut found: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(SAMPLES));
    let mut sample = vec![0; rows];
    for _ in 0..SAMPLES {
        for place in &mut sample {
            // A 64-bit number by far fewer rows: the remainder is as good as uniform.
            *place = (next(&mut state) % rows as u64) as usize;
        }
        for (values, value) in found.iter_mut().zip(figures(&sample)) {
            values.push(value);
        }
    }
    found.map(|mut values| {
        values.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| values[((SAMPLES - 1) as f64 * share).round() as usize];
        Interval { low: at(0.025), high: at(0.975) }
    })
}
