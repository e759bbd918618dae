//! `policy replay`: recorded requests decided again, and what would change.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use lockgate_sandbox::Sandbox;
use lockgate_workbench::replay::{Candidate, ReplayError, Report, Tally, replay as replay_log};

use super::{columns, setting};
use crate::args::ReplayArgs;
use crate::failure::Failure;
use crate::terminal;

pub(super) fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let settings = args.set.iter().map(|text| setting(text)).collect::<Result<Vec<_>, _>>()?;
    let sandbox = super::sandbox()?;
    let mut policy = candidate(&sandbox, &args.policy, &settings)?;
    // The recorded settings are the old version's own.
    let mut against = args.against.as_deref().map(|path| candidate(&sandbox, path, &[])).transpose()?;
    let name = args.log.display();
    let log = File::open(&args.log).with_context(|| format!("cannot read {name}"))?;
    let report = match replay_log(BufReader::new(log), &mut policy, against.as_mut()) {
        Ok(report) => report,
        // It names the component.
        Err(error @ ReplayError::Load { .. }) => return Err(anyhow::Error::from(error).into()),
        Err(error) => return Err(anyhow::Error::from(error).context(name.to_string()).into()),
    };
    if report.torn > 0 {
        terminal::note(&format!("note: {name}: {} lines break off and are left out", report.torn));
    }
    if report.requests == 0 {
        return Err(Failure::unusable(format!(
            "{name} holds no request: the server writes them with log_requests on"
        )));
    }
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { describe(&report) };
    terminal::result(&text)?;
    if report.after.label_violations > 0 {
        return Err(Failure::negative(format!(
            "{} plans name targets that their request's labels forbid",
            report.after.label_violations
        )));
    }
    Ok(())
}

/// Nothing is free for want of a price.
fn usd(known: Option<f64>) -> String {
    known.map_or("not known".to_owned(), |usd| format!("{usd:.6}"))
}

fn candidate(sandbox: &Sandbox, path: &Path, settings: &[(String, String)]) -> Result<Candidate, Failure> {
    Ok(Candidate::read(sandbox, path, settings).with_context(|| format!("cannot read {}", path.display()))?)
}

fn describe(report: &Report) -> String {
    let before = report.against.as_deref().unwrap_or("recorded");
    let mut text = format!(
        "{} requests: {} decided again, {} never routed, {} with their content withheld\n\
         {} decided exactly as before, {} moved\n\n",
        report.requests,
        report.replayed,
        report.not_routed,
        report.content_withheld,
        report.identical,
        report.moved
    );
    let row = |name: &str, of: &dyn Fn(&Tally) -> String| {
        vec![name.to_owned(), of(&report.before), of(&report.after)]
    };
    let sides = [
        vec![String::new(), before.to_owned(), report.policy.clone()],
        row("refused", &|side| side.refused.to_string()),
        row("failed", &|side| side.failed.values().sum::<u64>().to_string()),
        row("label violations", &|side| side.label_violations.to_string()),
        row("cost, USD", &|side| usd((side.costs.requests > 0).then_some(side.costs.usd))),
        row("  of requests", &|side| side.costs.requests.to_string()),
        row("expected time, ms", &|side| {
            side.expected_ms.map_or("not known".to_owned(), |time| format!("{time:.0}"))
        }),
    ];
    text.push_str(&columns(&sides));
    for (kind, count) in &report.after.failed {
        text.push_str(&format!("\n{count} failed: {kind}"));
    }
    if report.reviews_identical + report.reviews_different > 0 {
        text.push_str(&format!(
            "\n\n{} recorded answers judged as they were, {} differently",
            report.reviews_identical, report.reviews_different
        ));
    }
    if report.asks_unanswered > 0 {
        text.push_str(&format!(
            "\n\n{} times the policy asked a model what the log has no answer to; it was told that the model is \
             unavailable",
            report.asks_unanswered
        ));
    }
    if !report.flows.is_empty() {
        let mut rows =
            vec![["moved from → to", "requests", "USD before", "USD now"].map(str::to_owned).to_vec()];
        rows.extend(report.flows.iter().map(|flow| {
            vec![
                format!("{} → {}", flow.from, flow.to),
                flow.requests.to_string(),
                usd(flow.usd_before),
                usd(flow.usd_after),
            ]
        }));
        text.push_str(&format!("\n\n{}", columns(&rows)));
    }
    if !report.largest.is_empty() {
        let mut rows =
            vec![["moved most money", "line", "USD before", "USD now"].map(str::to_owned).to_vec()];
        rows.extend(report.largest.iter().map(|moved| {
            vec![
                format!("{} {} → {}", moved.request_id, moved.from, moved.to),
                moved.line.to_string(),
                format!("{:.6}", moved.usd_before),
                format!("{:.6}", moved.usd_after),
            ]
        }));
        text.push_str(&format!("\n\n{}", columns(&rows)));
    }
    text
}
