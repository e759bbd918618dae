//! For people: each scenario with what was expected and what happened side by side, and the share of limits used.

use std::fmt::Write as _;

use super::{Counts, FileResult, NEVER_STATED, shares};
use crate::run::{PropertyResult, ScenarioResult, merge_used};
use crate::scenario::Miss;
use crate::session::Happened;

/// Columns that names are filled up to.
const NAME_COLUMNS: usize = 52;
/// Characters of a text that are shown of what happened.
const SHOWN_CHARS_MAX: usize = 400;
/// Lines of plugins' logs that are shown of a scenario that does not hold.
const LOG_LINES_MAX: usize = 20;

/// One file's results.
pub fn file(file: &FileResult) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    let (loaded, result) = match &file.outcome {
        Ok(outcome) => outcome,
        Err(problems) => {
            let _ = writeln!(text, "{problems}");
            return text;
        }
    };
    let _ = writeln!(text, "{}", file.path);
    for (scenario, stated) in result.scenarios.iter().zip(&loaded.suite.scenarios) {
        self::scenario(&mut text, &stated.name, scenario);
    }
    for (property, stated) in result.properties.iter().zip(&loaded.suite.properties) {
        self::property(&mut text, &stated.name, stated.runs, property);
    }
    text
}

/// The last lines of a command's output.
pub fn summary(files: &[FileResult]) -> String {
    let counts = Counts::of(files);
    let mut used = Vec::new();
    for (_, result) in files.iter().filter_map(|file| file.outcome.as_ref().ok()) {
        for step in result.scenarios.iter().flat_map(|scenario| &scenario.steps) {
            merge_used(&mut used, &step.happened.used);
        }
        result.properties.iter().for_each(|property| merge_used(&mut used, &property.used));
    }
    let mut text = String::new();
    if !used.is_empty() {
        text.push_str("\nmost of each limit used in one call\n");
    }
    for by in &used {
        let [fuel, memory, calls] = shares(std::slice::from_ref(by));
        let name = format!("{} ({})", by.plugin, by.world);
        let _ = writeln!(
            text,
            "  {name:NAME_COLUMNS$} fuel {fuel:5.1} %  memory {memory:5.1} %  host calls {calls:5.1} %"
        );
    }
    let _ = write!(
        text,
        "\n{} of {} scenarios hold, {} of {} properties",
        counts.scenarios.0, counts.scenarios.1, counts.properties.0, counts.properties.1
    );
    if counts.unusable > 0 {
        let _ = write!(text, "; {} could not be run", files_of(counts.unusable));
    }
    text.push('\n');
    text
}

fn files_of(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn scenario(text: &mut String, name: &str, result: &ScenarioResult) {
    let mut used = Vec::new();
    result.steps.iter().for_each(|step| merge_used(&mut used, &step.happened.used));
    let [fuel, memory, calls] = shares(&used);
    let time: u64 = result.steps.iter().map(|step| step.happened.virtual_ms).sum();
    let word = if result.holds() { "ok  " } else { "FAIL" };
    let _ = writeln!(
        text,
        "  {word}  {name:NAME_COLUMNS$} {time:>7} ms  fuel {fuel:.1} %  memory {memory:.1} %  host calls {calls:.1} %"
    );
    if result.holds() {
        return;
    }
    for (place, step) in result.steps.iter().enumerate().filter(|(_, step)| !step.misses.is_empty()) {
        if result.steps.len() > 1 {
            let _ = writeln!(text, "        request {}", place + 1);
        }
        misses(text, &step.misses);
        happened(text, &step.happened);
    }
}

fn misses(text: &mut String, misses: &[Miss]) {
    for Miss { field, expected, happened } in misses {
        let _ = writeln!(text, "        expected  {field} = {}", shown(expected));
        let _ =
            writeln!(text, "        happened  {}{}", " ".repeat(field.chars().count() + 3), shown(happened));
    }
}

/// What leads to the reason of a failure.
fn happened(text: &mut String, happened: &Happened) {
    let mut line = |name: &str, what: &str| {
        if !what.is_empty() {
            let _ = writeln!(text, "          {name:10}{}", shown(what));
        }
    };
    line("plan", &happened.plan().join(", "));
    line("reason", happened.reason());
    let asked: Vec<String> = happened
        .sent
        .iter()
        .map(|sent| format!("{} {}: {}", sent.target, sent.kind.name(), sent.end))
        .collect();
    line("sent", &asked.join(", "));
    line("error", happened.error.as_deref().unwrap_or_default());
    let failures: Vec<String> =
        happened.failures.iter().map(|(plugin, error)| format!("{plugin}: {error}")).collect();
    line("plugins", &failures.join("; "));
    for logged in happened.lines.iter().take(LOG_LINES_MAX) {
        line("log", logged);
    }
}

fn property(text: &mut String, name: &str, runs: u32, result: &PropertyResult) {
    let word = if result.holds() { "ok  " } else { "FAIL" };
    match &result.failure {
        None if result.applied == 0 => {
            let _ = writeln!(text, "  {word}  {name:NAME_COLUMNS$} {runs:>7} runs");
            let _ = writeln!(text, "        {NEVER_STATED}");
        }
        None => {
            let [fuel, memory, calls] = shares(&result.used);
            let applied = result.applied;
            let stated = if applied == runs { String::new() } else { format!(" ({applied} stated)") };
            let _ = writeln!(
                text,
                "  {word}  {name:NAME_COLUMNS$} {runs:>7} runs{stated}  fuel {fuel:.1} %  memory {memory:.1} %  host calls {calls:.1} %"
            );
        }
        Some(found) => {
            let _ = writeln!(text, "  {word}  {name:NAME_COLUMNS$} run {}", found.run);
            misses(text, &found.misses);
            happened(text, &found.happened);
            let _ = writeln!(text, "        made as small as it goes; to keep it as a scenario, paste:\n");
            let _ = writeln!(text, "{}", found.scenario);
        }
    }
}

/// Not more of a text than one reads.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    shown = shown.replace('\n', "\n            ");
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        let _ = write!(shown, "… ({} characters)", text.chars().count());
    }
    shown
}
