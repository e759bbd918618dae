//! The adapters of a loaded model, by name: made, added and removed while it serves.
//!
//! A model with an adapter is a [`LocalModel`] like the model itself, with the target id `model:adapter`. Requests for
//! the model and for all its adapters share batches, the cache's memory and the queue. Removing a name makes it unknown
//! at once; whoever holds the model with that adapter, or is being answered by it, goes on to the end, and only then
//! is its memory given back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, MutexGuard, PoisonError};

use lockgate_api::Target;

use super::prompts::Prompts;
use super::{LocalModel, Variant};
use crate::adapter::{AdapterError, AdapterFile, ContentHash, Release};
use crate::template::TemplateError;

/// A model that cannot be had with an adapter.
#[derive(Debug, thiserror::Error)]
pub enum AdaptError {
    /// The name cannot be part of a target's id.
    #[error("an adapter's name is 1 to 128 visible ASCII characters without comma")]
    Name,
    /// The name is taken.
    #[error("model `{model}` has an adapter `{name}` already; remove it first")]
    Taken {
        /// The model's id.
        model: String,
        /// The adapter's name.
        name: String,
    },
    /// The model is one with an adapter already.
    #[error("`{0}` has an adapter already; adapt the model itself")]
    Adapted(String),
    /// What was to be added is not this model with an adapter.
    #[error("`{0}` is not a model with an adapter of its own")]
    Foreign(String),
    /// The chat template is none.
    #[error("the chat template: {0}")]
    Template(#[from] TemplateError),
    /// The adapter cannot be used with this model.
    #[error(transparent)]
    Load(#[from] AdapterError),
}

/// Whether this can be part of a target's id.
pub(super) fn is_name(name: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    !name.is_empty() && name.len() <= 128 && name.bytes().all(visible)
}

impl LocalModel {
    /// The model with an adapter; `scale` multiplies what the file itself says. Takes as long as reading the file; the
    /// model goes on serving. Nobody finds it by its name before it is [added](Self::add_adapter).
    ///
    /// # Errors
    /// The adapter does not fit the model, or its file is damaged.
    pub fn adapted(&self, name: &str, file: &AdapterFile, scale: f32) -> Result<Self, AdaptError> {
        if !is_name(name) {
            return Err(AdaptError::Name);
        }
        let base = &*self.variant;
        if base.adapter_name.is_some() {
            return Err(AdaptError::Adapted(base.target.id.clone()));
        }
        let adapter = Arc::new(file.load(&self.shared.config, scale)?);
        let id = format!("{}:{name}", base.target.id);
        let model = format!("{} + {name} {}", base.target.model, adapter.content().short());
        let prompts = Prompts { id: id.as_str().into(), adapter: Some(adapter), ..(*base.prompts).clone() };
        let target = Target { id, model, ..base.target.clone() };
        let adapter_name = Some(name.to_owned());
        let variant = Arc::new(Variant { target, prompts: Arc::new(prompts), adapter_name, hooks: None });
        Ok(Self { shared: Arc::clone(&self.shared), variant })
    }

    /// Lets `adapted`, which was made from this model, be found by its adapter's name.
    ///
    /// # Errors
    /// The name is taken, or `adapted` is of another model.
    pub fn add_adapter(&self, adapted: &Self) -> Result<(), AdaptError> {
        let foreign = || AdaptError::Foreign(adapted.target().id.clone());
        let same = Arc::ptr_eq(&self.shared, &adapted.shared);
        let name = adapted.variant.adapter_name.clone().filter(|_| same).ok_or_else(foreign)?;
        match self.by_name().entry(name) {
            Entry::Vacant(free) => {
                free.insert(Arc::clone(&adapted.variant));
                Ok(())
            }
            Entry::Occupied(taken) => {
                let model = self.shared.id.clone();
                Err(AdaptError::Taken { model, name: taken.key().clone() })
            }
        }
    }

    /// The model with the adapter that was added under this name.
    #[must_use]
    pub fn with_adapter(&self, name: &str) -> Option<Self> {
        let variant = Arc::clone(self.by_name().get(name)?);
        Some(Self { shared: Arc::clone(&self.shared), variant })
    }

    /// The names of the adapters that were added.
    #[must_use]
    pub fn adapters(&self) -> Vec<String> {
        self.by_name().keys().cloned().collect()
    }

    /// The target ids of the adapters that were added; none for a model that has an adapter itself.
    pub(super) fn adapters_as_targets(&self) -> Vec<String> {
        if self.variant.adapter_name.is_some() {
            return Vec::new();
        }
        self.by_name().values().map(|variant| variant.target.id.clone()).collect()
    }

    /// Forgets the adapter of this name: nobody finds it any more. The answer tells when its last user is gone; it is
    /// nothing where there is no such name.
    #[must_use]
    pub fn remove_adapter(&self, name: &str) -> Option<Release> {
        let variant = self.by_name().remove(name)?;
        Some(variant.prompts.adapter.as_ref()?.release())
    }

    /// What this model's adapter computes, if it has one.
    #[must_use]
    pub fn adapter_content(&self) -> Option<ContentHash> {
        Some(self.variant.prompts.adapter.as_ref()?.content())
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Variant>>> {
        // Nothing panics while it is held.
        self.shared.adapters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
