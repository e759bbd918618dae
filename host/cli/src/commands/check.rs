//! `check`: validates a configuration and contacts nothing.

use crate::args::CheckArgs;
use crate::assembly;
use crate::config::PluginConfig;
use crate::failure::Failure;
use crate::{config, terminal};

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = config::load(&args.config)?;
    assembly::check(&config)?;
    terminal::note(&format!(
        "{}: valid ({} models, {} adapters, {} providers, {} targets, {} keys; router {}; preprocessors: {}; guards: {})",
        args.config.display(),
        config.models.len(),
        config.adapters.len(),
        config.providers.len(),
        config.targets.len(),
        config.keys.len(),
        config.router.as_ref().map_or("privacy-first, built in", |router| router.id.as_str()),
        ids(&config.preprocessors),
        ids(&config.guards),
    ));
    Ok(())
}

fn ids(plugins: &[PluginConfig]) -> String {
    let ids: Vec<&str> = plugins.iter().map(|plugin| plugin.id.as_str()).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
