//! A guard that runs as a component: one instance a choice, called for each chunk, for as long as the answer
//! lasts.
//!
//! Each call has the limits of any call; the memory, the handles and the log lines are counted over all of
//! them. After the first failure the instance is not entered again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use lockgate_api::{Chunk, ChunkKind, Guard, PolicyError, Verdict, Watch, WatchInput};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::{Resource, ResourceAny};

use crate::Sandbox;
use crate::call::{Call, Facts};
use crate::contract::bindings::guard::exports::lockgate::plugin::watch;
use crate::contract::bindings::guard::{Guard as Instance, GuardPre};
use crate::contract::{REASON_BYTES_MAX, Refused};
use crate::grant::Grant;
use crate::plugin::Plugin;

/// A guard that runs as a component.
///
/// Each choice that it watches has an instance and a memory of its own.
pub struct GuardPlugin {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) instance: GuardPre<Call>,
}

impl GuardPlugin {
    /// What compiling the component took.
    pub fn compile_time(&self) -> Duration {
        self.plugin.compile_time
    }

    /// Grants that the component does not use. Worth a warning: they could be taken away.
    pub fn grants_unused(&self) -> &[Grant] {
        &self.plugin.grants_unused
    }

    /// The same guard as if `sandbox` had loaded it; see [`Sandbox::apart`].
    #[must_use]
    pub fn within(&self, sandbox: &Sandbox) -> Self {
        Self { plugin: Arc::new(self.plugin.within(sandbox)), instance: self.instance.clone() }
    }

    async fn begin(&self, input: WatchInput) -> Result<Box<dyn Watch>, PolicyError> {
        let place = self.plugin.free_guard().await?;
        let _running = self.plugin.shared.ticker.running();
        let mut store = self.plugin.store(Facts::of_watch(input));
        let entered = async {
            let instance = self.instance.instantiate_async(&mut store).await?;
            let hook = instance.lockgate_plugin_watch().watcher();
            let answer = hook.call_begin(&mut store, Call::answer_handle()).await?;
            Ok((instance, answer))
        };
        let answer = self.plugin.limited(entered).await;
        let outcome = match self.plugin.judge(store.data(), answer) {
            Ok((instance, Ok(watcher))) => Ok((instance, watcher)),
            Ok((_, Err(refusal))) => Err(refused(store.data_mut(), &refusal)),
            Err(error) => Err(error),
        };
        self.plugin.report(&mut store, outcome.as_ref().err());
        let (instance, watcher) = outcome?;
        let plugin = Arc::clone(&self.plugin);
        Ok(Box::new(Watcher { store, instance, watcher, plugin, is_sound: true, _place: place }))
    }
}

/// An instance that watches one choice.
struct Watcher {
    store: Store<Call>,
    instance: Instance,
    watcher: ResourceAny,
    plugin: Arc<Plugin>,
    /// Between calls, while none has failed or been abandoned.
    is_sound: bool,
    _place: OwnedSemaphorePermit,
}

/// What the guest is asked.
enum Question<'a> {
    Chunk(Chunk<'a>),
    EndRun,
    Finish,
}

impl Watcher {
    async fn ask(&mut self, question: Question<'_>) -> Result<Verdict, PolicyError> {
        if !std::mem::take(&mut self.is_sound) {
            return Err(PolicyError::Host { message: "the guard has failed before".to_owned() });
        }
        let plugin = Arc::clone(&self.plugin);
        let _running = plugin.shared.ticker.running();
        self.store.data_mut().begin_again();
        self.store.set_epoch_deadline(1);
        plugin.refuel(&mut self.store, u64::MAX);
        let answer = plugin.limited(self.enter(question)).await;
        let outcome = plugin.judge(self.store.data(), answer).and_then(verdict);
        plugin.report(&mut self.store, outcome.as_ref().err());
        self.is_sound = outcome.is_ok();
        outcome
    }

    async fn enter(&mut self, question: Question<'_>) -> wasmtime::Result<watch::Verdict> {
        let hook = self.instance.lockgate_plugin_watch().watcher();
        match question {
            Question::Chunk(Chunk { kind, text }) => {
                let kind = match kind {
                    ChunkKind::Text => watch::Kind::Text,
                    ChunkKind::Reasoning => watch::Kind::Reasoning,
                    ChunkKind::Arguments { tool } => watch::Kind::Arguments(tool.to_owned()),
                };
                hook.call_on_chunk(&mut self.store, self.watcher, &kind, text).await
            }
            Question::EndRun => hook.call_end_run(&mut self.store, self.watcher).await,
            Question::Finish => hook.call_finish(&mut self.store, self.watcher).await,
        }
    }
}

pub(crate) fn refused(call: &mut Call, refusal: &Resource<Refused>) -> PolicyError {
    match call.refusals.remove(refusal) {
        Ok(Refused { reason }) => PolicyError::Refused { reason },
        Err(error) => PolicyError::Host { message: error.to_string() },
    }
}

fn verdict(verdict: watch::Verdict) -> Result<Verdict, PolicyError> {
    Ok(match verdict {
        watch::Verdict::Pass => Verdict::Pass,
        watch::Verdict::Replace(text) => Verdict::Replace(text),
        watch::Verdict::Hold(bytes) => Verdict::Hold(bytes as usize),
        watch::Verdict::Stop(reason) if reason.len() <= REASON_BYTES_MAX => Verdict::Stop { reason },
        watch::Verdict::Stop(reason) => {
            let limit = format!(
                "the reason of the stop: {} where at most {REASON_BYTES_MAX} is allowed",
                reason.len()
            );
            return Err(PolicyError::Limit { limit });
        }
    })
}

impl Watch for Watcher {
    fn on_chunk<'a>(&'a mut self, chunk: Chunk<'a>) -> BoxFuture<'a, Result<Verdict, PolicyError>> {
        Box::pin(self.ask(Question::Chunk(chunk)))
    }

    fn end_run(&mut self) -> BoxFuture<'_, Result<Verdict, PolicyError>> {
        Box::pin(self.ask(Question::EndRun))
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<Verdict, PolicyError>> {
        Box::pin(self.ask(Question::Finish))
    }
}

impl Guard for GuardPlugin {
    fn id(&self) -> &str {
        &self.plugin.id
    }

    /// Needs a Tokio runtime with its clock.
    fn watch(&self, input: WatchInput) -> BoxFuture<'_, Result<Box<dyn Watch>, PolicyError>> {
        Box::pin(self.begin(input))
    }
}

impl fmt::Debug for GuardPlugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.describe("GuardPlugin", formatter)
    }
}
