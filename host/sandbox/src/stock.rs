//! Fresh instances, made before the calls that they are for; and the ends of those that have served.
//!
//! Making an instance and wiping its memory take longer than many a decision. Both are done behind a call, as a task of
//! the runtime that made it: while its request waits for whoever answers it. The call that comes next on that thread
//! finds an instance whose memory is still at hand there. Whoever finds none makes one, so that as many lie ready as
//! calls run at once. Each serves one call, as one made on the spot would: whatever a component does before it is
//! called, it does without having asked the host for anything, and a component that does ask is not made ahead. Nor is
//! one that takes much memory or long to make.
//!
//! Owns what is made and what is to be wiped, with their places in the pool. Does not own instances that are kept from
//! one call to the next (`warm`), nor how a call begins (`plugin`).

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::{Engine, Store};

use crate::Shared;
use crate::call::{Call, Facts};
use crate::contract::bindings::{preprocessor::PreprocessorPre, router::RouterPre};
use crate::engine::{Metering, SandboxOptions};
use crate::own_time::OwnTime;
use crate::plugin::{Plugin, new_store};
use crate::powers::Powers;
use crate::warm::Instance;

/// Tasks that have not run yet. A call that would be behind one more wipes its instance itself.
const TASKS_MAX: usize = 32;
/// Bytes of memory beyond which instances are not made ahead: a few of them would be much to hold for nobody.
const MEMORY_BYTES_MAX: usize = 4 << 20;
/// Instructions that a component may run before it is called, to be made ahead: other requests of the thread wait
/// meanwhile.
const FUEL_MAX: u64 = 1_000_000;

/// How an instance of a plugin is made.
struct Recipe {
    /// The loaded plugin's number.
    plugin: u64,
    powers: Arc<Powers>,
    hook: Hook,
    /// False once it has turned out that its instances are not to be made ahead.
    is_fit: AtomicBool,
}

/// By which hook it is called.
pub(crate) enum Hook {
    Router(RouterPre<Call>),
    Preprocessor(PreprocessorPre<Call>),
}

/// A plugin's claim to instances that are made ahead. When it is dropped, there are none any more.
pub(crate) struct Ahead {
    recipe: Arc<Recipe>,
    shared: Arc<Shared>,
}

impl Ahead {
    pub(crate) fn new(plugin: &Plugin, hook: Hook) -> Self {
        let (powers, shared) = (Arc::clone(&plugin.powers), Arc::clone(&plugin.shared));
        // Whoever looks on is to see all that an instance does within a call.
        let is_fit = AtomicBool::new(powers.probe.is_none());
        Self { recipe: Arc::new(Recipe { plugin: plugin.number, powers, hook, is_fit }), shared }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.stock.forget(&self.recipe);
    }
}

/// An instance that has served no call.
pub(crate) struct Ready {
    pub(crate) store: Store<Call>,
    pub(crate) instance: Instance,
    pub(crate) place: OwnedSemaphorePermit,
}

/// One that lies ready.
struct Lying {
    plugin: u64,
    /// Who made it, and has its memory at hand.
    thread: ThreadId,
    ready: Ready,
}

/// An instance that has served its calls. The order of the fields is the one in which they end.
struct Served {
    _store: Store<Call>,
    _place: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Shelves {
    /// In the order in which they were made.
    ready: VecDeque<Lying>,
    served: Vec<Served>,
    /// Tasks that have not run yet.
    tasks: usize,
}

struct Room {
    shelves: Mutex<Shelves>,
    engine: Engine,
    tick: Duration,
    places: Arc<Semaphore>,
    /// Instances of one plugin that lie ready.
    ready_max: usize,
    /// Places that are left to calls.
    places_min: usize,
}

/// The instances of a sandbox that nobody has yet, or any more.
pub(crate) struct Stock {
    room: Arc<Room>,
    /// False where fuel is the measure: then every call makes its own, and wipes it.
    is_open: bool,
}

impl Stock {
    /// Nothing is made yet. `places` are the pool's, all of them free.
    pub(crate) fn new(engine: &Engine, options: &SandboxOptions, places: &Arc<Semaphore>) -> Self {
        let room = Room {
            shelves: Mutex::default(),
            engine: engine.clone(),
            tick: options.tick,
            ready_max: options.ready_max,
            places: Arc::clone(places),
            // Whoever finds none is to find one as soon as room has been made.
            places_min: (places.available_permits() / 2).max(1),
        };
        let is_open = options.metering == Metering::Clock && options.ready_max > 0;
        Self { room: Arc::new(room), is_open }
    }

    /// An instance by this recipe, if one lies ready: rather one that this thread made, and the latest of them.
    pub(crate) fn take(&self, Ahead { recipe, .. }: &Ahead) -> Option<Ready> {
        if !self.is_open {
            return None;
        }
        let here = thread::current().id();
        let ready = &mut self.room.lock().ready;
        let is_of = |lying: &Lying| lying.plugin == recipe.plugin;
        let mine = ready.iter().rposition(|lying| is_of(lying) && lying.thread == here);
        let place = mine.or_else(|| ready.iter().rposition(is_of))?;
        ready.remove(place).map(|lying| lying.ready)
    }

    /// Takes an instance that has served, to be wiped, and makes another one in its place; both later, where a runtime
    /// is there to do it.
    pub(crate) fn put_away(&self, ahead: &Ahead, store: Store<Call>, place: OwnedSemaphorePermit) {
        let served = Served { _store: store, _place: place };
        let runtime = if self.is_open { Handle::try_current().ok() } else { None };
        if let Some(runtime) = runtime
            && let Some(task) = Task::begin(&self.room, &ahead.recipe, served)
        {
            runtime.spawn(task.run());
        }
    }

    /// Gives places of the pool back: all those of instances that have served, and that of one which lies ready.
    pub(crate) fn make_room(&self) {
        let mut shelves = self.room.lock();
        let served = std::mem::take(&mut shelves.served);
        let ready = shelves.ready.pop_front();
        drop(shelves);
        drop((served, ready));
    }

    /// Drops what lies ready by this recipe, and makes no more.
    fn forget(&self, recipe: &Recipe) {
        let mut shelves = self.room.lock();
        recipe.is_fit.store(false, Ordering::Relaxed);
        let all = std::mem::take(&mut shelves.ready);
        let (dropped, kept): (VecDeque<_>, _) =
            all.into_iter().partition(|lying| lying.plugin == recipe.plugin);
        shelves.ready = kept;
        drop(shelves);
        drop(dropped);
    }
}

/// What is left to do behind a call.
struct Task {
    room: Arc<Room>,
    recipe: Arc<Recipe>,
}

impl Task {
    /// None where there are enough of them: then the instance has been wiped.
    fn begin(room: &Arc<Room>, recipe: &Arc<Recipe>, served: Served) -> Option<Self> {
        let mut shelves = room.lock();
        if shelves.tasks < TASKS_MAX {
            shelves.tasks += 1;
            shelves.served.push(served);
            return Some(Self { room: Arc::clone(room), recipe: Arc::clone(recipe) });
        }
        // Never under the lock: it takes a while.
        drop(shelves);
        drop(served);
        None
    }

    /// Wipes one that has served, whose memory the new one is then likely to get.
    async fn run(self) {
        let served = self.room.lock().served.pop();
        drop(served);
        self.room.add_one(&self.recipe).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.room.lock().tasks -= 1;
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        // Each change is one push or removal.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one instance, unless there are enough or none is to be made.
    async fn add_one(&self, recipe: &Recipe) {
        if !recipe.is_fit.load(Ordering::Relaxed) {
            return;
        }
        let of_plugin = self.lock().ready.iter().filter(|lying| lying.plugin == recipe.plugin).count();
        if of_plugin >= self.ready_max {
            return;
        }
        if self.places.available_permits() <= self.places_min {
            // A plugin that has none comes before one that has had its for long.
            let first = if of_plugin == 0 { self.lock().ready.pop_front() } else { None };
            if first.is_none() {
                return;
            }
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let Some((store, instance)) = self.make(recipe).await else {
            recipe.is_fit.store(false, Ordering::Relaxed);
            return;
        };
        let ready = Ready { store, instance, place };
        let lying = Lying { plugin: recipe.plugin, thread: thread::current().id(), ready };
        let mut shelves = self.lock();
        // Its plugin may be gone by now.
        if recipe.is_fit.load(Ordering::Relaxed) {
            shelves.ready.push_back(lying);
        } else {
            drop(shelves);
            drop(lying);
        }
    }

    /// An instance that may be made ahead, if the component's are such.
    async fn make(&self, recipe: &Recipe) -> Option<(Store<Call>, Instance)> {
        let own_time = OwnTime::new(recipe.powers.limits.time_max, self.tick, Instant::now());
        let call = Call::new(Facts::of_description(), Arc::clone(&recipe.powers), own_time);
        let mut store = new_store(&self.engine, Metering::Clock, call);
        store.set_fuel(FUEL_MAX).ok()?;
        let made = AssertUnwindSafe(async {
            Some(match &recipe.hook {
                Hook::Router(hook) => Instance::Router(hook.instantiate_async(&mut store).await.ok()?),
                Hook::Preprocessor(hook) => {
                    Instance::Preprocessor(hook.instantiate_async(&mut store).await.ok()?)
                }
            })
        });
        let instance = made.catch_unwind().await.ok()??;
        let call = store.data();
        let is_fit = !call.has_asked() && call.meter.memory_bytes() <= MEMORY_BYTES_MAX;
        is_fit.then_some((store, instance))
    }
}
