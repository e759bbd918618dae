//! What an evaluation comes to, as plain figures and one sentence.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Choices;
use super::figures::{Interval, Point, area, fixed, hull, intervals, mix_at, outcome, point_of};
use super::neighbours;
use super::table::Table;

/// A policy's figures beside the baselines'. Scores and costs are means a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The policy's file.
    pub policy: String,
    /// Rows of the table.
    pub rows: usize,
    /// The policy's score and cost. A prompt that it sends nowhere scores and costs nothing.
    #[serde(flatten)]
    pub point: Point,
    /// Of the score, with 95 of 100 likelihood.
    pub score_interval: Interval,
    /// Of the cost.
    pub cost_interval: Interval,
    /// Where prompts went.
    pub shares: Vec<Share>,
    /// Prompts that went nowhere: refused, failed, or to no target of the table.
    pub nowhere: usize,
    /// Decisions that failed, by kind.
    pub failed: BTreeMap<String, u64>,
    /// Each target taken always, in the table's order.
    pub fixed: Vec<Baseline>,
    /// The one that scores best; the cheaper of equals.
    pub best_fixed: Baseline,
    /// Targets that taken always score no less and cost no more than the policy.
    pub fixed_that_win: Vec<String>,
    /// The score that a random mix of fixed targets has at the policy's cost; none when the policy costs less than
    /// every target.
    pub mix: Option<Comparison>,
    /// The policy's score less the best fixed target's.
    pub against_best_fixed: Comparison,
    /// The nearest neighbours' best at no more than the policy's cost.
    pub neighbours: Option<Baseline>,
    /// The best target of each prompt, the cheaper of equals.
    pub oracle: Baseline,
    /// Rows and scores by category, where the table has them.
    pub categories: BTreeMap<String, Category>,
    /// How score and cost go together as a setting varies.
    pub curve: Option<Curve>,
    /// What to make of it.
    pub verdict: String,
}

/// A target's part of the prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The target.
    pub target: String,
    /// Its prompts.
    pub prompts: usize,
    /// Of all, 0 to 1.
    pub share: f64,
}

/// A score and cost with a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Baseline {
    /// Whose.
    pub name: String,
    /// What they are.
    #[serde(flatten)]
    pub point: Point,
}

/// The policy's score less another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The other score.
    pub score: f64,
    /// The difference.
    pub difference: f64,
    /// The difference, with 95 of 100 likelihood.
    pub interval: Interval,
}

/// One kind of prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Category {
    /// Rows of it.
    pub rows: usize,
    /// The policy's figures.
    #[serde(flatten)]
    pub point: Point,
    /// The score of the table's best fixed target.
    pub best_fixed_score: f64,
}

/// A swept setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Its name.
    pub setting: String,
    /// What each value came to.
    pub points: Vec<Swept>,
    /// The mean score over the costs from the cheapest to the dearest target, mixes of the points included.
    pub area: f64,
    /// The same of mixes of fixed targets.
    pub area_fixed: f64,
    /// The same of the nearest neighbours.
    pub area_neighbours: f64,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Swept {
    /// Of the setting.
    pub value: String,
    /// Prompts that went nowhere with it, and score nothing.
    pub nowhere: usize,
    /// What it came to.
    #[serde(flatten)]
    pub point: Point,
}

impl Report {
    pub(super) fn of(
        policy: &str,
        table: &Table,
        choices: &Choices,
        failed: &BTreeMap<String, u64>,
        setting: Option<&str>,
        swept: Vec<Swept>,
    ) -> Self {
        let rows = table.rows.len();
        let point = point_of(table, choices);
        let points = fixed(table);
        let named = |place: usize| Baseline { name: table.targets[place].clone(), point: points[place] };
        let better = |a: &usize, b: &usize| {
            let (a, b) = (points[*a], points[*b]);
            a.score.total_cmp(&b.score).then(b.cost.total_cmp(&a.cost))
        };
        // A table has at least one target.
        let best = (0..points.len()).rev().max_by(better).unwrap_or(0);
        let learnt = neighbours::choices(table);
        let sampled = |sample: &[usize]| {
            let mean = |of: &dyn Fn(usize) -> Point| {
                let sum = sample.iter().fold(Point::default(), |sum, row| {
                    let one = of(*row);
                    Point { score: sum.score + one.score, cost: sum.cost + one.cost }
                });
                Point { score: sum.score / rows as f64, cost: sum.cost / rows as f64 }
            };
            let own = mean(&|row| outcome(table, row, choices[row]));
            let targets: Vec<_> =
                (0..points.len()).map(|place| mean(&|row| outcome(table, row, Some(place)))).collect();
            let mixed = mix_at(&hull(&targets), own.cost).unwrap_or(0.0);
            [own.score, own.cost, own.score - targets[best].score, own.score - mixed]
        };
        let [score_interval, cost_interval, to_best, to_mix] = intervals(rows, sampled);
        let compare =
            |score: f64, interval: Interval| Comparison { score, difference: point.score - score, interval };
        let mix = mix_at(&hull(&points), point.cost).map(|score| compare(score, to_mix));
        let against_best_fixed = compare(points[best].score, to_best);
        let wins = |place: &usize| points[*place].score >= point.score && points[*place].cost <= point.cost;
        let fixed_that_win: Vec<String> =
            (0..points.len()).filter(wins).map(|place| table.targets[place].clone()).collect();
        let affordable = learnt.iter().filter(|(_, learnt)| learnt.cost <= point.cost * (1.0 + 1e-9));
        let neighbours = affordable.max_by(|a, b| a.1.score.total_cmp(&b.1.score));
        let prompts = |place: usize| choices.iter().filter(|choice| **choice == Some(place)).count();
        let share = |place: usize| Share {
            target: table.targets[place].clone(),
            prompts: prompts(place),
            share: prompts(place) as f64 / rows as f64,
        };
        let verdict = verdict(&fixed_that_win, mix.as_ref(), &against_best_fixed, &table.targets[best]);
        Self {
            policy: policy.to_owned(),
            rows,
            point,
            score_interval,
            cost_interval,
            shares: (0..points.len()).map(share).collect(),
            nowhere: choices.iter().filter(|choice| choice.is_none()).count(),
            failed: failed.clone(),
            fixed: (0..points.len()).map(named).collect(),
            best_fixed: named(best),
            fixed_that_win,
            mix,
            against_best_fixed,
            neighbours: neighbours
                .map(|(_, point)| Baseline { name: "nearest neighbours".to_owned(), point: *point }),
            oracle: Baseline { name: "oracle".to_owned(), point: point_of(table, &oracle(table)) },
            categories: categories(table, choices, best),
            curve: setting.map(|setting| curve(setting, swept, &points, &learnt)),
            verdict,
        }
    }
}

fn oracle(table: &Table) -> Choices {
    let best = |row: &super::Row| {
        let worth = |a: &usize, b: &usize| {
            let (a, b) = (row.outcomes[*a], row.outcomes[*b]);
            a.score.total_cmp(&b.score).then(b.cost.total_cmp(&a.cost))
        };
        (0..row.outcomes.len()).rev().max_by(worth)
    };
    table.rows.iter().map(best).collect()
}

fn categories(table: &Table, choices: &Choices, best: usize) -> BTreeMap<String, Category> {
    let mut sums: BTreeMap<String, (usize, Point, f64)> = BTreeMap::new();
    for (row, choice) in choices.iter().enumerate() {
        let Some(category) = &table.rows[row].category else { continue };
        let (count, sum, fixed) = sums.entry(category.clone()).or_default();
        let one = outcome(table, row, *choice);
        *count += 1;
        sum.score += one.score;
        sum.cost += one.cost;
        *fixed += outcome(table, row, Some(best)).score;
    }
    let mean = |(name, (rows, sum, fixed)): (String, (usize, Point, f64))| {
        let count = rows as f64;
        let point = Point { score: sum.score / count, cost: sum.cost / count };
        (name, Category { rows, point, best_fixed_score: fixed / count })
    };
    sums.into_iter().map(mean).collect()
}

fn curve(setting: &str, swept: Vec<Swept>, fixed: &[Point], learnt: &[(Choices, Point)]) -> Curve {
    let costs = || fixed.iter().map(|point| point.cost);
    let (low, high) = (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max));
    let of = |points: Vec<Point>| area(&hull(&points), low, high);
    Curve {
        setting: setting.to_owned(),
        area: of(swept.iter().map(|at| at.point).collect()),
        area_fixed: of(fixed.to_vec()),
        area_neighbours: of(learnt.iter().map(|(_, point)| *point).collect()),
        points: swept,
    }
}

fn verdict(winners: &[String], mix: Option<&Comparison>, best: &Comparison, best_name: &str) -> String {
    if let [winner, ..] = winners {
        return format!(
            "the fixed target `{winner}` wins: taken always, it scores no less than the policy and costs no more"
        );
    }
    let beyond = |comparison: &Comparison| comparison.interval.low > 0.0;
    match mix {
        Some(mix) if mix.interval.high < 0.0 => {
            "a random mix of the targets scores better at the same cost: the policy chooses worse than chance"
                .to_owned()
        }
        _ if beyond(best) => {
            format!("the policy scores better than always taking the best fixed target `{best_name}`")
        }
        Some(mix) if beyond(mix) => {
            "the policy scores better than a random mix of the targets at the same cost".to_owned()
        }
        Some(_) => {
            "on this table the policy cannot be told from a random mix of the targets at the same cost"
                .to_owned()
        }
        None => "the policy costs less than every target taken always".to_owned(),
    }
}
