//! The configuration file: TOML in, a checked [`Config`] out.
//!
//! `file` is the file's shape, `check`, `plugins`, `routers` and `grants` the rules between its parts. A mistake is
//! told always with file, line and column, with the nearest known name for an unknown key. Nothing
//! here opens a connection, loads a model or compiles a plugin. Secrets are read, never printed.

mod check;
mod file;
mod grants;
mod plugins;
mod routers;
mod secret;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lockgate_api::{Label, Price};
use lockgate_providers::Secret;
use lockgate_sandbox::Pin;

use check::check;
pub(crate) use check::id_form;
pub(crate) use file::{Device, Kv, Limits, LogRequests, Named, OnError, ProviderKind};
pub(crate) use lockgate_problems::Problems;
pub(crate) use routers::BUILT_IN_ROUTER;

/// The address when neither file nor flag gives one.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// A configuration whose parts fit together.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) server: ServerConfig,
    pub(crate) models: Vec<ModelConfig>,
    pub(crate) adapters: Vec<AdapterConfig>,
    pub(crate) providers: Vec<ProviderConfig>,
    pub(crate) targets: Vec<TargetConfig>,
    /// At least one. The first decides where neither key nor client says otherwise.
    pub(crate) routers: Vec<RouterConfig>,
    /// In the order in which they are called.
    pub(crate) preprocessors: Vec<PluginConfig>,
    /// In the order in which they are called.
    pub(crate) guards: Vec<PluginConfig>,
    pub(crate) components: Vec<ComponentConfig>,
    pub(crate) keys: Vec<KeyConfig>,
}

#[derive(Debug)]
pub(crate) struct ServerConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) air_gapped: bool,
    pub(crate) named: Named,
    /// Names, beside loopback, that a `Host` or `Origin` header may carry.
    pub(crate) hosts: Vec<String>,
    /// Whether requests are taken down, and in which file.
    pub(crate) log_requests: LogRequests,
}

#[derive(Debug)]
pub(crate) struct ModelConfig {
    pub(crate) id: String,
    /// Absolute, or relative to the current folder.
    pub(crate) path: PathBuf,
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) device: Device,
    /// The most of its last layers that a card computes; as many as fit where it is open.
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) gpu_layers: Option<u32>,
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) context_tokens: Option<u32>,
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) kv: Kv,
    /// `file:line:column` of its path, or the flag, for messages of those who read the model.
    pub(crate) place: String,
}

#[derive(Debug)]
pub(crate) struct AdapterConfig {
    pub(crate) id: String,
    /// The id of a model that exists.
    pub(crate) model: String,
    /// A GGUF file, or a folder that PEFT saved.
    pub(crate) path: PathBuf,
    /// Multiplies what the adapter itself says; finite and not 0.
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) scale: f32,
    /// `file:line:column`, for messages of those who read the adapter.
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) place: String,
}

impl AdapterConfig {
    /// The id that clients and policies use.
    pub(crate) fn target_id(&self) -> String {
        format!("{}:{}", self.model, self.id)
    }
}

/// An adapter that a component makes of a model.
#[derive(Debug)]
pub(crate) struct ComponentConfig {
    pub(crate) plugin: PluginConfig,
    /// The id of a model that exists.
    pub(crate) model: String,
    /// `file:line:column` of its path, for messages of those who load it.
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) place: String,
    /// The same of its model.
    #[cfg_attr(not(feature = "engine"), allow(dead_code, reason = "read by the engine's side alone"))]
    pub(crate) model_place: String,
}

impl ComponentConfig {
    /// The id that clients and policies use.
    pub(crate) fn target_id(&self) -> String {
        format!("{}:{}", self.model, self.plugin.id)
    }
}

#[derive(Debug)]
pub(crate) struct ProviderConfig {
    pub(crate) id: String,
    pub(crate) kind: ProviderKind,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) locality: lockgate_api::Locality,
    pub(crate) api_key: Option<Secret>,
    /// `file:line:column`, for messages of those who build it.
    pub(crate) place: String,
}

#[derive(Debug)]
pub(crate) struct TargetConfig {
    pub(crate) id: String,
    /// The id of a provider that exists.
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) price: Option<Price>,
    pub(crate) context_tokens: Option<u64>,
    pub(crate) tools: bool,
    pub(crate) images: bool,
    /// `file:line:column`, for messages of those who build it.
    pub(crate) place: String,
}

#[derive(Debug)]
pub(crate) struct PluginConfig {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) pin: Pin,
    pub(crate) grants: Vec<String>,
    /// For a router. A preprocessor or guard that fails always refuses.
    pub(crate) on_error: OnError,
    pub(crate) limits: Limits,
    /// Calls that one instance serves; 1 for a fresh one each time.
    pub(crate) reuse: u32,
    pub(crate) settings: BTreeMap<String, String>,
    /// `file:line:column` of its path, or the flag, for messages of those who load it.
    pub(crate) place: String,
}

/// A router that is obeyed, and what is tried beside it.
#[derive(Debug)]
pub(crate) struct RouterConfig {
    /// None for the policy that the binary carries.
    pub(crate) plugin: Option<PluginConfig>,
    pub(crate) canary: Option<CanaryConfig>,
    pub(crate) shadows: Vec<PluginConfig>,
}

#[derive(Debug)]
pub(crate) struct CanaryConfig {
    pub(crate) plugin: PluginConfig,
    /// More than 0 and at most 1.
    pub(crate) share: f64,
}

#[derive(Debug)]
pub(crate) struct KeyConfig {
    pub(crate) name: String,
    pub(crate) tenant: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub(crate) hash: String,
    pub(crate) labels: Vec<Label>,
    /// The id of a router that is obeyed.
    pub(crate) router: Option<String>,
}

impl Config {
    /// The files of its plugins, their signatures and the scenarios beside them.
    pub(crate) fn plugin_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let routers = self.routers.iter().flat_map(RouterConfig::plugins);
        let components = self.components.iter().map(|component| &component.plugin);
        for plugin in routers.chain(&self.preprocessors).chain(&self.guards).chain(components) {
            files.push(plugin.path.clone());
            files.extend(plugin.pin.signature_path(&plugin.path));
            files.extend(crate::assembly::beside(&plugin.path));
        }
        files
    }

    /// What an empty file would be: no model, no provider, the default address.
    pub(crate) fn empty() -> Self {
        parse(Path::new("(no configuration)"), "").expect("an empty file is valid")
    }
}

impl ProviderConfig {
    /// Whether its address is this machine's own.
    pub(crate) fn is_on_loopback(&self) -> bool {
        check::endpoint_is_loopback(self.endpoint.as_deref())
    }
}

/// Reads and checks a configuration file. Relative paths in it count from its own folder.
pub(crate) fn load(path: &Path) -> Result<Config, Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| Problems::unreadable(path, &error))?;
    parse(path, &text)
}

/// The same from text that was read from `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, Problems> {
    let file: file::File = toml::from_str(text).map_err(|error| Problems::from_toml(path, text, &error))?;
    check(path, text, file)
}

#[cfg(test)]
mod tests;
