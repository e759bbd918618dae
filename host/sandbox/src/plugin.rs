//! What the plugins of every world share: the store that a call runs in, its time, and what becomes of
//! its end and of the lines that it wrote.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use lockgate_api::PolicyError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, debug, debug_span, warn};
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::call::{Call, Facts};
use crate::engine::Metering;
use crate::grant::{Grant, World};
use crate::log_rate::{Admitted, LogRate};
use crate::metrics::Counted;
use crate::own_time::{DELAY_MAX, OwnTime};
use crate::pin::Digest;
use crate::powers::Powers;
use crate::probe::Used;
use crate::said::Said;
use crate::stock::{Ahead, Ready};
use crate::stop::{Stop, classify, last_words};
use crate::stopped::{Stopped, out_of_time};
use crate::warm::{Instance, Owner, Seat};
use crate::{Sandbox, Shared};

/// Where the lines of plugins appear in the log.
pub(crate) const TARGET: &str = "lockgate::plugin";

/// The longest that a call runs by the machine's clock where fuel is the measure. A few instructions do work of any
/// length for one unit.
const FUEL_TIME_MAX: Duration = Duration::from_secs(20);

/// A loaded plugin, whatever its world.
pub(crate) struct Plugin {
    pub(crate) id: String,
    pub(crate) world: World,
    pub(crate) digest: Digest,
    /// Different for each plugin that this process has loaded.
    pub(crate) number: u64,
    /// Calls that one instance serves.
    pub(crate) reuse: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) powers: Arc<Powers>,
    pub(crate) metrics: Counted,
    pub(crate) log_rate: Mutex<LogRate>,
    pub(crate) compile_time: Duration,
    pub(crate) grants_unused: Vec<Grant>,
}

/// A call with its place in the pool and its store, and the instance in it, once there is one.
pub(crate) struct Begun {
    pub(crate) store: Store<Call>,
    pub(crate) instance: Option<Instance>,
    /// Whom the instance may serve when it is kept; none when it is not.
    owner: Option<Owner>,
    calls_left: u32,
    place: OwnedSemaphorePermit,
}

impl Plugin {
    /// Begins a call: in an instance that was kept for such a request, else in a fresh one that was made ahead, else in a
    /// fresh store.
    pub(crate) async fn begin(&self, facts: Facts, ahead: &Ahead) -> Result<Begun, PolicyError> {
        let owner = self.owner(&facts);
        if let Some(seat) = owner.as_ref().and_then(|owner| self.shared.warm.take(owner)) {
            let Seat { mut store, instance, calls_left, place } = seat;
            self.begin_in(&mut store, facts);
            self.metrics.warm.inc();
            return Ok(Begun { store, instance: Some(instance), owner, calls_left, place });
        }
        // What is taken down is to hold all that a call does.
        if facts.scope.journal().is_none()
            && let Some(Ready { mut store, instance, place }) = self.shared.stock.take(ahead)
        {
            self.begin_in(&mut store, facts);
            self.metrics.ahead.inc();
            return Ok(Begun { store, instance: Some(instance), owner, calls_left: self.reuse, place });
        }
        let (store, place) = self.begin_fresh(facts).await?;
        Ok(Begun { store, instance: None, owner, calls_left: self.reuse, place })
    }

    /// Begins a call in an instance that is there.
    fn begin_in(&self, store: &mut Store<Call>, facts: Facts) {
        store.data_mut().begin_with(facts, self.own_time());
        self.refuel(store, u64::MAX);
        store.set_epoch_deadline(1);
    }

    /// Begins a call in a fresh store; one that repeats a recorded call, with what ended that.
    pub(crate) async fn begin_fresh(
        &self,
        facts: Facts,
    ) -> Result<(Store<Call>, OwnedSemaphorePermit), PolicyError> {
        let recalled = Stopped::recall(self, &facts);
        if recalled == Some(Stopped::Overloaded) {
            return Err(PolicyError::Overloaded);
        }
        let place = self.free_instance().await.inspect_err(|error| {
            if let Some(stopped) = Stopped::of(self, error, 0) {
                stopped.note(self, &facts);
            }
        })?;
        let mut store = self.store(facts);
        if let Some(Stopped::Time { instructions }) = recalled {
            store.data_mut().repeats_timeout = true;
            self.refuel(&mut store, instructions);
        }
        Ok((store, place))
    }

    /// Whom an instance may serve that serves this request. What a request's journal keeps must follow from the request
    /// alone, so one that is taken down has an instance of its own; and so has every call of a simulation.
    fn owner(&self, facts: &Facts) -> Option<Owner> {
        let is_kept =
            self.reuse > 1 && self.shared.metering == Metering::Clock && facts.scope.journal().is_none();
        is_kept.then(|| Owner {
            plugin: self.number,
            tenant: facts.key.as_ref().map(|key| Arc::clone(&key.tenant)),
            labels: facts.scope.add_labels(facts.labels.iter().cloned()),
        })
    }

    /// Keeps a call's instance for the next one, or puts it away, and another is made by `ahead`. It is kept if it may be:
    /// it has calls left, holds nothing of this one, and this one ended well.
    pub(crate) fn keep(&self, begun: Begun, ahead: &Ahead, error: Option<&PolicyError>) {
        let Begun { mut store, instance, owner, calls_left, place } = begun;
        let is_well = matches!(error, None | Some(PolicyError::Refused { .. }));
        let is_kept = is_well && calls_left > 1 && !store.data().holds_handles();
        let (Some(instance), Some(owner), true) = (instance, owner, is_kept) else {
            self.shared.stock.put_away(ahead, store, place);
            return;
        };
        let scope = Arc::clone(&store.data().facts().scope);
        store.data_mut().forget();
        self.shared.warm.put(owner, Seat { store, instance, calls_left: calls_left - 1, place }, &scope);
    }

    /// A store for a fresh instance, whose first call begins now.
    pub(crate) fn store(&self, facts: Facts) -> Store<Call> {
        let call = Call::new(facts, Arc::clone(&self.powers), self.own_time());
        let mut store = new_store(&self.shared.compiler.engine, self.shared.metering, call);
        self.refuel(&mut store, u64::MAX);
        store
    }

    /// Fills up the instructions of a call: as many as it may have, and `instructions_max` at most.
    pub(crate) fn refuel(&self, store: &mut Store<Call>, instructions_max: u64) {
        let instructions = self.instructions_max().min(instructions_max);
        store.data_mut().instructions_given = instructions;
        // Fails only where the engine does not count them.
        let _filled = store.set_fuel(instructions);
    }

    /// What stands for a call's time where instructions are its measure; more than can be run where they are not.
    fn instructions_max(&self) -> u64 {
        match self.shared.metering {
            Metering::Clock => u64::MAX,
            Metering::Fuel => self.powers.limits.fuel_max(),
        }
    }

    /// The same component with the same settings, as if `sandbox` had loaded it: its time, chance, memory of calls
    /// and probe are that one's.
    pub(crate) fn within(&self, sandbox: &Sandbox) -> Self {
        let Powers { plugin, settings, limits, grants, waits, .. } = &*self.powers;
        Self {
            id: self.id.clone(),
            world: self.world,
            digest: self.digest,
            number: number(),
            // Whoever looks on from a world of their own sees each call by itself.
            reuse: 0,
            shared: Arc::clone(&self.shared),
            powers: Arc::new(Powers {
                plugin: Arc::clone(plugin),
                settings: settings.clone(),
                limits: limits.clone(),
                environment: Arc::clone(&sandbox.environment),
                store: Arc::clone(&sandbox.store),
                grants: grants.clone(),
                spending: sandbox.spending.of(&self.id),
                probe: sandbox.probe.clone(),
                waits: Arc::clone(waits),
            }),
            metrics: self.shared.metrics.of(&self.id, self.world),
            log_rate: Mutex::default(),
            compile_time: self.compile_time,
            grants_unused: self.grants_unused.clone(),
        }
    }

    /// That of a call that begins now.
    pub(crate) fn own_time(&self) -> OwnTime {
        OwnTime::new(self.powers.limits.time_max, self.shared.tick, Instant::now())
    }

    /// Waits for a call into the guest, and no longer than it may take.
    ///
    /// # Errors
    /// The call's own in the inner result; a call that does not come back, or a fault of the host, in the
    /// outer one.
    pub(crate) async fn limited<T>(
        &self,
        entered: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<wasmtime::Result<T>, PolicyError> {
        // Outlives the guest's own end, so that a guest which still yields is ended by its own; this one is for a
        // host function that does not come back.
        let limits = self.powers.limits.time_max + self.powers.wait_max();
        let hard = limits + DELAY_MAX + self.shared.tick * 4;
        match timeout(hard, self.entered(entered)).await {
            Ok(answer) => answer,
            // The fiber is suspended in the middle of the guest, and goes with the store.
            Err(_elapsed) => Err(out_of_time(self)),
        }
    }

    /// The same for a call that its own deadline ends, since nothing that it can call waits. Needs no runtime.
    ///
    /// # Errors
    /// As [`Plugin::limited`].
    pub(crate) async fn entered<T>(
        &self,
        entered: impl Future<Output = wasmtime::Result<T>>,
    ) -> Result<wasmtime::Result<T>, PolicyError> {
        let (plugin, world) = (self.id.as_str(), self.world.name());
        let span = debug_span!(target: TARGET, "plugin", plugin, world, digest = %self.digest);
        let caught = AssertUnwindSafe(entered).catch_unwind().instrument(span).await;
        let panicked = |_| PolicyError::Host { message: "a host function panicked; see the log".to_owned() };
        caught.map_err(panicked)
    }

    /// What a call's end says.
    pub(crate) fn judge<T>(
        &self,
        call: &Call,
        answer: Result<wasmtime::Result<T>, PolicyError>,
    ) -> Result<T, PolicyError> {
        if call.repeats_timeout {
            return Err(out_of_time(self));
        }
        answer?.map_err(|error| {
            let words = last_words(call.standard_error(), call.labels().withhold_payload());
            classify(&error, call.meter.refused(), &words)
        })
    }

    /// Ends a call: what it wrote down counts unless it failed, and the operator is told what it said and how it
    /// ended. What a plugin says is treated like the request's own text: once a label is on the request it goes
    /// nowhere.
    pub(crate) fn report(&self, store: &mut Store<Call>, error: Option<&PolicyError>) {
        let instructions_left = store.get_fuel().unwrap_or_default();
        let call = store.data_mut();
        let instructions = call.instructions_given.saturating_sub(instructions_left);
        if let Some(stopped) = error.and_then(|error| Stopped::of(self, error, instructions)) {
            stopped.note(self, call.facts());
        }
        call.end_memory(matches!(error, None | Some(PolicyError::Refused { .. })));
        self.metrics.record(&call.ended(error, instructions));
        let request_id = Arc::clone(&call.facts().request_id);
        let (plugin, request) = (self.id.as_str(), &*request_id);
        match error {
            None => {}
            Some(PolicyError::Refused { .. }) => {
                debug!(target: TARGET, plugin, request, "refused the request")
            }
            Some(error) => self.tell_failure(call, error),
        }
        let is_withheld = call.labels().withhold_payload();
        let (lines, dropped) = if is_withheld { (Vec::new(), 0) } else { call.take_log() };
        if let Some(probe) = &self.powers.probe {
            let limits = &self.powers.limits;
            let log: Vec<String> = lines.iter().map(|(_, line)| line.clone()).collect();
            probe.ended(&Used {
                plugin,
                world: self.world,
                instructions,
                memory_bytes: call.meter.memory_bytes(),
                host_calls: call.host_calls(),
                limits,
                error,
                log: &log,
            });
        }
        if is_withheld {
            return;
        }
        let Admitted { lines: admitted, dropped_before } = self.admit_lines(lines.len());
        if dropped_before > 0 {
            warn!(target: TARGET, plugin, dropped = dropped_before, "the plugin's calls wrote more log lines than it may");
        }
        Said {
            plugin: self.id.clone(),
            request: request_id,
            lines: lines.into_iter().take(admitted).collect(),
            dropped: if admitted > 0 { dropped } else { 0 },
            standard_error: if error.is_none() {
                last_words(call.standard_error(), false)
            } else {
                String::new()
            },
        }
        .tell(&call.facts().scope);
    }

    /// Tells the operator why a call failed: with the plugin's own words where no label withholds them, then or by the
    /// request's end.
    fn tell_failure(&self, call: &Call, error: &PolicyError) {
        let (plugin, digest, kind) = (self.id.clone(), self.digest.short(), error.kind());
        let request = Arc::clone(&call.facts().request_id);
        if call.labels().withhold_payload() {
            // They are not in it.
            warn!(target: TARGET, plugin, digest, request = &*request, kind, "{error}");
            return;
        }
        let error = error.clone();
        call.facts().scope.when_over(move |labels| {
            if labels.withhold_payload() {
                warn!(target: TARGET, plugin, digest, request = &*request, kind, "failed");
            } else {
                warn!(target: TARGET, plugin, digest, request = &*request, kind, "{error}");
            }
        });
    }

    /// How many lines of a call may be written, by what the plugin's calls have written lately.
    fn admit_lines(&self, lines: usize) -> Admitted {
        if lines == 0 {
            return Admitted { lines: 0, dropped_before: 0 };
        }
        self.log_rate.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now().into_std(), lines)
    }

    /// A place in the pool for one call. Where there is none, instances that nobody has yet, or any more, make room.
    pub(crate) async fn free_instance(&self) -> Result<OwnedSemaphorePermit, PolicyError> {
        let places = &self.shared.free_instances;
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Ok(place);
        }
        self.shared.stock.make_room();
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Ok(place);
        }
        let _wanting = self.shared.warm.want();
        let waiting = timeout(self.powers.limits.time_max, Arc::clone(places).acquire_owned());
        let Ok(permit) = waiting.await else { return Err(PolicyError::Overloaded) };
        permit.map_err(|_| pool_closed())
    }

    /// A place in the pool for as long as an answer lasts, for a guard or an adapter.
    pub(crate) async fn free_guard(&self) -> Result<OwnedSemaphorePermit, PolicyError> {
        let waiting =
            timeout(self.powers.limits.time_max, Arc::clone(&self.shared.free_guards).acquire_owned());
        let Ok(permit) = waiting.await else { return Err(PolicyError::Overloaded) };
        permit.map_err(|_| pool_closed())
    }

    pub(crate) fn describe(&self, name: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct(name)
            .field("id", &self.id)
            .field("digest", &self.digest)
            .field("limits", &self.powers.limits)
            .field("compile_time", &self.compile_time)
            .finish_non_exhaustive()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if self.reuse > 1 {
            self.shared.warm.forget(self.number);
        }
    }
}

/// A store for this call, with its limits and no fuel.
pub(crate) fn new_store(engine: &Engine, metering: Metering, call: Call) -> Store<Call> {
    let (handles_max, output_bytes_max) = {
        let limits = &call.powers().limits;
        (limits.handles_max, limits.output_bytes_max)
    };
    let mut store = Store::new(engine, call);
    store.limiter(|call| &mut call.meter);
    store.set_max_component_handles(handles_max);
    store.set_hostcall_fuel(output_bytes_max);
    store.set_epoch_deadline(1);
    match metering {
        Metering::Clock => store.epoch_deadline_callback(|mut context| {
            context.data_mut().check_time()?;
            Ok(UpdateDeadline::Yield(1))
        }),
        Metering::Fuel => {
            let end = std::time::Instant::now() + FUEL_TIME_MAX;
            store.epoch_deadline_callback(move |_| match std::time::Instant::now() < end {
                true => Ok(UpdateDeadline::Continue(1)),
                false => Err(Stop::Time { limit: FUEL_TIME_MAX }.into()),
            });
        }
    }
    store
}

/// The next plugin's number.
pub(crate) fn number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// An instance is kept for the plugin that made it, which has one world.
pub(crate) fn another_world() -> wasmtime::Error {
    wasmtime::Error::msg("a kept instance of another world")
}

fn pool_closed() -> PolicyError {
    PolicyError::Host { message: "the pool is closed".to_owned() }
}
