//! A generated request as a `[[scenario]]` that can be pasted into its file and fails there as it did here: the file's own
//! replies and faults go for it too.

use std::fmt::Write as _;

use lockgate_api::{BreakerState, Health};
use serde_json::Value;

use super::generate::Case;
use crate::scenario::expect::{Expect, list, quoted};
use crate::world::{Failing, filler};

pub(super) fn scenario(name: &str, case: &Case, expect: &Expect) -> String {
    let mut text = String::new();
    let mut line = |what: String| {
        text.push_str(&what);
        text.push('\n');
    };
    line("[[scenario]]".to_owned());
    line(format!("name = {}", quoted(name)));
    line(format!("seed = {}", case.seed));
    line(format!("request = {}", inline(&case.body())));
    let labels: Vec<String> = case.labels.iter().map(ToString::to_string).collect();
    line(format!("labels = {}", list(&labels)));
    if !case.health.is_empty() {
        let states: Vec<String> =
            case.health.iter().map(|(id, health)| format!("{} = {}", quoted(id), state(health))).collect();
        line(format!("health = {{ {} }}", states.join(", ")));
    }
    line(format!("expect = {}", expect.to_toml()));
    for failure in &case.failures {
        line("[[scenario.reply]]".to_owned());
        line(format!("target = {}", quoted(&failure.target)));
        line(format!("error = {}", quoted(&error(failure.error))));
        if let Failing::CutAfter(pieces @ 1..) = failure.error {
            line(format!("text = {}", quoted(&filler(pieces))));
        }
        if let Some(times) = failure.times {
            line(format!("times = {times}"));
        }
    }
    text
}

fn state(health: &Health) -> String {
    let name = match health.breaker {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half-open",
        BreakerState::Open => "open",
    };
    let mut table = format!("{{ state = \"{name}\"");
    if health.in_flight > 0 {
        // Writing to a string cannot fail.
        let _ = write!(table, ", in_flight = {}", health.in_flight);
    }
    if let Some(queue) = health.queued {
        let _ = write!(table, ", queue = {queue}");
    }
    if let Some(rate) = health.error_rate {
        let _ = write!(table, ", error_rate = {rate:?}");
    }
    table + " }"
}

fn error(error: Failing) -> String {
    match error {
        Failing::Timeout => "timeout".to_owned(),
        Failing::Overloaded => "overloaded".to_owned(),
        Failing::Unavailable => "unavailable".to_owned(),
        Failing::Context => "context".to_owned(),
        Failing::CutAfter(pieces) => format!("cut-after:{pieces}"),
    }
}

/// A JSON value as TOML writes it on one line. A null has no form there and is left out.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<String> =
                fields.map(|(key, value)| format!("{} = {}", quoted(key), inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}
