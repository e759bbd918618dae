//! `policy evaluate`: a policy measured on a table of outcomes.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use lockgate_sandbox::Grant;
use lockgate_workbench::evaluate::{
    Baseline, Comparison, Report, Setup, Sweep, Table, evaluate as evaluate_table,
};

use super::{columns, setting};
use crate::args::EvaluateArgs;
use crate::failure::Failure;
use crate::terminal;

/// Values that a sweep may have.
const SWEEP_MAX: usize = 1000;

pub(super) fn evaluate(args: &EvaluateArgs) -> Result<(), Failure> {
    let table = read(&args.table)?;
    let sweep = args.sweep.as_deref().map(swept).transpose()?;
    let grants = args.grant.iter().map(|text| text.parse::<Grant>().map_err(Failure::unusable));
    let setup = Setup {
        settings: args.set.iter().map(|text| setting(text)).collect::<Result<_, _>>()?,
        grants: grants.collect::<Result<_, _>>()?,
        local: args.local.clone(),
    };
    let path = args.policy.display().to_string();
    let component = std::fs::read(&args.policy).with_context(|| format!("cannot read {path}"))?;
    let sandbox = super::sandbox()?;
    let name = args.policy.file_name().map_or(path.clone(), |name| name.to_string_lossy().into_owned());
    let report = evaluate_table(&sandbox, (&name, &component), &table, &setup, sweep.as_ref())
        .with_context(|| path.clone())?;
    if let Some(plot) = &args.plot {
        std::fs::write(plot, report.to_svg()).with_context(|| format!("cannot write {}", plot.display()))?;
    }
    terminal::result(&if args.json { serde_json::to_string_pretty(&report)? } else { describe(&report) })?;
    Ok(())
}

fn read(path: &Path) -> Result<Table, Failure> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let is = |ending: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    let table = if is("csv") {
        Table::from_csv(file)
    } else if is("jsonl") {
        Table::from_json_lines(BufReader::new(file))
    } else {
        return Err(Failure::unusable(format!("--table {name}: a table is a file NAME.csv or NAME.jsonl")));
    };
    Ok(table.with_context(|| name.to_string())?)
}

/// `NAME=FROM:TO:STEP`, or `NAME=A,B,C`.
fn swept(text: &str) -> Result<Sweep, Failure> {
    let wrong = |why: &str| Failure::unusable(format!("--sweep {text}: {why}"));
    let form = "it takes NAME=FROM:TO:STEP or NAME=A,B,C";
    let (setting, values) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| wrong(form))?;
    let values: Vec<String> = match values.split(':').collect::<Vec<_>>()[..] {
        [list] => list.split(',').map(str::to_owned).collect(),
        [from, to, step] => {
            let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
            let (Some(from), Some(to), Some(step)) = (number(from), number(to), number(step)) else {
                return Err(wrong(form));
            };
            let count = ((to - from) / step + 1e-9).floor();
            if step <= 0.0 || !(0.0..SWEEP_MAX as f64).contains(&count) {
                return Err(wrong(&format!("FROM:TO:STEP must rise, over at most {SWEEP_MAX} values")));
            }
            // Twelve digits: what adding steps loses is not shown.
            let value = |step_number: u32| ((from + step * f64::from(step_number)) * 1e12).round() / 1e12;
            (0..=count as u32).map(|number| value(number).to_string()).collect()
        }
        _ => return Err(wrong(form)),
    };
    Ok(Sweep { setting: setting.to_owned(), values })
}

fn describe(report: &Report) -> String {
    let line = |name: &str, score: f64, cost: f64, share: String| {
        vec![name.to_owned(), format!("{score:.4}"), format!("{:.6}", cost * 1e3), share]
    };
    let share = |name: &str| {
        report
            .shares
            .iter()
            .find(|share| share.target == name)
            .map_or(String::new(), |share| percent(share.share))
    };
    let baseline = |one: &Baseline, share: String| line(&one.name, one.point.score, one.point.cost, share);
    let mut rows = vec![["", "score", "USD for 1000", "of the policy's"].map(str::to_owned).to_vec()];
    rows.push(line(&report.policy, report.point.score, report.point.cost, String::new()));
    rows.extend(report.fixed.iter().map(|one| {
        let always = Baseline { name: format!("always {}", one.name), ..one.clone() };
        baseline(&always, share(&one.name))
    }));
    if let Some(mix) = &report.mix {
        rows.push(line("random mix at that cost", mix.score, report.point.cost, String::new()));
    }
    rows.extend(report.neighbours.iter().map(|one| baseline(one, String::new())));
    rows.push(baseline(&report.oracle, String::new()));
    let difference = |name: &str, one: &Comparison| {
        format!(
            "{name}: {:+.4} (95 %: {:+.4} to {:+.4})",
            one.difference, one.interval.low, one.interval.high
        )
    };
    let mut text = format!(
        "{} prompts\n\n{}\n\nscore, 95 %: {:.4} to {:.4}\n{}",
        report.rows,
        columns(&rows),
        report.score_interval.low,
        report.score_interval.high,
        difference(
            &format!("less the best fixed target's ({})", report.best_fixed.name),
            &report.against_best_fixed
        ),
    );
    if let Some(mix) = &report.mix {
        text.push_str(&format!("\n{}", difference("less the random mix's", mix)));
    }
    if report.nowhere > 0 {
        text.push_str(&format!("\n{} prompts went nowhere, and score nothing", report.nowhere));
    }
    for (kind, count) in &report.failed {
        text.push_str(&format!("\n{count} decisions failed: {kind}"));
    }
    if !report.categories.is_empty() {
        let mut rows = vec![["category", "prompts", "score", "best fixed"].map(str::to_owned).to_vec()];
        rows.extend(report.categories.iter().map(|(name, one)| {
            vec![
                name.clone(),
                one.rows.to_string(),
                format!("{:.4}", one.point.score),
                format!("{:.4}", one.best_fixed_score),
            ]
        }));
        text.push_str(&format!("\n\n{}", columns(&rows)));
    }
    if let Some(curve) = &report.curve {
        let mut rows =
            vec![[curve.setting.as_str(), "score", "USD for 1000", "nowhere"].map(str::to_owned).to_vec()];
        rows.extend(curve.points.iter().map(|at| {
            vec![
                at.value.clone(),
                format!("{:.4}", at.point.score),
                format!("{:.6}", at.point.cost * 1e3),
                at.nowhere.to_string(),
            ]
        }));
        text.push_str(&format!(
            "\n\n{}\n\narea under the curve: {:.4} (mixes of fixed targets {:.4}, nearest neighbours {:.4})",
            columns(&rows),
            curve.area,
            curve.area_fixed,
            curve.area_neighbours
        ));
    }
    format!("{text}\n\n{}", report.verdict)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
