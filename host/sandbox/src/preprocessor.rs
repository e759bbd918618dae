//! A preprocessor that runs as a component: one call from waiting for a free instance to the changed request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use lockgate_api::{PolicyError, PrepareInput, Prepared, Preprocessor};
use wasmtime::Store;

use crate::Sandbox;
use crate::call::{Call, Facts};
use crate::contract::bindings::preprocessor::PreprocessorPre;
use crate::grant::Grant;
use crate::plugin::Plugin;

/// A preprocessor that runs as a component.
///
/// Cheap to call from many tasks at once: each call has an instance and a memory of its own.
pub struct PreprocessorPlugin {
    pub(crate) plugin: Plugin,
    pub(crate) instance: PreprocessorPre<Call>,
}

impl PreprocessorPlugin {
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
        Self { plugin: self.plugin.within(sandbox), instance: self.instance.clone() }
    }

    async fn call(&self, input: PrepareInput) -> Result<Prepared, PolicyError> {
        let _place = self.plugin.free_instance().await?;
        let _running = self.plugin.shared.ticker.running();
        let mut store = self.plugin.store(Facts::of_prepare(input));
        let answer = self.plugin.limited(self.enter(&mut store)).await;
        let outcome = match self.plugin.judge(store.data(), answer) {
            Ok(None) => prepared(store.data_mut()),
            Ok(Some(reason)) => Err(PolicyError::Refused { reason }),
            Err(error) => Err(error),
        };
        self.plugin.report(&mut store, outcome.as_ref().err());
        outcome
    }

    /// Enters the guest. A reason is a refusal.
    async fn enter(&self, store: &mut Store<Call>) -> wasmtime::Result<Option<String>> {
        let instance = self.instance.instantiate_async(&mut *store).await?;
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
