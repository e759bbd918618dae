//! Fresh instances, made before the calls that they are for; and the ends of those that have served.
//!
//! Making an instance and wiping its memory take longer than many a decision. One thread does both, off the way of
//! requests: whoever finds an instance of its plugin here takes it, whoever does not makes one. Each serves one call, as
//! one made on the spot would: whatever a component does before it is called, it does without having asked the host for
//! anything, and a component that does ask is not made ahead. Nor is one that takes much memory.
//!
//! Owns what is made and what is to be wiped, with their places in the pool. Does not own instances that are kept from
//! one call to the next (`warm`), nor how a call begins (`plugin`).

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Runtime;
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

/// Instances that wait to be wiped. One more is wiped by the call that it served.
const SERVED_MAX: usize = 32;
/// Bytes of memory beyond which instances are not made ahead: a few of them would be much to hold for nobody.
const MEMORY_BYTES_MAX: usize = 4 << 20;
/// Instructions that a component may run before it is called, to be made ahead.
const FUEL_MAX: u64 = 50_000_000;
/// How often the thread looks for work once it has had some. Waking it would cost a request more than it saves.
const LOOK_EVERY: Duration = Duration::from_micros(50);
/// Looks without work after which the thread sleeps until the next tick that finds some.
const IDLE_LOOKS_MAX: u32 = 20;

/// How an instance of a plugin is made.
pub(crate) struct Recipe {
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

/// An instance that has served its calls. The order of the fields is the one in which they end.
struct Served {
    _store: Store<Call>,
    _place: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Shelves {
    ready: VecDeque<(u64, Ready)>,
    /// Of which somebody took one, or wanted to, since they were last filled up.
    wanted: Vec<Arc<Recipe>>,
    served: Vec<Served>,
}

struct Room {
    shelves: Mutex<Shelves>,
    /// Whether there is something to do.
    has_work: AtomicBool,
    stopped: AtomicBool,
    engine: Engine,
    tick: Duration,
    places: Arc<Semaphore>,
    /// Instances of one plugin that lie ready.
    ready_max: usize,
    /// Places that are left to calls.
    places_min: usize,
}

/// Owns the thread.
pub(crate) struct Stock {
    room: Arc<Room>,
    /// None where fuel is the measure: then every call makes its own.
    thread: Option<JoinHandle<()>>,
}

/// Wakes the thread when there is work.
pub(crate) struct Waker {
    room: Arc<Room>,
    thread: Option<thread::Thread>,
}

impl Waker {
    /// Cheap when there is none.
    pub(crate) fn wake(&self) {
        if self.room.has_work.load(Ordering::Relaxed)
            && let Some(thread) = &self.thread
        {
            thread.unpark();
        }
    }
}

impl Stock {
    /// Starts the thread, unless fuel is the measure or nothing is to be made. `places` are the pool's, all of them free.
    pub(crate) fn start(
        engine: &Engine,
        options: &SandboxOptions,
        places: &Arc<Semaphore>,
    ) -> io::Result<Self> {
        let room = Arc::new(Room {
            shelves: Mutex::default(),
            has_work: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            engine: engine.clone(),
            tick: options.tick,
            ready_max: options.ready_max,
            places: Arc::clone(places),
            // Whoever finds none is to find one as soon as room has been made.
            places_min: (places.available_permits() / 2).max(1),
        });
        let thread = match options.metering {
            Metering::Clock if options.ready_max > 0 => {
                let room = Arc::clone(&room);
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                let run = move || room.run(&runtime);
                Some(thread::Builder::new().name("lockgate-stock".to_owned()).spawn(run)?)
            }
            _ => None,
        };
        Ok(Self { room, thread })
    }

    pub(crate) fn waker(&self) -> Waker {
        let thread = self.thread.as_ref().map(|thread| thread.thread().clone());
        Waker { room: Arc::clone(&self.room), thread }
    }

    /// An instance by this recipe, if one lies ready; others are made for the calls to come.
    pub(crate) fn take(&self, Ahead { recipe, .. }: &Ahead) -> Option<Ready> {
        if self.thread.is_none() || !recipe.is_fit.load(Ordering::Relaxed) {
            return None;
        }
        let mut shelves = self.room.lock();
        if !shelves.wanted.iter().any(|wanted| Arc::ptr_eq(wanted, recipe)) {
            shelves.wanted.push(Arc::clone(recipe));
        }
        self.room.has_work.store(true, Ordering::Relaxed);
        let place = shelves.ready.iter().position(|(plugin, _)| *plugin == recipe.plugin)?;
        shelves.ready.remove(place).map(|(_, ready)| ready)
    }

    /// Takes an instance that has served, to be wiped.
    pub(crate) fn put_away(&self, store: Store<Call>, place: OwnedSemaphorePermit) {
        let served = Served { _store: store, _place: place };
        let mut shelves = self.room.lock();
        if self.thread.is_some() && shelves.served.len() < SERVED_MAX {
            shelves.served.push(served);
            self.room.has_work.store(true, Ordering::Relaxed);
            return;
        }
        // Never under the lock: it takes a while.
        drop(shelves);
        drop(served);
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
        let plugin = recipe.plugin;
        let mut shelves = self.room.lock();
        recipe.is_fit.store(false, Ordering::Relaxed);
        shelves.wanted.retain(|wanted| wanted.plugin != plugin);
        let all = std::mem::take(&mut shelves.ready);
        let (dropped, kept): (VecDeque<_>, _) = all.into_iter().partition(|(number, _)| *number == plugin);
        shelves.ready = kept;
        drop(shelves);
        drop(dropped);
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.room.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Whatever it panicked with, there is nothing left to do.
            let _ended = thread.join();
        }
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        // Each change is one push or removal.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, runtime: &Runtime) {
        let mut idle_looks = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            if self.has_work.swap(false, Ordering::Relaxed) {
                idle_looks = 0;
                self.work(runtime);
            } else if idle_looks < IDLE_LOOKS_MAX {
                idle_looks += 1;
                thread::park_timeout(LOOK_EVERY);
            } else {
                thread::park();
            }
        }
    }

    /// Wipes what has served, then fills up what is wanted.
    fn work(&self, runtime: &Runtime) {
        loop {
            let Some(served) = self.lock().served.pop() else { break };
            drop(served);
        }
        let wanted = std::mem::take(&mut self.lock().wanted);
        for recipe in &wanted {
            for _ in 0..self.ready_max {
                if self.stopped.load(Ordering::Relaxed) || !self.add_one(recipe, runtime) {
                    break;
                }
            }
        }
    }

    /// Makes one instance; false where there are enough, or none is to be made.
    fn add_one(&self, recipe: &Recipe, runtime: &Runtime) -> bool {
        let is_of = |(plugin, _): &&(u64, Ready)| *plugin == recipe.plugin;
        let has_enough = self.lock().ready.iter().filter(is_of).count() >= self.ready_max;
        if has_enough || !recipe.is_fit.load(Ordering::Relaxed) {
            return false;
        }
        if self.places.available_permits() <= self.places_min {
            return false;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return false };
        let Some((store, instance)) = self.make(recipe, runtime) else {
            recipe.is_fit.store(false, Ordering::Relaxed);
            return false;
        };
        let ready = Ready { store, instance, place };
        let mut shelves = self.lock();
        // Its plugin may be gone by now.
        let is_fit = recipe.is_fit.load(Ordering::Relaxed);
        if is_fit {
            shelves.ready.push_back((recipe.plugin, ready));
        }
        is_fit
    }

    /// An instance that may be made ahead, if the component's are such.
    fn make(&self, recipe: &Recipe, runtime: &Runtime) -> Option<(Store<Call>, Instance)> {
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
        // Nothing that it waits for is anybody else's doing: it is ready, or yields to be asked again.
        let instance = runtime.block_on(made.catch_unwind()).ok()??;
        let call = store.data();
        let is_fit = !call.has_asked() && call.meter.memory_bytes() <= MEMORY_BYTES_MAX;
        is_fit.then_some((store, instance))
    }
}
