//! The plugins of a configuration: the router, which is the configured component or the one that the binary
//! carries, and the preprocessors and guards in their order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lockgate_api::{Guard, Preprocessor, Router};
use lockgate_gateway::Policies;
use lockgate_sandbox::{Grant, Limits, PluginSpec, Sandbox};
use tracing::warn;

use crate::config::{Config, PluginConfig};

/// The built-in policy's id.
pub(crate) const BUILT_IN: &str = "privacy-first";

/// Compiled from `plugins/privacy-first` by this crate's build script.
const BUILT_IN_COMPONENT: &[u8] = include_bytes!(env!("LOCKGATE_PRIVACY_FIRST"));

/// Compiles every plugin. Takes a tenth of a second or so for each.
pub(super) fn policies(sandbox: &Sandbox, config: &Config) -> Result<Policies> {
    Ok(Policies {
        router: router(sandbox, config.router.as_ref())?,
        preprocessors: config
            .preprocessors
            .iter()
            .map(|plugin| {
                let loaded = spec(plugin).and_then(|spec| Ok(sandbox.load_preprocessor(&plugin.path, spec)?));
                let loaded = loaded.with_context(|| name(plugin))?;
                warn_of_unused(plugin, loaded.grants_unused());
                Ok(Arc::new(loaded) as Arc<dyn Preprocessor>)
            })
            .collect::<Result<_>>()?,
        guards: config
            .guards
            .iter()
            .map(|plugin| {
                let loaded = spec(plugin).and_then(|spec| Ok(sandbox.load_guard(&plugin.path, spec)?));
                let loaded = loaded.with_context(|| name(plugin))?;
                warn_of_unused(plugin, loaded.grants_unused());
                Ok(Arc::new(loaded) as Arc<dyn Guard>)
            })
            .collect::<Result<_>>()?,
    })
}

fn router(sandbox: &Sandbox, plugin: Option<&PluginConfig>) -> Result<Arc<dyn Router>> {
    let Some(plugin) = plugin else {
        let spec = PluginSpec { id: BUILT_IN.to_owned(), ..PluginSpec::default() };
        return Ok(Arc::new(sandbox.load(BUILT_IN_COMPONENT, spec).context("the built-in policy")?));
    };
    let loaded = spec(plugin).and_then(|spec| Ok(sandbox.load_file(&plugin.path, spec)?));
    let loaded = loaded.with_context(|| name(plugin))?;
    warn_of_unused(plugin, loaded.grants_unused());
    Ok(Arc::new(loaded))
}

fn name(plugin: &PluginConfig) -> String {
    format!("plugin `{}`", plugin.id)
}

fn warn_of_unused(plugin: &PluginConfig, grants: &[Grant]) {
    for grant in grants {
        warn!(plugin = %plugin.id, %grant, "granted, but the component does not import it");
    }
}

fn spec(plugin: &PluginConfig) -> Result<PluginSpec> {
    let grants = plugin.grants.iter().map(|grant| grant.parse::<Grant>().map_err(anyhow::Error::msg));
    Ok(PluginSpec {
        id: plugin.id.clone(),
        grants: grants.collect::<Result<_>>()?,
        pin: plugin.pin.clone(),
        limits: limits(plugin),
        settings: plugin.settings.clone(),
    })
}

fn limits(plugin: &PluginConfig) -> Limits {
    let defaults = Limits::default();
    let set = plugin.limits;
    let scaled = |value: Option<u32>, shift: u32, default: usize| {
        value.map_or(default, |value| (value as usize).saturating_mul(1 << shift))
    };
    Limits {
        memory_bytes_max: scaled(set.memory_mib, 20, defaults.memory_bytes_max),
        output_bytes_max: scaled(set.output_kib, 10, defaults.output_bytes_max),
        time_max: set.time_ms.map_or(defaults.time_max, |time| Duration::from_millis(time.into())),
        host_calls_max: set.host_calls.map_or(defaults.host_calls_max, u64::from),
        ..defaults
    }
}
