//! The configuration to serve: the file, if one is given, and what the flags add to it.

use std::path::{Path, PathBuf};

use lockgate_sandbox::Pin;

use crate::args::ServeArgs;
use crate::config::{self, Config, ModelConfig, PluginConfig, RouterConfig};
use crate::failure::Failure;
use crate::models;

/// The quick start's model, for a start without configuration or model.
const QUICK_START_MODEL: &str = "smollm2";

/// Reads the file, fetches what the flags name, and checks that the two fit together.
pub(super) async fn config(args: &ServeArgs) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => config::load(path)?,
        None => Config::empty(),
    };
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    if args.offline {
        go_offline(&mut config)?;
    }
    let model = match (&args.model, &args.config) {
        (Some(model), _) => Some(model.as_str()),
        (None, None) if cfg!(feature = "engine") => Some(QUICK_START_MODEL),
        (None, _) => None,
    };
    if let Some(model) = model {
        add_model(&mut config, model, args.offline).await?;
    }
    if !args.policy.is_empty() {
        config.routers = routers_of(&args.policy)?;
    }
    Ok(config)
}

async fn add_model(config: &mut Config, model: &str, offline: bool) -> Result<(), Failure> {
    let path = models::find_or_pull(model, offline).await?;
    let id = id_of(&path, model)?;
    if config.models.iter().any(|known| known.id == id) || config.targets.iter().any(|known| known.id == id) {
        return Err(Failure::unusable(format!(
            "--model: the configuration has a model or target `{id}` already"
        )));
    }
    let device = config::Device::Auto;
    config.models.push(ModelConfig {
        id,
        path,
        device,
        gpu_layers: None,
        context_tokens: None,
        kv: config::Kv::F16,
        place: "--model".to_owned(),
    });
    Ok(())
}

/// The file's name without its ending, as clients will write it.
fn id_of(path: &Path, given: &str) -> Result<String, Failure> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let id: String = stem.chars().map(|character| if plain(character) { character } else { '-' }).collect();
    if id.is_empty() || id == "auto" {
        return Err(Failure::unusable(format!(
            "--model {given}: the file's name makes no id; use a [[model]]"
        )));
    }
    Ok(id)
}

/// The routers of the command line, which take the place of the file's.
fn routers_of(policies: &[PathBuf]) -> Result<Vec<RouterConfig>, Failure> {
    let mut routers: Vec<RouterConfig> = Vec::new();
    for path in policies {
        let plugin = policy_of(path)?;
        if routers.iter().any(|router| router.id() == plugin.id) {
            return Err(Failure::unusable(format!("--policy: two files are called `{}`", plugin.id)));
        }
        routers.push(RouterConfig::of(plugin));
    }
    Ok(routers)
}

fn policy_of(path: &Path) -> Result<PluginConfig, Failure> {
    Ok(PluginConfig {
        id: id_of(path, "of the policy").map_err(|_| Failure::unusable("--policy: the file has no name"))?,
        path: path.to_owned(),
        pin: Pin::default(),
        grants: vec!["log".to_owned()],
        on_error: config::OnError::Refuse,
        reuse: 1,
        limits: config::Limits::default(),
        settings: Default::default(),
        place: "--policy".to_owned(),
    })
}

/// `--offline` makes the host air-gapped; a provider elsewhere is then a contradiction to be told.
fn go_offline(config: &mut Config) -> Result<(), Failure> {
    config.server.air_gapped = true;
    match config.providers.iter().find(|provider| !provider.is_on_loopback()) {
        Some(provider) => Err(Failure::unusable(format!(
            "--offline: provider `{}` is not on this machine; remove it or start without --offline",
            provider.id
        ))),
        None => Ok(()),
    }
}
