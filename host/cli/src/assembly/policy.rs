//! The routing policy: the configured component, or the one that the binary carries.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lockgate_api::Router;
use lockgate_sandbox::{Grant, Limits, PluginSpec, Sandbox};
use tracing::warn;

use crate::config::PluginConfig;

/// The built-in policy's id.
pub(crate) const BUILT_IN: &str = "privacy-first";

/// Compiled from `plugins/privacy-first` by this crate's build script.
const BUILT_IN_COMPONENT: &[u8] = include_bytes!(env!("LOCKGATE_PRIVACY_FIRST"));

/// Compiles the policy. Takes a tenth of a second or so.
pub(super) fn router(sandbox: &Sandbox, plugin: Option<&PluginConfig>) -> Result<Arc<dyn Router>> {
    let Some(plugin) = plugin else {
        let spec = PluginSpec { id: BUILT_IN.to_owned(), ..PluginSpec::default() };
        return Ok(Arc::new(sandbox.load(BUILT_IN_COMPONENT, spec).context("the built-in policy")?));
    };
    let name = || format!("plugin `{}`", plugin.id);
    let grants = plugin.grants.iter().map(|grant| grant.parse::<Grant>().map_err(anyhow::Error::msg));
    let spec = PluginSpec {
        id: plugin.id.clone(),
        grants: grants.collect::<Result<_>>().with_context(name)?,
        limits: limits(plugin),
        settings: plugin.settings.clone(),
    };
    let router = sandbox.load_file(&plugin.path, spec).with_context(name)?;
    for grant in router.grants_unused() {
        warn!(plugin = %plugin.id, %grant, "granted, but the component does not import it");
    }
    Ok(Arc::new(router))
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
