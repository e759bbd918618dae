//! An adapter that runs as a component: described once when it is loaded, then one instance a generation, called for
//! each token.
//!
//! Each call has the limits of any call; the time of all of a generation's calls has one of its own, and memory,
//! handles and log lines are counted over all of them. A call begins on the thread that computes the model, which goes
//! on as soon as the guest has taken longer than a tick: the rest of the call runs on the host's own threads.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use lockgate_api::{
    HOOK_BIAS_MAX, HookInput, Mask, NextStep, Place, PolicyError, Steering, Step, TokenHook, TokenHooks,
};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::call::{Call, Facts};
use crate::contract::Description;
use crate::contract::bindings::adapter::exports::lockgate::plugin::adapt;
use crate::contract::bindings::adapter::{Adapter as Instance, AdapterPre};
use crate::grant::Grant;
use crate::guard::refused;
use crate::plugin::Plugin;

/// An adapter that runs as a component.
///
/// Each generation that it steers has an instance and a memory of its own.
pub struct AdapterPlugin {
    plugin: Arc<Plugin>,
    instance: AdapterPre<Call>,
    description: Description,
}

impl AdapterPlugin {
    /// Asks the component what it is. The calling thread waits, no longer than a call may take.
    ///
    /// # Errors
    /// In words, how the component failed or what is wrong with what it said.
    pub(crate) fn describe(plugin: Plugin, instance: AdapterPre<Call>) -> Result<Self, String> {
        let plugin = Arc::new(plugin);
        // A thread of its own, since the calling one may belong to a runtime, where another must not run.
        let described = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                let runtime = runtime.map_err(|error| format!("no runtime to call it in: {error}"))?;
                runtime.block_on(asked(&plugin, &instance)).map_err(|error| error.to_string())
            });
            asking.join().unwrap_or_else(|_| Err("a host function panicked; see the log".to_owned()))
        });
        let description = described?.check()?;
        Ok(Self { plugin, instance, description })
    }

    /// The same adapter as if `sandbox` had loaded it; see [`crate::Sandbox::apart`].
    #[must_use]
    pub fn within(&self, sandbox: &crate::Sandbox) -> Self {
        let (instance, description) = (self.instance.clone(), self.description.clone());
        Self { plugin: Arc::new(self.plugin.within(sandbox)), instance, description }
    }

    /// What the adapter is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What compiling the component took.
    pub fn compile_time(&self) -> Duration {
        self.plugin.compile_time
    }

    /// Grants that the component does not use. Worth a warning: they could be taken away.
    pub fn grants_unused(&self) -> &[Grant] {
        &self.plugin.grants_unused
    }

    async fn begin_hook(&self, input: HookInput) -> Result<Box<dyn TokenHook>, PolicyError> {
        let place = self.plugin.free_guard().await?;
        let _running = self.plugin.shared.ticker.running();
        let choice = input.choice;
        let vocabulary_size = input.vocabulary.size();
        let mut store = self.plugin.store(Facts::of_adapt(input));
        let entered = async {
            let instance = self.instance.instantiate_async(&mut store).await?;
            let hook = instance.lockgate_plugin_adapt().steerer();
            let answer = hook.call_begin(&mut store, Call::request_handle(), choice).await?;
            Ok((instance, answer))
        };
        let answer = self.plugin.limited(entered).await;
        let outcome = match self.plugin.judge(store.data(), answer) {
            Ok((instance, Ok(steerer))) => Ok((instance, steerer)),
            Ok((_, Err(refusal))) => Err(refused(store.data_mut(), &refusal)),
            Err(error) => Err(error),
        };
        self.plugin.report(&mut store, outcome.as_ref().err());
        let (instance, steerer) = outcome?;
        Ok(Box::new(Hook {
            store,
            instance,
            steerer,
            plugin: Arc::clone(&self.plugin),
            vocabulary_size,
            spent: Duration::ZERO,
            runtime: Handle::current(),
            _place: place,
        }))
    }
}

/// What a component says about itself, in an instance of its own.
async fn asked(
    plugin: &Plugin,
    instance: &AdapterPre<Call>,
) -> Result<crate::contract::AdaptationDraft, PolicyError> {
    let _place = plugin.free_instance().await?;
    let _running = plugin.shared.ticker.running();
    let mut store = plugin.store(Facts::of_description());
    let entered = async {
        let instance = instance.instantiate_async(&mut store).await?;
        instance.lockgate_plugin_adapt().call_describe(&mut store).await
    };
    let answer = plugin.limited(entered).await;
    let described = plugin.judge(store.data(), answer).and_then(|handle| {
        let draft = store.data_mut().adaptations.remove(&handle);
        draft.map_err(|error| PolicyError::Host { message: error.to_string() })
    });
    plugin.report(&mut store, described.as_ref().err());
    described
}

/// An instance that steers one generation.
struct Hook {
    store: Store<Call>,
    instance: Instance,
    steerer: ResourceAny,
    plugin: Arc<Plugin>,
    vocabulary_size: u32,
    /// By all calls so far.
    spent: Duration,
    /// Where calls go on that take their time.
    runtime: Handle,
    _place: OwnedSemaphorePermit,
}

type Answered = Result<(Box<dyn TokenHook>, Step), PolicyError>;

impl Hook {
    async fn ask(mut self: Box<Self>, place: Place) -> Answered {
        let plugin = Arc::clone(&self.plugin);
        let _running = plugin.shared.ticker.running();
        self.store.data_mut().begin_again();
        self.store.set_epoch_deadline(1);
        plugin.refuel(&mut self.store, u64::MAX);
        let answer = plugin.entered(self.enter(place)).await;
        let judged = plugin.judge(self.store.data(), answer);
        let outcome = judged.and_then(|step| self.step(step)).and_then(|step| self.spend(step));
        plugin.report(&mut self.store, outcome.as_ref().err());
        let step = outcome?;
        Ok((self, step))
    }

    async fn enter(&mut self, place: Place) -> wasmtime::Result<adapt::Step> {
        let call = self.store.data_mut();
        let chosen = place.chosen.map(|token| adapt::Chosen { token, text: call.token_bytes(token) });
        let candidate = |(token, logit)| adapt::Candidate { token, logit };
        let top: Vec<adapt::Candidate> = place.top.into_iter().map(candidate).collect();
        call.hand_over(top.len() * size_of::<adapt::Candidate>())?;
        let hook = self.instance.lockgate_plugin_adapt().steerer();
        hook.call_next(&mut self.store, self.steerer, chosen.as_ref(), &top).await
    }

    /// What the guest said, if it makes sense.
    fn step(&self, step: adapt::Step) -> Result<Step, PolicyError> {
        let adapt::Steering { biases, mask } = match step {
            adapt::Step::AsBefore => return Ok(Step::AsBefore),
            adapt::Step::Stop => return Ok(Step::Stop),
            adapt::Step::Steer(steering) => steering,
        };
        let invalid = |problem: String| Err(PolicyError::InvalidAnswer { problem });
        let mask = match mask {
            adapt::Mask::All => Mask::All,
            adapt::Mask::Only(tokens) => Mask::Only(tokens),
            adapt::Mask::Never(tokens) => Mask::Never(tokens),
        };
        let (Mask::Only(masked) | Mask::Never(masked)) = &mask else { return self.with_biases(biases, mask) };
        if let Some(token) = masked.iter().find(|token| **token >= self.vocabulary_size) {
            return invalid(format!("its mask names token {token} of {}", self.vocabulary_size));
        }
        self.with_biases(biases, mask)
    }

    fn with_biases(&self, biases: Vec<adapt::Bias>, mask: Mask) -> Result<Step, PolicyError> {
        for &adapt::Bias { token, add } in &biases {
            let problem = if token >= self.vocabulary_size {
                format!("a bias is for token {token} of {}", self.vocabulary_size)
            } else if !(-HOOK_BIAS_MAX..=HOOK_BIAS_MAX).contains(&add) {
                format!("a bias of {add} is not between -{HOOK_BIAS_MAX} and {HOOK_BIAS_MAX}")
            } else {
                continue;
            };
            return Err(PolicyError::InvalidAnswer { problem });
        }
        let biases = biases.into_iter().map(|adapt::Bias { token, add }| (token, add)).collect();
        Ok(Step::Steer(Steering { biases, mask }))
    }

    /// Counts what the call took against what all of them may.
    fn spend(&mut self, step: Step) -> Result<Step, PolicyError> {
        self.spent += self.store.data().own_time();
        let limit = self.plugin.powers.limits.generation_time_max;
        if self.spent > limit {
            let limit = format!("time: {} ms in all calls of one generation", limit.as_millis());
            return Err(PolicyError::Limit { limit });
        }
        Ok(step)
    }
}

impl TokenHook for Hook {
    fn next(self: Box<Self>, place: Place) -> NextStep {
        let runtime = self.runtime.clone();
        Box::pin(Asked::Here { call: Box::pin(self.ask(place)), runtime })
    }
}

/// A call: begun where it is first polled, moved to the runtime if it is not over at once.
enum Asked {
    Here { call: NextStep, runtime: Handle },
    There(Task),
    Over,
}

impl Future for Asked {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Self::Here { call, .. } = this {
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                *this = Self::Over;
                return Poll::Ready(answer);
            }
            if let Self::Here { call, runtime } = std::mem::replace(this, Self::Over) {
                *this = Self::There(Task(runtime.spawn(call)));
            }
        }
        let Self::There(task) = this else { return Poll::Pending };
        let answer = std::task::ready!(Pin::new(&mut task.0).poll(context));
        *this = Self::Over;
        let ended = |_| PolicyError::Host { message: "the host shut down while the call ran".to_owned() };
        Poll::Ready(answer.map_err(ended).flatten())
    }
}

/// A call on the runtime, which ends with this.
struct Task(JoinHandle<Answered>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl TokenHooks for AdapterPlugin {
    fn id(&self) -> &str {
        &self.plugin.id
    }

    fn top(&self) -> usize {
        self.description.steers.unwrap_or(0)
    }

    /// Needs a Tokio runtime with its clock.
    fn begin(&self, input: HookInput) -> BoxFuture<'_, Result<Box<dyn TokenHook>, PolicyError>> {
        Box::pin(self.begin_hook(input))
    }
}

impl fmt::Debug for AdapterPlugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.describe("AdapterPlugin", formatter)
    }
}
