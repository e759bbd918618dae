//! The shape of a scenario file, key by key. Unknown keys are errors everywhere.
//!
//! Rules between parts (a reply's target exists, a label is one) are in `check`.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) policy: Spanned<PathBuf>,
    pub(super) world: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) settings: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) grants: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) on_error: Option<Spanned<String>>,
    /// Paths, or tables of the shape [`Link`].
    #[serde(default)]
    pub(super) chain: Vec<Spanned<toml::Value>>,
    #[serde(default, rename = "target")]
    pub(super) targets: Vec<Target>,
    #[serde(default, rename = "reply")]
    pub(super) replies: Vec<Reply>,
    #[serde(default, rename = "fault")]
    pub(super) faults: Vec<Fault>,
    #[serde(default, rename = "scenario")]
    pub(super) scenarios: Vec<Scenario>,
    #[serde(default, rename = "property")]
    pub(super) properties: Vec<Property>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) memory_mib: Option<u32>,
    pub(super) time_ms: Option<u32>,
    pub(super) host_calls: Option<u32>,
    pub(super) output_kib: Option<u32>,
    pub(super) input_kib: Option<u32>,
    pub(super) handles: Option<u32>,
    pub(super) log_kib: Option<u32>,
    pub(super) wait_ms: Option<u32>,
    pub(super) tokens: Option<u64>,
    pub(super) usd: Option<f64>,
    pub(super) state_kib: Option<u32>,
}

/// A plugin around the policy that is tested.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    pub(super) path: PathBuf,
    /// One half of a filter alone.
    pub(super) world: Option<String>,
    #[serde(default)]
    pub(super) settings: BTreeMap<String, String>,
    pub(super) grants: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) id: Spanned<String>,
    pub(super) model: Option<String>,
    pub(super) locality: Spanned<String>,
    pub(super) region: Option<String>,
    pub(super) context: Option<NonZeroU64>,
    pub(super) price: Option<Spanned<Price>>,
    #[serde(default)]
    pub(super) health: Health,
    pub(super) tokens: Option<u64>,
    pub(super) bytes_per_token: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) adapters: Vec<Spanned<String>>,
    #[serde(default = "yes")]
    pub(super) tools: bool,
    #[serde(default)]
    pub(super) images: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Price {
    pub(super) input: f64,
    pub(super) output: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    pub(super) state: Option<Spanned<String>>,
    pub(super) queue: Option<u32>,
    pub(super) in_flight: Option<u32>,
    pub(super) ttft_ms: Option<u64>,
    pub(super) ttft_p90_ms: Option<u64>,
    pub(super) tokens_per_second: Option<f32>,
    pub(super) tokens_per_second_p10: Option<f32>,
    pub(super) error_rate: Option<f32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    pub(super) target: Option<Spanned<String>>,
    pub(super) when: Option<String>,
    pub(super) times: Option<u32>,
    pub(super) after_ms: Option<u64>,
    pub(super) text: Option<Spanned<String>>,
    pub(super) reasoning: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) finish: Option<Spanned<String>>,
    pub(super) logprob: Option<Spanned<f32>>,
    pub(super) error: Option<Spanned<String>>,
    pub(super) choose: Option<Spanned<Vec<f64>>>,
    pub(super) embed: Option<Spanned<Vec<f32>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolCall {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) kind: Spanned<String>,
    pub(super) at: Spanned<u64>,
    pub(super) plugin: Option<Spanned<String>>,
    /// By name; all of the file's where there is none.
    pub(super) scenario: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) tenant: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: Spanned<String>,
    pub(super) request: Option<Spanned<toml::Value>>,
    pub(super) prompt: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: Vec<Spanned<String>>,
    pub(super) key: Option<Key>,
    #[serde(default)]
    pub(super) expect: Expect,
    pub(super) seed: Option<u64>,
    #[serde(default)]
    pub(super) health: BTreeMap<Spanned<String>, Health>,
    #[serde(default, rename = "reply")]
    pub(super) replies: Vec<Reply>,
    #[serde(default, rename = "fault")]
    pub(super) faults: Vec<Fault>,
    /// Requests that come after it, with the same state and clock.
    #[serde(default)]
    pub(super) then: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) request: Option<Spanned<toml::Value>>,
    pub(super) prompt: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: Vec<Spanned<String>>,
    pub(super) key: Option<Key>,
    /// Virtual milliseconds since the answer before.
    #[serde(default)]
    pub(super) wait_ms: u64,
    #[serde(default)]
    pub(super) expect: Expect,
}

/// Texts may be one or several, so they come as plain values.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) plan: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) planned: Vec<Planned>,
    pub(super) answered_by: Option<Spanned<String>>,
    pub(super) never_locality: Option<Spanned<toml::Value>>,
    pub(super) never_target: Option<Vec<Spanned<String>>>,
    pub(super) healthy_first: Option<bool>,
    pub(super) outcome: Option<Spanned<String>>,
    pub(super) max_cost_usd: Option<Spanned<f64>>,
    pub(super) reason_contains: Option<Spanned<toml::Value>>,
    pub(super) text: Option<String>,
    pub(super) text_contains: Option<Spanned<toml::Value>>,
    pub(super) text_lacks: Option<Spanned<toml::Value>>,
    pub(super) sent_contains: Option<Spanned<toml::Value>>,
    pub(super) sent_lacks: Option<Spanned<toml::Value>>,
    pub(super) labels: Option<Vec<Spanned<String>>>,
    pub(super) attempts: Option<u32>,
    pub(super) max_attempts: Option<u32>,
    pub(super) max_virtual_ms: Option<u64>,
    pub(super) finish: Option<String>,
    /// Whether any, or which.
    pub(super) limit_hit: Option<Spanned<toml::Value>>,
}

/// An attempt of the plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Planned {
    pub(super) target: Spanned<String>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) hedge_after_ms: Option<u64>,
    pub(super) review: Option<bool>,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<u32>,
    pub(super) seed: Option<u64>,
    pub(super) max_tokens: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Property {
    pub(super) name: Spanned<String>,
    pub(super) runs: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) seed: u64,
    /// Names of generators, or a table of them with what each takes.
    pub(super) generate: Option<Spanned<toml::Value>>,
    #[serde(default)]
    pub(super) when: When,
    pub(super) expect: Spanned<Expect>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    pub(super) labels: Option<Spanned<toml::Value>>,
    pub(super) contains: Option<Spanned<toml::Value>>,
    pub(super) lacks: Option<Spanned<toml::Value>>,
    pub(super) has: Option<Spanned<toml::Value>>,
    pub(super) has_not: Option<Spanned<toml::Value>>,
}
