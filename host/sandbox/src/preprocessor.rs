//! A preprocessor that runs as a component: one call from waiting for a free instance to the changed request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use lockgate_api::{PolicyError, PrepareInput, Prepared, Preprocessor};

use crate::Sandbox;
use crate::call::{Call, Facts};
use crate::contract::bindings::preprocessor::PreprocessorPre;
use crate::grant::Grant;
use crate::plugin::{Begun, Plugin, another_world};
use crate::stock::{Ahead, Hook};
use crate::warm::Instance;

/// A preprocessor that runs as a component.
///
/// Cheap to call from many tasks at once: each call has an instance and a memory of its own, or one that was kept for it
/// ([`crate::PluginSpec::reuse`]).
pub struct PreprocessorPlugin {
    plugin: Plugin,
    instance: PreprocessorPre<Call>,
    ahead: Ahead,
}

impl PreprocessorPlugin {
    pub(crate) fn new(plugin: Plugin, instance: PreprocessorPre<Call>) -> Self {
        let ahead = Ahead::new(&plugin, Hook::Preprocessor(instance.clone()));
        Self { plugin, instance, ahead }
    }

    /// What compiling the component took.
    pub fn compile_time(&self) -> Duration {
        self.plugin.compile_time
    }

    /// Grants that the component does not use. Worth a warning: they could be taken away.
    pub fn grants_unused(&self) -> &[Grant] {
        &self.plugin.grants_unused
    }

    /// The same preprocessor as if `sandbox` had loaded it; see [`Sandbox::apart`].
    #[must_use]
    pub fn within(&self, sandbox: &Sandbox) -> Self {
        Self::new(self.plugin.within(sandbox), self.instance.clone())
    }

    async fn call(&self, input: PrepareInput) -> Result<Prepared, PolicyError> {
        let mut begun = self.plugin.begin(Facts::of_prepare(input), &self.ahead).await?;
        let _running = self.plugin.shared.ticker.running();
        let answer = self.plugin.limited(self.enter(&mut begun)).await;
        let outcome = match self.plugin.judge(begun.store.data(), answer) {
            Ok(None) => prepared(begun.store.data_mut()),
            Ok(Some(reason)) => Err(PolicyError::Refused { reason }),
            Err(error) => Err(error),
        };
        self.plugin.report(&mut begun.store, outcome.as_ref().err());
        self.plugin.keep(begun, &self.ahead, outcome.as_ref().err());
        outcome
    }

    /// Enters the guest. A reason is a refusal.
    async fn enter(&self, begun: &mut Begun) -> wasmtime::Result<Option<String>> {
        let Begun { store, instance, .. } = begun;
        let instance = match instance {
            Some(Instance::Preprocessor(kept)) => kept,
            vacant => {
                let fresh = Instance::Preprocessor(self.instance.instantiate_async(&mut *store).await?);
                let Instance::Preprocessor(fresh) = vacant.insert(fresh) else { return Err(another_world()) };
                fresh
            }
        };
        let hook = instance.lockgate_plugin_prepare();
        match hook.call_prepare(&mut *store, Call::draft_handle()).await? {
            Ok(()) => Ok(None),
            Err(refusal) => Ok(Some(store.data_mut().refusals.remove(&refusal)?.reason)),
        }
    }
}

/// What the guest has made of the request.
fn prepared(call: &mut Call) -> Result<Prepared, PolicyError> {
    let preparation = std::mem::take(&mut call.preparation).check()?;
    let request = call.request().map_err(|error| PolicyError::Host { message: error.to_string() })?;
    Ok(Prepared {
        request: Arc::clone(request),
        add_labels: preparation.labels,
        note: preparation.note.map(Arc::from),
    })
}

impl Preprocessor for PreprocessorPlugin {
    fn id(&self) -> &str {
        &self.plugin.id
    }

    /// Needs a Tokio runtime with its clock.
    fn prepare(&self, input: PrepareInput) -> BoxFuture<'_, Result<Prepared, PolicyError>> {
        Box::pin(self.call(input))
    }
}

impl fmt::Debug for PreprocessorPlugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.describe("PreprocessorPlugin", formatter)
    }
}
