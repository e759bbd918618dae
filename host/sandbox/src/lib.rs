//! Loads, grants, limits and calls WebAssembly components.
//!
//! A [`Sandbox`] is the one engine of a host. It turns a component's bytes into a [`RouterPlugin`], a
//! [`PreprocessorPlugin`], a [`GuardPlugin`] or an [`AdapterPlugin`], which implement the traits of `lockgate_api`:
//! each call of the first two, and each choice that one of the latter follows, gets a fresh instance with a memory of
//! its own (or, of the first two, one that was kept for the same tenant and labels: `warm`), sees the facts it is given
//! and nothing else, and is stopped at its [`Limits`]. Whatever a component does ends
//! in an answer or in a [`lockgate_api::PolicyError`] of the right kind.
//!
//! Not owned here: which plugin serves which request, what a failure means for it (`gateway`), and files'
//! whereabouts (`cli`). Start reading at `plugin`, then `contract` for what a plugin can ask and `load` for
//! what it must be.
#![forbid(unsafe_code)]

mod adapter;
mod budget;
mod call;
mod contract;
mod engine;
mod environment;
mod grant;
mod guard;
mod limits;
mod load;
mod log_rate;
mod metrics;
mod own_time;
mod pin;
mod plugin;
mod powers;
mod preprocessor;
mod probe;
mod router;
mod said;
mod slots;
mod spendings;
mod state;
mod stock;
mod stop;
mod stopped;
mod text;
mod ticker;
mod warm;
mod wasi;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockgate_api::Spent;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::Semaphore;
use wasmtime::component::InstancePre;

use crate::call::Call;
use crate::contract::bindings::{
    adapter::AdapterPre, guard::GuardPre, preprocessor::PreprocessorPre, reviewer::ReviewerPre,
    router::RouterPre,
};
use crate::environment::Machine;
use crate::load::Compiler;
use crate::metrics::Metrics;
use crate::plugin::Plugin;
use crate::powers::Powers;
use crate::spendings::Spendings;
use crate::state::Store;
use crate::stock::Stock;
use crate::ticker::Ticker;
use crate::warm::Shelf;

pub use adapter::AdapterPlugin;
pub use contract::{Description, Weights};
pub use engine::{Metering, SandboxOptions};
pub use environment::Environment;
pub use grant::{Grant, World};
pub use guard::GuardPlugin;
pub use limits::Limits;
pub use load::{COMPONENT_BYTES_MAX, LoadError, Report};
pub use lockgate_compiler::{Limits as CompileLimits, Workshop};
pub use pin::{Digest, Pin, Signer};
pub use preprocessor::PreprocessorPlugin;
pub use probe::{Fault, Probe, Used};
pub use router::RouterPlugin;

/// Why there is no sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The pool cannot be set up, most often for want of address space.
    #[error("cannot set up the pool of plugin instances: {message}; fewer calls at once need less of it")]
    Engine {
        /// The runtime's words.
        message: String,
    },
    /// No thread for the clock, or for what is made ahead.
    #[error("cannot start a thread for plugins: {0}")]
    Thread(std::io::Error),
}

/// A plugin as the configuration describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginSpec {
    /// Its id, for headers and logs.
    pub id: String,
    /// What it may do beyond reading the request.
    pub grants: Vec<Grant>,
    /// Which component it must be.
    pub pin: Pin,
    /// What it may use.
    pub limits: Limits,
    /// Its own settings.
    pub settings: BTreeMap<String, String>,
    /// Calls that one instance serves, of one tenant and one set of labels, before a fresh one is made: for routers and
    /// preprocessors. 0 and 1 are the same: a fresh instance each time.
    pub reuse: u32,
}

/// The engine that plugins are compiled by and run in. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
    environment: Arc<dyn Environment>,
    /// Outlives what is loaded, so that a reload keeps what plugins remember.
    store: Arc<Store>,
    /// By plugin id; outlives what is loaded, too.
    spending: Spendings,
    probe: Option<Arc<dyn Probe>>,
    memory_bytes_max: usize,
    table_elements_max: usize,
}

/// What the calls of all plugins share.
struct Shared {
    compiler: Compiler,
    ticker: Ticker,
    /// Fresh instances, with their places.
    stock: Stock,
    tick: Duration,
    metering: Metering,
    metrics: Metrics,
    /// One permit for each instance that the pool has for calls.
    free_instances: Arc<Semaphore>,
    /// Instances that are kept between calls, with their places.
    warm: Arc<Shelf>,
    /// One permit for each instance that the pool has for guards and adapters, which keep theirs while an answer lasts.
    free_guards: Arc<Semaphore>,
    /// Half of either may keep their place while they wait for a model or a cloud, so that plugins which do not wait
    /// find one.
    call_waits: Arc<Semaphore>,
    guard_waits: Arc<Semaphore>,
}

/// Finds a router's hook in a component, and the second one where it has it.
fn router_hooks(
    instance: InstancePre<Call>,
) -> wasmtime::Result<(RouterPre<Call>, Option<ReviewerPre<Call>>)> {
    let reviews = load::exports(instance.component(), "review");
    let reviewer = reviews.then(|| ReviewerPre::new(instance.clone())).transpose()?;
    Ok((RouterPre::new(instance)?, reviewer))
}

/// The work of a [`Workshop`]'s program: confines this process, compiles the component on its standard input and
/// writes the result to its standard output. `options` must be those of the sandbox that asks.
///
/// # Errors
/// The limits cannot be set, there is no compiler, or the pipes break.
pub fn compile_apart(options: &SandboxOptions, limits: &CompileLimits) -> std::io::Result<()> {
    lockgate_compiler::confine(limits)?;
    let engine = engine::compiling_engine(options).map_err(std::io::Error::other)?;
    lockgate_compiler::work(&engine, std::io::stdin().lock(), std::io::stdout().lock())
}

impl Sandbox {
    /// Sets up the engine and its pool, and starts the thread that makes time pass.
    ///
    /// # Errors
    /// [`SandboxError`], most often for want of address space.
    pub fn new(options: &SandboxOptions) -> Result<Self, SandboxError> {
        Self::with_environment(options, Arc::new(Machine::new()))
    }

    /// The same with a time and a randomness of the caller's own, for plugins that are granted them.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub fn with_environment(
        options: &SandboxOptions,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, SandboxError> {
        let engine = engine::engine(options)?;
        let free_instances = Arc::new(Semaphore::new(options.calls_max.max(1) as usize));
        let stock = Stock::new(&engine, options, &free_instances);
        let ticking = engine.weak();
        let tick = move || {
            if let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
            }
        };
        let ticker = Ticker::start(options.tick, tick).map_err(SandboxError::Thread)?;
        let free_guards = Arc::new(Semaphore::new(options.guards_max as usize));
        Ok(Self {
            shared: Arc::new(Shared {
                compiler: Compiler { engine, workshop: options.workshop.clone() },
                ticker,
                stock,
                tick: options.tick,
                metering: options.metering,
                metrics: Metrics::default(),
                free_instances,
                warm: Shelf::new((options.calls_max / 2) as usize),
                free_guards,
                call_waits: half(options.calls_max),
                guard_waits: half(options.guards_max),
            }),
            environment,
            store: Arc::default(),
            spending: Spendings::default(),
            probe: None,
            memory_bytes_max: options.memory_bytes_max,
            table_elements_max: options.table_elements_max,
        })
    }

    /// A sandbox that shares this one's engine and pool and nothing else: its plugins remember nothing yet and live in
    /// `environment`. Cheap.
    #[must_use]
    pub fn in_environment(&self, environment: Arc<dyn Environment>) -> Self {
        Self { environment, store: Arc::default(), spending: Spendings::default(), ..self.clone() }
    }

    /// A sandbox that shares this one's engine and pool and nothing else: its plugins remember nothing yet, live in
    /// `environment`, and `probe` looks on. Cheap. Plugins come into it by `within`, without being loaded anew.
    #[must_use]
    pub fn apart(&self, environment: Arc<dyn Environment>, probe: Arc<dyn Probe>) -> Self {
        Self {
            environment,
            store: Arc::default(),
            spending: Spendings::default(),
            probe: Some(probe),
            ..self.clone()
        }
    }

    /// Makes known what is counted of plugins. Once a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
        registry.register_collector(Box::new(self.spending.clone()));
    }

    /// Loads a router from its component's bytes. Compiles it, which takes a tenth of a second or more: not
    /// for a thread that serves requests.
    ///
    /// # Errors
    /// [`LoadError`] names the plugin's id and what to do.
    pub fn load(&self, bytes: &[u8], spec: PluginSpec) -> Result<RouterPlugin, LoadError> {
        let name = spec.id.clone();
        let (plugin, hooks) = self.load_named(&name, bytes, None, spec, World::Router, router_hooks)?;
        Ok(RouterPlugin::new(plugin, hooks))
    }

    /// Loads a router from a component's file.
    ///
    /// # Errors
    /// [`LoadError`] names the file and what to do.
    pub fn load_file(&self, path: &Path, spec: PluginSpec) -> Result<RouterPlugin, LoadError> {
        let (plugin, hooks) = self.load_path(path, spec, World::Router, router_hooks)?;
        Ok(RouterPlugin::new(plugin, hooks))
    }

    /// Loads a preprocessor, or a filter's first half, from a component's file.
    ///
    /// # Errors
    /// [`LoadError`] names the file and what to do.
    pub fn load_preprocessor(&self, path: &Path, spec: PluginSpec) -> Result<PreprocessorPlugin, LoadError> {
        let (plugin, instance) = self.load_path(path, spec, World::Preprocessor, PreprocessorPre::new)?;
        Ok(PreprocessorPlugin::new(plugin, instance))
    }

    /// Loads a guard, or a filter's second half, from a component's file.
    ///
    /// # Errors
    /// [`LoadError`] names the file and what to do.
    pub fn load_guard(&self, path: &Path, spec: PluginSpec) -> Result<GuardPlugin, LoadError> {
        let (plugin, instance) = self.load_path(path, spec, World::Guard, GuardPre::new)?;
        Ok(GuardPlugin { plugin: Arc::new(plugin), instance })
    }

    /// Loads an adapter from a component's file, and asks it what it is.
    ///
    /// # Errors
    /// [`LoadError`] names the file and what to do.
    pub fn load_adapter(&self, path: &Path, spec: PluginSpec) -> Result<AdapterPlugin, LoadError> {
        let (plugin, instance) = self.load_path(path, spec, World::Adapter, AdapterPre::new)?;
        let name = path.display().to_string();
        AdapterPlugin::describe(plugin, instance).map_err(|problem| LoadError::Described { name, problem })
    }

    /// Compiles a component and says what it is and needs, without calling it.
    ///
    /// # Errors
    /// [`LoadError`] names the file and what to do.
    pub fn inspect(&self, path: &Path) -> Result<Report, LoadError> {
        let bytes = load::read(path)?;
        load::inspect(&self.shared.compiler, &path.display().to_string(), &bytes)
    }

    /// What the asks of each plugin have taken so far, by its id, for as long as this host runs.
    pub fn spending(&self) -> BTreeMap<String, Spent> {
        self.spending.spent()
    }

    fn load_path<T>(
        &self,
        path: &Path,
        spec: PluginSpec,
        world: World,
        bind: impl FnOnce(InstancePre<Call>) -> wasmtime::Result<T>,
    ) -> Result<(Plugin, T), LoadError> {
        let bytes = load::read(path)?;
        let signature = match spec.pin.signature_path(path) {
            Some(beside) => load::read_signature(&beside)?,
            None => None,
        };
        self.load_named(&path.display().to_string(), &bytes, signature.as_deref(), spec, world, bind)
    }

    fn load_named<T>(
        &self,
        name: &str,
        bytes: &[u8],
        signature: Option<&str>,
        spec: PluginSpec,
        world: World,
        bind: impl FnOnce(InstancePre<Call>) -> wasmtime::Result<T>,
    ) -> Result<(Plugin, T), LoadError> {
        let PluginSpec { id, grants, pin, limits, settings, reuse } = spec;
        let digest = Digest::of(bytes);
        pin.check(name, bytes, digest, signature)?;
        self.check_pool(name, &limits)?;
        let loaded = load::load(&self.shared.compiler, name, bytes, world, &grants, &limits, bind)?;
        let plugin = Plugin {
            world,
            digest,
            number: plugin::number(),
            reuse,
            shared: Arc::clone(&self.shared),
            powers: Arc::new(Powers {
                plugin: id.as_str().into(),
                settings,
                limits,
                environment: Arc::clone(&self.environment),
                store: Arc::clone(&self.store),
                grants,
                spending: self.spending.of(&id),
                probe: self.probe.clone(),
                waits: Arc::clone(match world {
                    World::Router | World::Preprocessor => &self.shared.call_waits,
                    World::Guard | World::Adapter => &self.shared.guard_waits,
                }),
            }),
            metrics: self.shared.metrics.of(&id, world),
            id,
            log_rate: Mutex::default(),
            compile_time: loaded.compile_time,
            grants_unused: loaded.grants_unused,
        };
        Ok((plugin, loaded.instance))
    }

    /// A plugin's limits must fit into the pool, or it would meet the pool's instead, unnamed.
    fn check_pool(&self, name: &str, limits: &Limits) -> Result<(), LoadError> {
        let problem = if limits.memory_bytes_max > self.memory_bytes_max {
            format!("limits.memory_mib is more than the pool's {} bytes", self.memory_bytes_max)
        } else if limits.table_elements_max > self.table_elements_max {
            format!("its tables may have more entries than the pool's {}", self.table_elements_max)
        } else {
            return Ok(());
        };
        Err(LoadError::Limits { name: name.to_owned(), problem })
    }
}

fn half(places: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((places / 2).max(1) as usize))
}
