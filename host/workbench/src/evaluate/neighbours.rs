//! A baseline that needs no model: what scored best on the prompts most like this one.
//!
//! Likeness is the cosine of word counts weighted by rarity (TF-IDF). Each row is predicted from the others alone. Rows
//! beyond [`REFERENCES_MAX`] are predicted and not learnt from.

use std::collections::HashMap;

use super::Choices;
use super::figures::{Point, point_of};
use super::table::Table;

/// Neighbours that are asked.
const NEIGHBOURS: usize = 10;
/// Rows that may be neighbours.
const REFERENCES_MAX: usize = 5000;
/// How much score a mean prompt's cost may be worth: what is tried to find choices of other costs.
const WEIGHTS: [f64; 12] = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0];

/// For each weight of cost, what the neighbours choose and what that comes to; dearest first.
pub(super) fn choices(table: &Table) -> Vec<(Choices, Point)> {
    let expected = expected(table);
    let costs = table.rows.iter().flat_map(|row| &row.outcomes).map(|outcome| outcome.cost);
    let count = (table.rows.len() * table.targets.len()) as f64;
    let unit = (costs.sum::<f64>() / count).max(f64::MIN_POSITIVE);
    let choose = |weight: f64| {
        let choices = expected.iter().map(|points| {
            let worth = |place: &usize| points[*place].score - weight * points[*place].cost / unit;
            (0..points.len()).max_by(|a, b| worth(a).total_cmp(&worth(b)).then(b.cmp(a)))
        });
        choices.collect::<Choices>()
    };
    let all = WEIGHTS.iter().map(|weight| {
        let choices = choose(*weight);
        let point = point_of(table, &choices);
        (choices, point)
    });
    all.collect()
}

/// For each row, the mean of its neighbours' outcomes by target.
fn expected(table: &Table) -> Vec<Vec<Point>> {
    let references = table.rows.len().min(REFERENCES_MAX);
    let vectors = vectors(table);
    let mut places: HashMap<&str, Vec<(usize, f64)>> = HashMap::new();
    for (row, vector) in vectors.iter().enumerate().take(references) {
        for (word, weight) in vector {
            places.entry(*word).or_default().push((row, *weight));
        }
    }
    let mut likeness = vec![0.0; references];
    let rows = vectors.iter().enumerate().map(|(row, vector)| {
        likeness.fill(0.0);
        for (word, weight) in vector {
            for (other, theirs) in places.get(word).into_iter().flatten() {
                likeness[*other] += weight * theirs;
            }
        }
        let mut others: Vec<usize> = (0..references).filter(|other| *other != row).collect();
        others.sort_by(|a, b| likeness[*b].total_cmp(&likeness[*a]).then(a.cmp(b)));
        others.truncate(NEIGHBOURS);
        let count = others.len().max(1) as f64;
        let of = |place: usize| {
            let outcomes = others.iter().map(|other| table.rows[*other].outcomes[place]);
            let (score, cost) =
                outcomes.fold((0.0, 0.0), |(score, cost), one| (score + one.score, cost + one.cost));
            Point { score: score / count, cost: cost / count }
        };
        (0..table.targets.len()).map(of).collect()
    });
    rows.collect()
}

/// Words and their weights, of length 1 together.
fn vectors(table: &Table) -> Vec<Vec<(&str, f64)>> {
    let mut rows_with: HashMap<&str, f64> = HashMap::new();
    let mut counted = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let mut counts: HashMap<&str, f64> = HashMap::new();
        for word in
            row.prompt.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty())
        {
            *counts.entry(word).or_default() += 1.0;
        }
        for word in counts.keys() {
            *rows_with.entry(word).or_default() += 1.0;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        // A fixed order, so that sums are the same in each run.
        counts.sort_unstable_by(|a, b| a.0.cmp(b.0));
        counted.push(counts);
    }
    let total = table.rows.len() as f64;
    for counts in &mut counted {
        for (word, weight) in counts.iter_mut() {
            *weight = (1.0 + weight.ln()) * (total / rows_with[word]).ln().max(1e-3);
        }
        let length =
            counts.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        counts.iter_mut().for_each(|(_, weight)| *weight /= length);
    }
    counted
}
