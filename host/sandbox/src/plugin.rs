//! A loaded plugin, and one call of it from waiting for a free instance to the checked plan.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use futures_util::FutureExt as _;
use lockgate_api::{Plan, PolicyError, RouteInput, Router};
use tokio::time::timeout;
use tracing::{debug, error, info, trace, warn};
use wasmtime::{Store, UpdateDeadline};

use crate::Shared;
use crate::call::{Call, LogLevel};
use crate::contract::Draft;
use crate::contract::bindings::RouterPre;
use crate::grant::Grant;
use crate::limits::Limits;
use crate::stop::{Stop, classify, last_words};

/// Where the lines of plugins appear in the log.
const TARGET: &str = "lockgate::plugin";

/// A router that runs as a component.
///
/// Cheap to call from many tasks at once: each call has an instance and a memory of its own.
pub struct RouterPlugin {
    pub(crate) id: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) router: RouterPre<Call>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) settings: Arc<BTreeMap<String, String>>,
    pub(crate) compile_time: Duration,
    pub(crate) grants_unused: Vec<Grant>,
}

impl RouterPlugin {
    /// What compiling the component took.
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Grants that the component does not use. Worth a warning: they could be taken away.
    pub fn grants_unused(&self) -> &[Grant] {
        &self.grants_unused
    }

    async fn call(&self, input: RouteInput) -> Result<Plan, PolicyError> {
        let waiting = timeout(self.limits.time_max, self.shared.free_instances.acquire());
        let Ok(permit) = waiting.await else { return Err(PolicyError::Overloaded) };
        let _permit = permit.map_err(|_| PolicyError::Host { message: "the pool is closed".to_owned() })?;
        let _running = self.shared.ticker.running();

        let mut store = self.store(input);
        // Outlives the guest's own deadline, so that a guest which still yields is ended by its own; this
        // one is for a host function that does not come back.
        let hard = self.limits.time_max + self.shared.tick * 4;
        let answer = timeout(hard, AssertUnwindSafe(self.enter(&mut store)).catch_unwind()).await;
        let withhold = store.data().labels().withhold_payload();
        let outcome = match answer {
            Err(_elapsed) => {
                // The fiber is suspended in the middle of the guest, and goes with the store.
                Err(PolicyError::Limit { limit: Stop::Time { limit: self.limits.time_max }.to_string() })
            }
            Ok(Err(_panic)) => {
                Err(PolicyError::Host { message: "a host function panicked; see the log".to_owned() })
            }
            Ok(Ok(Err(error))) => {
                let words = last_words(store.data().standard_error(), withhold);
                Err(classify(&error, store.data().meter.refused(), &words))
            }
            Ok(Ok(Ok(Answer::Refused(reason)))) => Err(PolicyError::Refused { reason }),
            Ok(Ok(Ok(Answer::Plan(draft)))) => draft.check(&store.data().input().catalog, withhold),
        };
        self.report(store.data_mut(), &outcome);
        outcome
    }
}

/// How a guest answered.
enum Answer {
    Plan(Draft),
    Refused(String),
}

impl RouterPlugin {
    fn store(&self, input: RouteInput) -> Store<Call> {
        let deadline = Instant::now() + self.limits.time_max;
        let call = Call::new(input, Arc::clone(&self.settings), Arc::clone(&self.limits), deadline);
        let mut store = Store::new(&self.shared.engine, call);
        store.limiter(|call| &mut call.meter);
        store.set_max_component_handles(self.limits.handles_max);
        store.set_hostcall_fuel(self.limits.output_bytes_max);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            context.data().check_time()?;
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }

    async fn enter(&self, store: &mut Store<Call>) -> wasmtime::Result<Answer> {
        let instance = self.router.instantiate_async(&mut *store).await?;
        let hook = instance.lockgate_plugin_route();
        let answer = hook.call_route(&mut *store, Call::request_handle()).await?;
        let call = store.data_mut();
        Ok(match answer {
            Ok(plan) => Answer::Plan(call.drafts.remove(&plan)?),
            Err(refusal) => Answer::Refused(call.refusals.remove(&refusal)?.reason),
        })
    }

    /// Tells the operator what the plugin wrote and how its call ended. What a plugin wrote is treated like
    /// the request's own text: once a label is on the request, it goes nowhere.
    fn report(&self, call: &mut Call, outcome: &Result<Plan, PolicyError>) {
        let request_id = Arc::clone(&call.input().request_id);
        let (plugin, request) = (self.id.as_str(), &*request_id);
        match outcome {
            Ok(_) => {}
            Err(PolicyError::Refused { .. }) => {
                debug!(target: TARGET, plugin, request, "refused the request")
            }
            Err(error) => warn!(target: TARGET, plugin, request, kind = error.kind(), "{error}"),
        }
        let labelled_by_plan = outcome.as_ref().is_ok_and(|plan| !plan.add_labels.is_empty());
        if call.labels().withhold_payload() || labelled_by_plan {
            return;
        }
        let (lines, dropped) = call.take_log();
        for (level, line) in lines {
            match level {
                LogLevel::Trace => trace!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Debug => debug!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Info => info!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Warn => warn!(target: TARGET, plugin, request, "{line}"),
                LogLevel::Error => error!(target: TARGET, plugin, request, "{line}"),
            }
        }
        if dropped > 0 {
            warn!(target: TARGET, plugin, request, dropped, "the plugin wrote more log lines than it may");
        }
        let words = last_words(call.standard_error(), false);
        if outcome.is_ok() && !words.is_empty() {
            debug!(target: TARGET, plugin, request, "standard error: {words}");
        }
    }
}

impl Router for RouterPlugin {
    fn id(&self) -> &str {
        &self.id
    }

    /// Needs a Tokio runtime with its clock.
    fn route(&self, input: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        Box::pin(self.call(input))
    }
}

impl fmt::Debug for RouterPlugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RouterPlugin")
            .field("id", &self.id)
            .field("limits", &self.limits)
            .field("compile_time", &self.compile_time)
            .finish_non_exhaustive()
    }
}
