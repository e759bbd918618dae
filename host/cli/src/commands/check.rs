//! `check`: validates a configuration and contacts nothing.

use crate::args::CheckArgs;
use crate::assembly;
use crate::config::{PluginConfig, RouterConfig};
use crate::failure::Failure;
use crate::{config, terminal};

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = config::load(&args.config)?;
    assembly::check(&config)?;
    let routers: Vec<String> = config.routers.iter().map(named).collect();
    terminal::note(&format!(
        "{}: valid ({} models, {} adapters, {} providers, {} targets, {} keys; routers: {}; preprocessors: {}; guards: {})",
        args.config.display(),
        config.models.len(),
        config.adapters.len() + config.components.len(),
        config.providers.len(),
        config.targets.len(),
        config.keys.len(),
        routers.join(", "),
        ids(&config.preprocessors),
        ids(&config.guards),
    ));
    Ok(())
}

/// A router and what is tried beside it.
fn named(router: &RouterConfig) -> String {
    let built_in = if router.plugin.is_none() { " (built in)" } else { "" };
    let canary = router.canary.iter().map(|canary| format!(", canary {}", canary.plugin.id));
    let shadows = router.shadows.iter().map(|shadow| format!(", shadow {}", shadow.id));
    format!("{}{built_in}{}", router.id(), canary.chain(shadows).collect::<String>())
}

fn ids(plugins: &[PluginConfig]) -> String {
    let ids: Vec<&str> = plugins.iter().map(|plugin| plugin.id.as_str()).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
