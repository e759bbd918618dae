//! The shape of the configuration file, key by key. Unknown keys are errors everywhere.
//!
//! Rules between parts (unique ids, a target's provider exists) are in `check`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::secret::SecretSource;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) server: Server,
    #[serde(default, rename = "model")]
    pub(crate) models: Vec<Model>,
    #[serde(default, rename = "adapter")]
    pub(crate) adapters: Vec<Adapter>,
    #[serde(default, rename = "provider")]
    pub(crate) providers: Vec<Provider>,
    #[serde(default, rename = "target")]
    pub(crate) targets: Vec<Target>,
    #[serde(default, rename = "plugin")]
    pub(crate) plugins: Vec<Plugin>,
    #[serde(default, rename = "key")]
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) air_gapped: bool,
    #[serde(default)]
    pub(crate) named: Named,
    #[serde(default)]
    pub(crate) hosts: Vec<Spanned<String>>,
    pub(crate) log_requests: Option<Spanned<LogRequests>>,
}

/// Whether requests are taken down, and where.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "`log_requests` is true, false or the path of a file")]
pub(crate) enum LogRequests {
    /// In the file of that name in Lockgate's own folder.
    On(bool),
    File(PathBuf),
}

impl Default for LogRequests {
    fn default() -> Self {
        Self::On(false)
    }
}

/// What a model named by the client means.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Named {
    /// That target is used, within the labels.
    #[default]
    Direct,
    /// A wish that the router sees.
    Route,
    /// Only `auto` is accepted.
    Refuse,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) id: Spanned<String>,
    pub(crate) path: Spanned<PathBuf>,
    pub(crate) device: Option<Spanned<String>>,
    pub(crate) gpu_layers: Option<Spanned<GpuLayers>>,
    pub(crate) context: Option<Spanned<u32>>,
    #[serde(default)]
    pub(crate) kv: Kv,
}

/// How a model's cache stores keys and values.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
pub(crate) enum Kv {
    /// Half precision.
    #[default]
    #[serde(rename = "f16")]
    F16,
    /// 8 bits with a scale for every 32.
    #[serde(rename = "q8_0")]
    Q8_0,
}

/// How many layers a card computes.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "`gpu_layers` is \"auto\" or a number of layers")]
pub(crate) enum GpuLayers {
    Count(u32),
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adapter {
    pub(crate) id: Spanned<String>,
    pub(crate) model: Spanned<String>,
    pub(crate) path: Spanned<PathBuf>,
    pub(crate) scale: Option<Spanned<f32>>,
}

impl Adapter {
    /// The id that clients, policies and grants use.
    pub(crate) fn target_id(&self) -> String {
        format!("{}:{}", self.model.get_ref(), self.id.get_ref())
    }
}

/// Where a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Device {
    /// The first card that can be used, or else the processor.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A card, by the driver's number.
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    Cuda(u32),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) id: Spanned<String>,
    pub(crate) kind: Spanned<ProviderKind>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<Spanned<String>>,
    pub(crate) locality: Option<Spanned<String>>,
    pub(crate) api_key: Option<Spanned<SecretSource>>,
}

/// Which protocol a provider speaks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProviderKind {
    /// Amazon Bedrock.
    Bedrock,
    /// A server that speaks OpenAI's API.
    OpenaiCompatible,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) id: Spanned<String>,
    pub(crate) provider: Spanned<String>,
    pub(crate) model: Spanned<String>,
    pub(crate) price: Option<Spanned<TargetPrice>>,
    pub(crate) context: Option<Spanned<u64>>,
    #[serde(default = "yes")]
    pub(crate) tools: bool,
    #[serde(default)]
    pub(crate) images: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetPrice {
    pub(crate) input: f64,
    pub(crate) output: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plugin {
    pub(crate) id: Spanned<String>,
    pub(crate) path: Spanned<PathBuf>,
    pub(crate) world: Spanned<World>,
    pub(crate) sha256: Option<Spanned<String>>,
    pub(crate) signer: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) grants: Vec<Spanned<String>>,
    pub(crate) on_error: Option<Spanned<OnError>>,
    pub(crate) mode: Option<Spanned<Mode>>,
    /// The router that a canary or shadow is tried beside.
    pub(crate) of: Option<Spanned<String>>,
    pub(crate) share: Option<Spanned<f64>>,
    /// The model that an adapter is attached to.
    pub(crate) model: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) limits: Limits,
    pub(crate) reuse: Option<Spanned<u32>>,
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
}

/// What a plugin does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum World {
    /// Chooses targets.
    Router,
    /// Changes requests before they are routed.
    Preprocessor,
    /// Watches answers.
    Guard,
    /// A model of its own, made of one of this machine's.
    Adapter,
}

impl Plugin {
    /// The id of the target that an adapter is, where it says of which model.
    pub(crate) fn target_id(&self) -> Option<String> {
        let model = self.model.as_ref().filter(|_| *self.world.get_ref() == World::Adapter)?;
        Some(format!("{}:{}", model.get_ref(), self.id.get_ref()))
    }
}

/// How a router takes part.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// It is obeyed.
    Active,
    /// It decides a share of another's requests.
    Canary,
    /// It is asked and never obeyed.
    Shadow,
}

/// What happens to a request whose policy failed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnError {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes to the first permitted target on this machine.
    FirstTarget,
}

/// A plugin's limits; what is left out keeps the host's default.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) memory_mib: Option<u32>,
    pub(crate) time_ms: Option<u32>,
    pub(crate) generation_ms: Option<u32>,
    pub(crate) host_calls: Option<u32>,
    pub(crate) output_kib: Option<u32>,
    pub(crate) input_kib: Option<u32>,
    pub(crate) handles: Option<u32>,
    pub(crate) log_kib: Option<u32>,
    pub(crate) wait_ms: Option<u32>,
    pub(crate) tokens: Option<u64>,
    pub(crate) usd: Option<f64>,
    pub(crate) state_kib: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) name: Spanned<String>,
    pub(crate) tenant: Option<Spanned<String>>,
    pub(crate) hash: Spanned<String>,
    #[serde(default)]
    pub(crate) labels: Vec<Spanned<String>>,
    pub(crate) router: Option<Spanned<String>>,
}
