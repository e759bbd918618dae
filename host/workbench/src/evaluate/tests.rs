//! Tables, hulls and baselines on numbers that can be checked by hand.

use proptest::prelude::*;

use super::figures::{area, fixed, hull, intervals, mix_at, point_of};
use super::table::Outcome;
use super::*;

fn table(rows: &[(&str, [(f64, f64); 2])]) -> Table {
    let row = |(prompt, outcomes): &(&str, [(f64, f64); 2])| Row {
        prompt: (*prompt).to_owned(),
        category: None,
        outcomes: outcomes.map(|(score, cost)| Outcome { score, cost }).to_vec(),
    };
    Table { targets: vec!["small".to_owned(), "large".to_owned()], rows: rows.iter().map(row).collect() }
}

/// The small one is good at sums, the large one at everything, for money.
fn mixed() -> Table {
    let mut rows = Vec::new();
    for number in 0..20 {
        let prompt = if number % 2 == 0 { "add these numbers please" } else { "write a long tragic poem" };
        let small = if number % 2 == 0 { 1.0 } else { 0.0 };
        rows.push((prompt, [(small, 0.0), (1.0, 0.01)]));
    }
    table(&rows)
}

fn report(table: &Table, choices: &Choices) -> Report {
    Report::of("p.wasm", table, choices, &BTreeMap::new(), None, Vec::new())
}

#[test]
fn a_table_is_read_from_csv_and_json_lines_alike() {
    let csv =
        "prompt,small|score,small|cost,category,large|score,large|cost\n\"a, \"\"b\"\"\",0.5,0,x,1,0.01\n";
    let json = "{\"prompt\":\"a, \\\"b\\\"\",\"small|score\":0.5,\"small|cost\":0,\"category\":\"x\",\
                \"large|score\":1,\"large|cost\":0.01}\n\n";
    let read = Table::from_csv(csv.as_bytes()).expect("it is a table");
    assert_eq!(read, Table::from_json_lines(json.as_bytes()).expect("it is a table"));
    assert_eq!((&*read.rows[0].prompt, read.rows[0].category.as_deref()), ("a, \"b\"", Some("x")));
    assert_eq!(read.rows[0].outcomes[1], Outcome { score: 1.0, cost: 0.01 });
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_its_line() {
    let of = |text: &str| Table::from_csv(text.as_bytes()).expect_err("it is wrong").to_string();
    assert!(of("text,a|score,a|cost\n").contains("no column prompt"));
    assert!(of("prompt,a|cost\n").contains("no column TARGET|score"));
    assert!(of("prompt,a|score\n").contains("no column a|cost"));
    assert!(of("prompt,a|score,a|cost\n").contains("no row"));
    assert!(of("prompt,a|score,a|cost,a|score\nx,1,2,0\n").contains("the column a|score is there twice"));
    assert!(of("prompt,prompt,a|score,a|cost\nx,y,1,2\n").contains("the column prompt is there twice"));
    assert_eq!(
        of("prompt,a|score,a|cost\nx,1,2\ny,good,2\n"),
        "line 3: `a|score` is `good`, which is no number"
    );
    assert!(of("prompt,a|score,a|cost\nx,1,-2\n").contains("at least 0"));
    assert!(of("prompt,a|score,a|cost\nx,NaN,2\n").contains("finite"));
    assert!(of("prompt,a|score,a|cost\nx,1\n").starts_with("line 2: "));
    let of = |text: &str| Table::from_json_lines(text.as_bytes()).expect_err("it is wrong").to_string();
    assert!(of("{\"prompt\":\"x\",\"a|score\":1,\"a|cost\":1}\n[]\n").starts_with("line 2: no JSON object"));
    assert!(
        of("{\"prompt\":\"x\",\"a|score\":1,\"a|cost\":1}\n{\"prompt\":\"y\",\"a|score\":1}\n")
            .contains("`a|cost`")
    );
}

#[test]
fn the_oracle_and_a_perfect_policy_agree_and_no_fixed_target_wins() {
    let table = mixed();
    let perfect: Choices = (0..20).map(|row| Some(row % 2)).collect();
    let report = report(&table, &perfect);
    assert_eq!((report.point, report.oracle.point), (report.oracle.point, report.point));
    assert_eq!(report.point.score, 1.0);
    assert!((report.point.cost - 0.005).abs() < 1e-12);
    assert_eq!(report.best_fixed.name, "large");
    assert!(report.fixed_that_win.is_empty());
    // Half of each at random scores three quarters.
    let mix = report.mix.expect("it costs more than the cheapest");
    assert!((mix.score - 0.75).abs() < 1e-12 && (mix.difference - 0.25).abs() < 1e-12);
    assert!(mix.interval.low > 0.0);
    assert!(report.verdict.contains("random mix"), "{}", report.verdict);
    // The neighbours find it out by the words.
    assert_eq!(report.neighbours.expect("they are affordable").point.score, 1.0);
}

#[test]
fn a_policy_that_a_fixed_target_beats_is_told_so() {
    let table = mixed();
    let all_large: Choices = vec![Some(1); 20];
    let worst: Choices = (0..20).map(|row| Some((row + 1) % 2)).collect();
    assert_eq!(report(&table, &all_large).fixed_that_win, ["large"]);
    let report = report(&table, &worst);
    assert_eq!(report.fixed_that_win, ["small"]);
    assert!(report.verdict.contains("`small` wins"), "{}", report.verdict);
}

#[test]
fn what_goes_nowhere_scores_nothing() {
    let table = mixed();
    let nowhere: Choices = vec![None; 20];
    let report = report(&table, &nowhere);
    assert_eq!((report.point.score, report.point.cost, report.nowhere), (0.0, 0.0, 20));
}

#[test]
fn a_curve_of_mixes_has_the_area_of_its_mixes() {
    let table = mixed();
    let swept = fixed(&table)
        .into_iter()
        .enumerate()
        .map(|(place, point)| Swept { value: place.to_string(), nowhere: 0, point })
        .collect();
    let all_small: Choices = vec![Some(0); 20];
    let report = Report::of("p", &table, &all_small, &BTreeMap::new(), Some("threshold"), swept);
    let curve = report.curve.clone().expect("a setting was swept");
    assert!((curve.area - curve.area_fixed).abs() < 1e-12 && (curve.area - 0.75).abs() < 1e-12);
    assert!(curve.area_neighbours > curve.area);
    let svg = report.to_svg();
    for part in ["mean score", "USD for 1000", "oracle", "nearest neighbours", "prefers-color-scheme:dark"] {
        assert!(svg.contains(part), "{part}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn intervals_are_the_same_each_time_and_hold_the_mean() {
    let values: Vec<f64> = (0..100).map(f64::from).collect();
    let of = || intervals(100, |sample| [sample.iter().map(|row| values[*row]).sum::<f64>() / 100.0]);
    let [interval] = of();
    assert_eq!(of(), [interval]);
    assert!(interval.low < 49.5 && 49.5 < interval.high && interval.high - interval.low < 15.0);
}

proptest! {
    /// A hull reaches at least every point that it was made of, and rises ever more slowly.
    #[test]
    fn no_point_lies_above_the_hull(points in prop::collection::vec((0.0_f64..1.0, 0.0_f64..1.0), 1..20)) {
        let points: Vec<Point> = points.into_iter().map(|(score, cost)| Point { score, cost }).collect();
        let hull = hull(&points);
        for point in &points {
            let reached = mix_at(&hull, point.cost);
            prop_assert!(reached.is_some_and(|score| score >= point.score - 1e-9));
        }
        for pair in hull.windows(2) {
            prop_assert!(pair[0].cost <= pair[1].cost && pair[0].score < pair[1].score);
        }
        let area = area(&hull, 0.0, 1.0);
        let best = points.iter().map(|point| point.score).fold(0.0, f64::max);
        prop_assert!((0.0..=best + 1e-9).contains(&area));
    }

    /// Whatever is chosen, the oracle is no worse.
    #[test]
    fn the_oracle_is_never_beaten(
        rows in prop::collection::vec([(0.0_f64..1.0, 0.0_f64..1.0), (0.0_f64..1.0, 0.0_f64..1.0)], 1..12),
        chosen in prop::collection::vec(0_usize..2, 12),
    ) {
        let table = table(&rows.iter().map(|row| ("p", *row)).collect::<Vec<_>>());
        let choices: Choices = (0..rows.len()).map(|row| Some(chosen[row])).collect();
        let report = report(&table, &choices);
        prop_assert!(report.oracle.point.score >= point_of(&table, &choices).score - 1e-12);
    }
}
