//! Adapters that are components: each says what it is, must be made for the model that it is attached to, and has its
//! weights beside its own file, from a configured adapter, or none.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lockgate_api::TokenHooks;
use lockgate_engine::backend::Tuning;
use lockgate_engine::template::ChatTemplate;
use lockgate_sandbox::{AdapterPlugin, Sandbox, Weights};

use super::policy;
use crate::config::{AdapterConfig, ComponentConfig};

/// Where a component's weights come from.
pub(super) enum Source {
    /// A file or folder, as an `[[adapter]]` would name it.
    Beside(AdapterConfig),
    /// The configured adapter with this target id.
    Of(String),
}

/// Compiles a component, asks it what it is, and checks that it is made for its model.
pub(super) fn load(sandbox: &Sandbox, component: &ComponentConfig) -> Result<AdapterPlugin> {
    let plugin = &component.plugin;
    let loaded = policy::load(plugin, |path, spec| sandbox.load_adapter(path, spec))?;
    policy::warn_of_unused(plugin, loaded.grants_unused());
    let bases = &loaded.description().bases;
    if !bases.contains(&component.model) {
        let bases: Vec<String> = bases.iter().map(|base| format!("`{base}`")).collect();
        bail!(
            "{}: the adapter `{}` is made for the model {} and attached to `{}`; if that is the one it is made for, give \
             its [[model]] that id",
            component.model_place,
            plugin.id,
            bases.join(" or "),
            component.model
        );
    }
    Ok(loaded)
}

/// Where the weights of a component are, if it has any.
///
/// # Errors
/// It wants those of an adapter that is not configured.
pub(super) fn weights(
    component: &ComponentConfig,
    loaded: &AdapterPlugin,
    adapters: &[AdapterConfig],
) -> Result<Option<Source>> {
    let ComponentConfig { plugin, model, place, .. } = component;
    let source = match &loaded.description().weights {
        None => return Ok(None),
        Some(Weights::Beside(name)) => Source::Beside(AdapterConfig {
            id: plugin.id.clone(),
            model: model.clone(),
            path: plugin.path.parent().unwrap_or(Path::new("")).join(name),
            scale: loaded.description().scale,
            place: place.clone(),
        }),
        Some(Weights::Of(id)) => {
            let of = adapters.iter().find(|adapter| adapter.id == *id && adapter.model == *model);
            let Some(of) = of else {
                bail!(
                    "{place}: the adapter `{}` wants the weights of the adapter `{id}`; add an [[adapter]] with that id \
                     and model = \"{model}\"",
                    plugin.id
                );
            };
            Source::Of(of.target_id())
        }
    };
    Ok(Some(source))
}

/// Checks what needs no model.
pub(super) fn check(component: &ComponentConfig, loaded: &AdapterPlugin) -> Result<()> {
    if let Some(template) = &loaded.description().template {
        ChatTemplate::new(template).with_context(|| called(component))?;
    }
    Ok(())
}

/// What the component makes of its model beside the weights.
pub(super) fn tuning(loaded: AdapterPlugin) -> Tuning {
    let description = loaded.description().clone();
    Tuning {
        template: description.template,
        system: description.system,
        sampling: description.sampling,
        hooks: description.steers.map(|_| Arc::new(loaded) as Arc<dyn TokenHooks>),
    }
}

/// A component as messages name it.
pub(super) fn called(component: &ComponentConfig) -> String {
    let ComponentConfig { plugin, model, place, .. } = component;
    format!("{place}: adapter `{}` of model `{model}`", plugin.id)
}
