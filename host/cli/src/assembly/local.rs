//! Models on this machine and their adapters: loaded once, kept while a configuration names them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use lockgate_engine::adapter::AdapterFile;
use lockgate_engine::backend::{Device, LocalModel, Loss, ModelOptions};
use lockgate_engine::gguf::Gguf;
use lockgate_engine::model::{Config, GpuLayers, KvFormat, LoadOptions, Model};
use lockgate_gateway::GatewayTarget;
use lockgate_sandbox::Sandbox;
use tracing::info;

use super::Targets;
use super::component::{self, Source, called as component_called};
use crate::config::{self, AdapterConfig, ComponentConfig, ModelConfig};

/// The models that are loaded.
#[derive(Default)]
pub(crate) struct Models {
    loaded: HashMap<Identity, LocalModel>,
    adapted: Adapted,
    loss: Loss,
}

/// Models with their adapters' weights, by target id.
type Adapted = HashMap<String, (AdapterIdentity, LocalModel)>;

/// Models by their id.
type ById<'a> = HashMap<&'a str, (Identity, LocalModel)>;

/// What makes two loadings the same model.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    id: String,
    path: PathBuf,
    device: config::Device,
    gpu_layers: Option<u32>,
    context_tokens: Option<u32>,
    kv: config::Kv,
    content: Stamp,
}

/// What makes two loadings the same adapter of the same model.
#[derive(Clone, PartialEq)]
struct AdapterIdentity {
    model: Identity,
    path: PathBuf,
    scale: f32,
    /// Of each file that is read.
    content: Vec<Stamp>,
}

/// Tells one version of a file from the next: bytes, and the time of its last change.
type Stamp = (u64, Option<SystemTime>);

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.len(), metadata.modified().ok()))
}

impl Models {
    /// Ends with a line once a card is lost that a model's `device` insists on.
    pub(super) fn loss(&self) -> impl Future<Output = String> + Send + use<> {
        self.loss.clone()
    }

    /// Loads what is not loaded yet and lets go of what is no longer named, if all of it loads. Adapters come after
    /// all models, so that a policy that takes targets in their order takes a model as it is. Components are loaded
    /// anew each time, their weights only when they have changed.
    pub(super) fn load(&mut self, sandbox: &Sandbox, config: &config::Config) -> Result<Targets> {
        let mut loaded = HashMap::new();
        let mut by_id = ById::new();
        let mut targets = Targets::new();
        for model in &config.models {
            let identity = Identity::of(model)?;
            let ready = match self.loaded.get(&identity) {
                Some(ready) => ready.clone(),
                None => load(model, &self.loss)?,
            };
            targets.push(target(&ready));
            by_id.insert(model.id.as_str(), (identity.clone(), ready.clone()));
            loaded.insert(identity, ready);
        }
        let mut adapted = Adapted::new();
        let mut known = Vec::new();
        for adapter in &config.adapters {
            let ready = self.adapted(adapter, &by_id, &mut adapted)?;
            targets.push(target(&ready));
            known.push((adapter.model.as_str(), ready));
        }
        for component in &config.components {
            let ready = self.component(sandbox, component, config, &by_id, &mut adapted)?;
            targets.push(target(&ready));
            known.push((component.model.as_str(), ready));
        }
        publish(&by_id, &known)?;
        (self.loaded, self.adapted) = (loaded, adapted);
        Ok(targets)
    }

    /// A model with an adapter's weights: those that are loaded, if they are the same.
    fn adapted(
        &self,
        adapter: &AdapterConfig,
        models: &ById<'_>,
        adapted: &mut Adapted,
    ) -> Result<LocalModel> {
        let (model, base) = models.get(adapter.model.as_str()).ok_or_else(|| no_model(adapter))?;
        let identity = AdapterIdentity::of(adapter, model)?;
        let ready = match self.adapted.get(&adapter.target_id()) {
            Some((same, ready)) if *same == identity => ready.clone(),
            _ => adapt(base, adapter)?,
        };
        adapted.insert(adapter.target_id(), (identity, ready.clone()));
        Ok(ready)
    }

    /// A model as a component makes it.
    fn component(
        &self,
        sandbox: &Sandbox,
        component: &ComponentConfig,
        config: &config::Config,
        models: &ById<'_>,
        adapted: &mut Adapted,
    ) -> Result<LocalModel> {
        let missing = || anyhow!("{}: there is no such model", component_called(component));
        let plugin = component::load(sandbox, component)?;
        let weighted = match component::weights(component, &plugin, &config.adapters)? {
            None => models.get(component.model.as_str()).ok_or_else(missing)?.1.clone(),
            Some(Source::Of(id)) => adapted.get(&id).ok_or_else(missing)?.1.clone(),
            Some(Source::Beside(adapter)) => self.adapted(&adapter, models, adapted)?,
        };
        let tuned = weighted.tuned(&component.plugin.id, &component::tuning(plugin));
        tuned.with_context(|| component_called(component))
    }
}

/// Makes exactly these adapters known to their models. Requests in flight keep those that are forgotten.
fn publish(models: &ById<'_>, adapters: &[(&str, LocalModel)]) -> Result<()> {
    for (_, model) in models.values() {
        for name in model.adapters() {
            // Whoever uses it still holds it; nobody waits for that here.
            drop(model.remove_adapter(&name));
        }
    }
    for (model, adapter) in adapters {
        if let Some((_, model)) = models.get(model) {
            model.add_adapter(adapter)?;
        }
    }
    Ok(())
}

fn no_model(adapter: &AdapterConfig) -> anyhow::Error {
    anyhow!("adapter `{}`: there is no model `{}`", adapter.id, adapter.model)
}

/// A model as messages name it.
fn model_called(model: &ModelConfig) -> String {
    format!("{}: model `{}`", model.place, model.id)
}

/// An adapter as messages name it.
fn called(adapter: &AdapterConfig) -> String {
    format!("{}: adapter `{}` of model `{}`", adapter.place, adapter.id, adapter.model)
}

fn target(model: &LocalModel) -> GatewayTarget {
    GatewayTarget { target: Arc::new(model.target().clone()), backend: Arc::new(model.clone()) }
}

impl Identity {
    fn of(model: &ModelConfig) -> Result<Self> {
        let content = stamp(&model.path)
            .with_context(|| format!("{}: {}", model_called(model), model.path.display()))?;
        let (id, path) = (model.id.clone(), model.path.clone());
        let &ModelConfig { device, gpu_layers, context_tokens, kv, .. } = model;
        Ok(Self { id, path, device, gpu_layers, context_tokens, kv, content })
    }
}

impl AdapterIdentity {
    fn of(adapter: &AdapterConfig, model: &Identity) -> Result<Self> {
        let files = AdapterFile::files(&adapter.path);
        let content = files.iter().map(|file| stamp(file).with_context(|| file.display().to_string()));
        let content = content.collect::<Result<_>>().with_context(|| called(adapter))?;
        Ok(Self { model: model.clone(), path: adapter.path.clone(), scale: adapter.scale, content })
    }
}

/// The folder of kernels to be used in the place of those that are built in, for tuning.
pub(crate) fn kernels() -> Option<PathBuf> {
    std::env::var_os("LOCKGATE_KERNELS").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

fn load(model: &ModelConfig, loss: &Loss) -> Result<LocalModel> {
    let mut options = ModelOptions { loss: loss.clone(), ..ModelOptions::new(&model.id) };
    options.device = match model.device {
        config::Device::Auto => Device::Auto,
        config::Device::Cpu => Device::Cpu,
        config::Device::Cuda(number) => Device::Cuda(number),
    };
    if let Some(count) = model.gpu_layers {
        options.gpu_layers = GpuLayers::Count(count as usize);
    }
    options.kernels = kernels();
    options.kv = kv(model.kv);
    options.context_tokens =
        model.context_tokens.and_then(|tokens| usize::try_from(tokens).ok()?.try_into().ok());
    let loading = crate::models::Loading::of(&model.path);
    loading
        .track(|progress| LocalModel::load(&model.path, &options, progress))
        .with_context(|| model_called(model))
}

fn kv(kv: config::Kv) -> KvFormat {
    match kv {
        config::Kv::F16 => KvFormat::F16,
        config::Kv::Q8_0 => KvFormat::Q8_0,
    }
}

fn adapt(model: &LocalModel, adapter: &AdapterConfig) -> Result<LocalModel> {
    let name = || called(adapter);
    let file = AdapterFile::open(&adapter.path).with_context(name)?;
    let adapted = model.adapted(&adapter.id, &file, adapter.scale).with_context(name)?;
    if let Some(content) = adapted.adapter_content() {
        info!(adapter = adapter.target_id(), %content, "adapter loaded");
    }
    Ok(adapted)
}

/// Reads each model's and adapter's directory, not their weights, and asks each component what it is.
pub(super) fn check(sandbox: &Sandbox, config: &config::Config) -> Result<()> {
    let mut shapes: HashMap<&str, Config> = HashMap::new();
    for model in &config.models {
        let name = || model_called(model);
        let gguf = Gguf::open(&model.path).with_context(name)?;
        let options = LoadOptions {
            context: model.context_tokens.and_then(|tokens| usize::try_from(tokens).ok()),
            kv: kv(model.kv),
            ..LoadOptions::default()
        };
        let (shape, _) = Model::inspect(&gguf, &options).with_context(name)?;
        shapes.insert(&model.id, shape);
    }
    for adapter in &config.adapters {
        check_adapter(adapter, &shapes)?;
    }
    for component in &config.components {
        let plugin = component::load(sandbox, component)?;
        component::check(component, &plugin)?;
        if let Some(Source::Beside(adapter)) = component::weights(component, &plugin, &config.adapters)? {
            check_adapter(&adapter, &shapes)?;
        }
    }
    Ok(())
}

fn check_adapter(adapter: &AdapterConfig, shapes: &HashMap<&str, Config>) -> Result<()> {
    let name = || called(adapter);
    let shape = shapes.get(adapter.model.as_str()).ok_or_else(|| no_model(adapter))?;
    AdapterFile::open(&adapter.path).with_context(name)?.check(shape, adapter.scale).with_context(name)?;
    Ok(())
}
