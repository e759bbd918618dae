//! The plugins of a configuration: the routers, each a configured component or the one that the binary carries,
//! and the preprocessors and guards in their order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lockgate_api::{Guard, Preprocessor, Router};
use lockgate_gateway::setup::TIMER_MAX;
use lockgate_gateway::{Canary, OnError, Policies, Route};
use lockgate_sandbox::{Grant, Limits, LoadError, PluginSpec, Sandbox};
use tracing::warn;

use crate::config::{self, BUILT_IN_ROUTER, Config, PluginConfig, RouterConfig};

/// Compiled from `plugins/privacy-first` by this crate's build script.
const BUILT_IN_COMPONENT: &[u8] = include_bytes!(env!("LOCKGATE_PRIVACY_FIRST"));

/// Compiles every plugin. Takes a tenth of a second or so for each.
pub(super) fn policies(sandbox: &Sandbox, config: &Config) -> Result<Policies> {
    let preprocessor = |plugin| -> Result<Arc<dyn Preprocessor>> {
        let loaded = load(plugin, |path, spec| sandbox.load_preprocessor(path, spec))?;
        warn_of_unused(plugin, loaded.grants_unused());
        Ok(Arc::new(loaded))
    };
    let guard = |plugin| -> Result<Arc<dyn Guard>> {
        let loaded = load(plugin, |path, spec| sandbox.load_guard(path, spec))?;
        warn_of_unused(plugin, loaded.grants_unused());
        Ok(Arc::new(loaded))
    };
    Ok(Policies {
        routes: config.routers.iter().map(|config| route(sandbox, config)).collect::<Result<_>>()?,
        preprocessors: config.preprocessors.iter().map(preprocessor).collect::<Result<_>>()?,
        guards: config.guards.iter().map(guard).collect::<Result<_>>()?,
    })
}

fn route(sandbox: &Sandbox, config: &RouterConfig) -> Result<Route> {
    let (obeyed, on_error) = match &config.plugin {
        Some(plugin) => (router(sandbox, plugin)?, plugin.on_error),
        None => {
            let spec = PluginSpec { id: BUILT_IN_ROUTER.to_owned(), ..PluginSpec::default() };
            let loaded = sandbox.load(BUILT_IN_COMPONENT, spec).context("the built-in policy")?;
            (Arc::new(loaded) as Arc<dyn Router>, config::OnError::Refuse)
        }
    };
    let canary = config.canary.as_ref().map(|canary| -> Result<Canary> {
        Ok(Canary { router: router(sandbox, &canary.plugin)?, share: canary.share })
    });
    Ok(Route {
        router: obeyed,
        on_error: match on_error {
            config::OnError::FirstTarget => OnError::FirstTarget,
            config::OnError::Refuse => OnError::Refuse,
        },
        canary: canary.transpose()?,
        shadows: config.shadows.iter().map(|plugin| router(sandbox, plugin)).collect::<Result<_>>()?,
    })
}

fn router(sandbox: &Sandbox, plugin: &PluginConfig) -> Result<Arc<dyn Router>> {
    let loaded = load(plugin, |path, spec| sandbox.load_file(path, spec))?;
    warn_of_unused(plugin, loaded.grants_unused());
    Ok(Arc::new(loaded))
}

/// Loads a plugin as its world demands; an error names it.
pub(super) fn load<T>(
    plugin: &PluginConfig,
    load: impl FnOnce(&Path, PluginSpec) -> Result<T, LoadError>,
) -> Result<T> {
    spec(plugin)
        .and_then(|spec| Ok(load(&plugin.path, spec)?))
        .with_context(|| format!("{}: plugin `{}`", plugin.place, plugin.id))
}

pub(super) fn warn_of_unused(plugin: &PluginConfig, grants: &[Grant]) {
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
        reuse: plugin.reuse,
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
        generation_time_max: set
            .generation_ms
            .map_or(defaults.generation_time_max, |time| Duration::from_millis(time.into())),
        host_calls_max: set.host_calls.map_or(defaults.host_calls_max, u64::from),
        input_bytes_max: scaled(set.input_kib, 10, defaults.input_bytes_max),
        handles_max: scaled(set.handles, 0, defaults.handles_max),
        log_bytes_max: scaled(set.log_kib, 10, defaults.log_bytes_max),
        wait_max: set.wait_ms.map_or(defaults.wait_max, |time| Duration::from_millis(time.into())),
        tokens_max: set.tokens.unwrap_or(defaults.tokens_max),
        // Saturates at the type's bounds; the file's check lets no other number through.
        nano_usd_max: set.usd.map_or(defaults.nano_usd_max, |usd| (usd * 1e9).round() as u64),
        state_bytes_max: scaled(set.state_kib, 10, defaults.state_bytes_max),
        ..defaults
    }
}

/// The longest that a call of any plugin may take: waiting for an instance, its own time, and its waiting for
/// others. The gateway gives up on a plugin after this, and after 10 s at the least.
pub(super) fn timeout(config: &Config) -> Duration {
    let routers = config.routers.iter().flat_map(RouterConfig::plugins);
    let plugins = routers.chain(&config.preprocessors).chain(&config.guards).map(limits);
    let longest = plugins.map(|limits| limits.time_max * 2 + limits.wait_max + Duration::from_secs(1)).max();
    longest.unwrap_or_default().clamp(Duration::from_secs(10), TIMER_MAX)
}
