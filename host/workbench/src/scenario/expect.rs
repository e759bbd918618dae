//! What a scenario expects, and how what happened differs from it.
//!
//! `plan`, `planned`, `never_locality`, `never_target` and `healthy_first` judge what was asked for, plugins' own calls included,
//! before the host's check; everything else judges what happened.

use std::fmt::Write as _;

use lockgate_api::{BreakerState, FinishReason, Health, Labels, Locality, permit};

use super::planned::{self, PlannedLike};
use crate::session::{End, Happened};
use crate::world::World;

/// What must hold. Nothing is expected of a field that is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// The plan's targets, in order.
    pub plan: Option<Vec<String>>,
    /// What attempts of it are like.
    pub planned: Vec<PlannedLike>,
    /// Who answers.
    pub answered_by: Option<String>,
    /// Localities of which no target is asked for.
    pub never_locality: Vec<Locality>,
    /// Targets that are not asked for.
    pub never_target: Vec<String>,
    /// Whether the plan begins with a target whose breaker is not open, where there is a permitted one.
    pub healthy_first: Option<bool>,
    /// How the request ends.
    pub outcome: Option<End>,
    /// The most that everything sent may cost.
    pub max_cost_usd: Option<f64>,
    /// Parts of the plan's or refusal's reason.
    pub reason_contains: Vec<String>,
    /// The whole text of the answer.
    pub text: Option<String>,
    /// Parts of it.
    pub text_contains: Vec<String>,
    /// What is no part of it.
    pub text_lacks: Vec<String>,
    /// Parts of what reached some target.
    pub sent_contains: Vec<String>,
    /// What reached no target.
    pub sent_lacks: Vec<String>,
    /// The labels at the end, no more and no fewer.
    pub labels: Option<Labels>,
    /// Attempts made.
    pub attempts: Option<u32>,
    /// The most attempts that may be made.
    pub max_attempts: Option<u32>,
    /// The longest that it may take.
    pub max_virtual_ms: Option<u64>,
    /// Why the answer ends.
    pub finish: Option<String>,
    /// Whether a plugin runs into a limit, or into which.
    pub limit_hit: Option<LimitHit>,
}

/// Which limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitHit {
    /// Any, or none.
    Any(bool),
    /// The one of this name.
    Named(String),
}

/// One expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The expectation's name.
    pub field: &'static str,
    /// What it says, as in the file.
    pub expected: String,
    /// What was instead, in the same form.
    pub happened: String,
}

/// Names of limits that stand for one thing.
const SAME_LIMITS: &[(&str, &str)] = &[
    ("time", "fuel"),
    ("cpu", "fuel"),
    ("time ms", "fuel"),
    ("memory mib", "memory"),
    ("output kib", "output"),
    ("input kib", "input"),
];
/// What else the words of a limit begin with.
const LIMITS: &[&str] = &[
    "fuel",
    "memory",
    "tables",
    "host calls",
    "output",
    "input",
    "stack",
    "handles",
    "stop texts",
    "random bytes",
    "text held back",
    "the note",
    "the plan's reason",
    "the refusal's reason",
    "the reason of the stop",
    "the reason of the verdict",
    "limit put in by a test",
];

/// The names that a limit may be called by, with dashes.
pub(super) fn limit_names() -> impl Iterator<Item = String> {
    let aliases = SAME_LIMITS.iter().map(|(alias, _)| *alias);
    LIMITS.iter().copied().chain(aliases).map(|name| name.replace(' ', "-"))
}

impl Expect {
    /// Everything that does not hold.
    pub fn misses(&self, world: &World, health: &[(String, Health)], happened: &Happened) -> Vec<Miss> {
        let mut misses = Vec::new();
        let mut miss =
            |field, expected: String, happened: String| misses.push(Miss { field, expected, happened });
        if !happened.unmatched.is_empty() {
            let what = happened.unmatched.join("; ");
            miss("reply", "a [[reply]] for every call".to_owned(), what);
        }
        if let Some(plan) = &self.plan
            && *plan != happened.plan()
        {
            miss("plan", list(plan), list(&happened.plan()));
        }
        self.attempts(happened, &mut miss);
        let asked_in = |locality: Locality| {
            happened
                .asked
                .iter()
                .find(|asked| world.target(&asked.target).is_some_and(|sim| sim.target.locality == locality))
        };
        for locality in &self.never_locality {
            if let Some(asked) = asked_in(*locality) {
                let what = format!("`{}` asked for `{}` ({locality})", asked.plugin, asked.target);
                miss("never_locality", list(&[locality.name()]), what);
            }
        }
        for id in &self.never_target {
            if let Some(asked) = happened.asked.iter().find(|asked| asked.target == *id) {
                miss("never_target", list(&[id]), format!("`{}` asked for `{id}`", asked.plugin));
            }
        }
        if let Some(wanted) = self.healthy_first {
            self.health(wanted, world, health, happened, &mut miss);
        }
        if let Some(outcome) = self.outcome
            && outcome != happened.end
        {
            let why = happened.error.as_deref().map_or(String::new(), |error| format!(" ({error})"));
            miss("outcome", quoted(outcome.name()), format!("{}{why}", quoted(happened.end.name())));
        }
        if let Some(id) = &self.answered_by
            && happened.answered_by.as_ref() != Some(id)
        {
            let by = happened.answered_by.as_deref().map_or("nobody".to_owned(), quoted);
            miss("answered_by", quoted(id), by);
        }
        if let Some(most) = self.max_cost_usd {
            match happened.usd() {
                // Beyond what adding in another order may change.
                Some(usd) if usd <= most + 1e-12 => {}
                Some(usd) => miss("max_cost_usd", most.to_string(), format!("{usd:.9}")),
                None => miss("max_cost_usd", most.to_string(), "not known: a target has no price".to_owned()),
            }
        }
        self.texts(happened, &mut miss);
        if let Some(labels) = &self.labels
            && *labels != happened.labels
        {
            miss("labels", label_list(labels), label_list(&happened.labels));
        }
        if let Some(attempts) = self.attempts
            && attempts != happened.attempts
        {
            miss("attempts", attempts.to_string(), happened.attempts.to_string());
        }
        if let Some(most) = self.max_attempts
            && happened.attempts > most
        {
            miss("max_attempts", most.to_string(), happened.attempts.to_string());
        }
        if let Some(most) = self.max_virtual_ms
            && happened.virtual_ms > most
        {
            miss("max_virtual_ms", most.to_string(), happened.virtual_ms.to_string());
        }
        if let Some(wanted) = &self.finish {
            let finish = happened.finish.as_ref().map_or("none", finish_name);
            if wanted != finish {
                miss("finish", quoted(wanted), quoted(finish));
            }
        }
        match &self.limit_hit {
            None => {}
            Some(LimitHit::Any(wanted)) => {
                let hit: Vec<&str> = happened.limits_hit().collect();
                if *wanted == hit.is_empty() {
                    let what = if hit.is_empty() { "none".to_owned() } else { hit.join("; ") };
                    miss("limit_hit", wanted.to_string(), what);
                }
            }
            Some(LimitHit::Named(name)) if !happened.limits_hit().any(|hit| names(name, hit)) => {
                let hit: Vec<&str> = happened.limits_hit().collect();
                let what = if hit.is_empty() { "none".to_owned() } else { hit.join("; ") };
                miss("limit_hit", quoted(name), what);
            }
            Some(LimitHit::Named(_)) => {}
        }
        misses
    }

    /// Each attempt that is described is in the plan as it is described.
    fn attempts(&self, happened: &Happened, miss: &mut impl FnMut(&'static str, String, String)) {
        for wanted in &self.planned {
            if !happened.attempts_planned().any(|attempt| wanted.holds(attempt)) {
                let is: Vec<PlannedLike> = happened.attempts_planned().map(PlannedLike::of).collect();
                miss("planned", wanted.to_toml(), planned::list(&is));
            }
        }
    }

    fn health(
        &self,
        wanted: bool,
        world: &World,
        own: &[(String, Health)],
        happened: &Happened,
        miss: &mut impl FnMut(&'static str, String, String),
    ) {
        let is_up = |id: &str| {
            let own = own.iter().find(|(target, _)| target == id).map(|(_, health)| health.breaker);
            let stated = world.target(id).map(|sim| sim.health.breaker);
            own.or(stated) != Some(BreakerState::Open)
        };
        let could = world
            .targets
            .iter()
            .any(|sim| is_up(&sim.target.id) && permit(&happened.labels, &sim.target).is_ok());
        let Some(first) = happened.plan().first().copied() else { return };
        if could && is_up(first) != wanted {
            let state = if is_up(first) { "not open" } else { "open" };
            miss(
                "healthy_first",
                wanted.to_string(),
                format!("the plan begins with `{first}`, whose breaker is {state}"),
            );
        }
    }

    fn texts(&self, happened: &Happened, miss: &mut impl FnMut(&'static str, String, String)) {
        for part in &self.reason_contains {
            if !happened.reason().contains(part.as_str()) {
                miss("reason_contains", quoted(part), quoted(happened.reason()));
            }
        }
        if let Some(text) = &self.text
            && *text != happened.text
        {
            miss("text", quoted(text), quoted(&happened.text));
        }
        for part in &self.text_contains {
            if !happened.text.contains(part.as_str()) {
                miss("text_contains", quoted(part), quoted(&happened.text));
            }
        }
        for part in &self.text_lacks {
            if happened.text.contains(part.as_str()) {
                miss("text_lacks", quoted(part), quoted(&happened.text));
            }
        }
        for part in &self.sent_contains {
            if !happened.sent.iter().any(|sent| sent.text.contains(part.as_str())) {
                let sent: Vec<&str> = happened.sent.iter().map(|sent| sent.text.as_str()).collect();
                miss("sent_contains", quoted(part), list(&sent));
            }
        }
        for part in &self.sent_lacks {
            if let Some(sent) = happened.sent.iter().find(|sent| sent.text.contains(part.as_str())) {
                miss("sent_lacks", quoted(part), format!("{} reached `{}`", quoted(&sent.text), sent.target));
            }
        }
    }

    /// The expectation as an inline table.
    pub fn to_toml(&self) -> String {
        let mut fields: Vec<(&str, String)> = Vec::new();
        let mut texts = |name, list: &[String]| {
            if !list.is_empty() {
                fields.push((name, self::list(list)));
            }
        };
        texts("reason_contains", &self.reason_contains);
        texts("text_contains", &self.text_contains);
        texts("text_lacks", &self.text_lacks);
        texts("sent_contains", &self.sent_contains);
        texts("sent_lacks", &self.sent_lacks);
        texts("never_target", &self.never_target);
        if !self.never_locality.is_empty() {
            let names: Vec<&str> = self.never_locality.iter().map(|locality| locality.name()).collect();
            fields.push(("never_locality", list(&names)));
        }
        let mut field = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
        field("plan", self.plan.as_deref().map(list));
        field("planned", (!self.planned.is_empty()).then(|| planned::list(&self.planned)));
        field("answered_by", self.answered_by.as_deref().map(quoted));
        field("healthy_first", self.healthy_first.map(|value| value.to_string()));
        field("outcome", self.outcome.map(|outcome| quoted(outcome.name())));
        field("max_cost_usd", self.max_cost_usd.map(|usd| toml::Value::Float(usd).to_string()));
        field("text", self.text.as_deref().map(quoted));
        field("labels", self.labels.as_ref().map(label_list));
        field("attempts", self.attempts.map(|value| value.to_string()));
        field("max_attempts", self.max_attempts.map(|value| value.to_string()));
        field("max_virtual_ms", self.max_virtual_ms.map(|value| value.to_string()));
        field("finish", self.finish.as_deref().map(quoted));
        field(
            "limit_hit",
            self.limit_hit.as_ref().map(|hit| match hit {
                LimitHit::Any(any) => any.to_string(),
                LimitHit::Named(name) => quoted(name),
            }),
        );
        let mut table = "{".to_owned();
        for (place, (name, value)) in fields.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(table, "{} {name} = {value}", if place == 0 { "" } else { "," });
        }
        table + " }"
    }
}

/// A limit's name without regard to how it is written.
pub(super) fn plain(text: &str) -> String {
    text.trim().to_lowercase().replace(['-', '_'], " ")
}

/// Whether a limit's words begin with this name, however it is written.
fn names(name: &str, hit: &str) -> bool {
    let (name, hit) = (plain(name), plain(hit));
    let known = SAME_LIMITS.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, same)| same);
    let is_time = known == "fuel" && (hit.starts_with("time") || hit.starts_with("no plan"));
    hit.starts_with(known) || is_time
}

/// A finish reason as OpenAI's API writes it.
pub(crate) fn finish_name(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
}

/// A text as TOML writes it, on one line.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' => shown.push_str("\\\""),
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(shown, "\\u{:04X}", u32::from(control));
            }
            plain => shown.push(plain),
        }
    }
    shown + "\""
}

/// Texts as an array of TOML.
pub(crate) fn list<T: AsRef<str>>(texts: &[T]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}

fn label_list(labels: &Labels) -> String {
    let names: Vec<String> = labels.iter().map(ToString::to_string).collect();
    list(&names)
}
