//! For programs: one JSON object over all files.

use serde_json::{Value, json};

use super::{Counts, FileResult, NEVER_STATED};
use crate::run::{PropertyResult, StepResult};
use crate::scenario::Miss;
use crate::scenario::expect::finish_name;
use crate::session::Happened;
use crate::world::UsedBy;

/// Everything that came of these files.
pub fn json(files: &[FileResult]) -> Value {
    let counts = Counts::of(files);
    let all: Vec<Value> = files.iter().map(file).collect();
    let counted = |(held, all): (usize, usize)| json!({ "held": held, "failed": all - held });
    json!({
        "held": counts.exit_code() == 0,
        "scenarios": counted(counts.scenarios),
        "properties": counted(counts.properties),
        "unusable": counts.unusable,
        "files": all,
    })
}

fn file(file: &FileResult) -> Value {
    let (loaded, result) = match &file.outcome {
        Ok(outcome) => outcome,
        Err(problems) => return json!({ "file": file.path, "error": problems }),
    };
    let scenarios = result.scenarios.iter().zip(&loaded.suite.scenarios).map(|(scenario, stated)| {
        let steps: Vec<Value> = scenario.steps.iter().map(step).collect();
        json!({ "name": stated.name, "line": stated.line, "held": scenario.holds(), "requests": steps })
    });
    let properties = result.properties.iter().zip(&loaded.suite.properties).map(|(property, stated)| {
        let mut told = json!({
            "name": stated.name,
            "line": stated.line,
            "held": property.holds(),
            "runs": stated.runs,
            "seed": stated.seed,
        });
        tell(&mut told, property);
        told
    });
    json!({
        "file": file.path,
        "scenarios": scenarios.collect::<Vec<_>>(),
        "properties": properties.collect::<Vec<_>>(),
        "notes": loaded.notes,
    })
}

fn tell(told: &mut Value, property: &PropertyResult) {
    match &property.failure {
        Some(found) => {
            told["run"] = found.run.into();
            told["failures"] = found.misses.iter().map(miss).collect();
            told["happened"] = happened(&found.happened);
            told["scenario"] = found.scenario.as_str().into();
        }
        None if property.applied == 0 => {
            told["stated"] = 0.into();
            told["failures"] =
                json!([{ "field": "when", "expected": "a request that meets it", "happened": NEVER_STATED }]);
        }
        None => {
            told["stated"] = property.applied.into();
            told["used"] = used(&property.used);
        }
    }
}

fn step(step: &StepResult) -> Value {
    let mut told = happened(&step.happened);
    told["failures"] = step.misses.iter().map(miss).collect();
    told
}

fn miss(miss: &Miss) -> Value {
    json!({ "field": miss.field, "expected": miss.expected, "happened": miss.happened })
}

fn happened(happened: &Happened) -> Value {
    let labels: Vec<String> = happened.labels.iter().map(ToString::to_string).collect();
    let asked: Vec<Value> = happened
        .asked
        .iter()
        .map(|asked| json!({ "plugin": asked.plugin, "target": asked.target }))
        .collect();
    let sent: Vec<Value> = happened
        .sent
        .iter()
        .map(|sent| {
            json!({
                "target": sent.target,
                "kind": sent.kind.name(),
                "end": sent.end,
                "prompt_tokens": sent.prompt_tokens,
                "completion_tokens": sent.completion_tokens,
                "usd": sent.usd,
            })
        })
        .collect();
    let limits: Vec<&str> = happened.limits_hit().collect();
    json!({
        "outcome": happened.end.name(),
        "error": happened.error,
        "plan": happened.plan(),
        "reason": happened.reason(),
        "asked": asked,
        "sent": sent,
        "answered_by": happened.answered_by,
        "attempts": happened.attempts,
        "labels": labels,
        "text": happened.text,
        "finish": happened.finish.as_ref().map(finish_name),
        "cost_usd": happened.usd(),
        "virtual_ms": happened.virtual_ms,
        "limits_hit": limits,
        "used": used(&happened.used),
    })
}

fn used(all: &[UsedBy]) -> Value {
    let of = |(used, most): (u64, u64)| json!({ "used": used, "limit": most });
    let each = all.iter().map(|by| {
        json!({
            "plugin": by.plugin,
            "world": by.world.name(),
            "calls": by.calls,
            "fuel": of(by.fuel),
            "memory_bytes": of(by.memory_bytes),
            "host_calls": of(by.host_calls),
        })
    });
    each.collect()
}
