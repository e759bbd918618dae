//! Models on this machine: loaded once, kept while a configuration names them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use lockgate_engine::backend::{Device, LocalModel, ModelOptions};
use lockgate_engine::gguf::Gguf;
use lockgate_engine::model::{LoadOptions, Model};
use lockgate_gateway::GatewayTarget;

use super::Targets;
use crate::config::{self, ModelConfig};

/// The models that are loaded.
#[derive(Default)]
pub(crate) struct Models {
    loaded: HashMap<Identity, LocalModel>,
}

/// What makes two loadings the same model.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    id: String,
    path: PathBuf,
    context_tokens: Option<u32>,
    /// Of the file: bytes, and the time of its last change.
    content: (u64, Option<std::time::SystemTime>),
}

impl Models {
    /// Loads what is not loaded yet and lets go of what is no longer named, if all of it loads.
    pub(super) fn load(&mut self, configured: &[ModelConfig]) -> Result<Targets> {
        let mut kept = HashMap::new();
        let mut targets = Targets::new();
        for model in configured {
            let identity = Identity::of(model)?;
            let loaded = match self.loaded.get(&identity) {
                Some(loaded) => loaded.clone(),
                None => load(model)?,
            };
            targets.push(GatewayTarget {
                target: Arc::new(loaded.target().clone()),
                backend: Arc::new(loaded.clone()),
            });
            kept.insert(identity, loaded);
        }
        self.loaded = kept;
        Ok(targets)
    }
}

impl Identity {
    fn of(model: &ModelConfig) -> Result<Self> {
        let metadata = std::fs::metadata(&model.path)
            .with_context(|| format!("model `{}`: {}", model.id, model.path.display()))?;
        Ok(Self {
            id: model.id.clone(),
            path: model.path.clone(),
            context_tokens: model.context_tokens,
            content: (metadata.len(), metadata.modified().ok()),
        })
    }
}

fn load(model: &ModelConfig) -> Result<LocalModel> {
    let mut options = ModelOptions::new(&model.id);
    options.device = match model.device {
        config::Device::Auto => Device::Auto,
        config::Device::Cpu => Device::Cpu,
    };
    options.context_tokens =
        model.context_tokens.and_then(|tokens| usize::try_from(tokens).ok()?.try_into().ok());
    let loading = crate::models::Loading::of(&model.path);
    loading
        .track(|progress| LocalModel::load(&model.path, &options, progress))
        .with_context(|| format!("model `{}`", model.id))
}

/// Reads each model's directory, not its weights.
pub(super) fn check(configured: &[ModelConfig]) -> Result<()> {
    for model in configured {
        let name = || format!("model `{}`", model.id);
        let gguf = Gguf::open(&model.path).with_context(name)?;
        let options = LoadOptions {
            context: model.context_tokens.and_then(|tokens| usize::try_from(tokens).ok()),
            ..LoadOptions::default()
        };
        Model::inspect(&gguf, &options).with_context(name)?;
    }
    Ok(())
}
