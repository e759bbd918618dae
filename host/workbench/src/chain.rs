//! The plugins of a scenario, loaded once: a router with what stands before and behind it.
//!
//! Loading is the sandbox's; this puts the loaded ones into the gateway's order, and gives a router to a scenario that
//! has none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_core::future::BoxFuture;
use lockgate_api::{
    Guard, Plan, PlannedAttempt, PolicyError, Preprocessor, ReviewInput, ReviewVerdict, RouteInput, Router,
};
use lockgate_gateway::{OnError, Policies, Route};
use lockgate_sandbox::{
    AdapterPlugin, Digest, Grant, GuardPlugin, LoadError, PluginSpec, PreprocessorPlugin, RouterPlugin,
    Sandbox, World,
};

use crate::world::Journal;

/// The id of the router that stands in where a scenario has none.
pub const IN_ORDER: &str = "in-order";

/// A plugin to be loaded.
#[derive(Clone, Debug)]
pub struct PluginFile {
    /// The component.
    pub path: PathBuf,
    /// As what it is loaded.
    pub world: World,
    /// Its id, grants, limits and settings.
    pub spec: PluginSpec,
}

/// Loaded plugins, ready for any number of scenarios. Shared over threads.
#[derive(Default)]
pub struct Chain {
    router: Option<RouterPlugin>,
    on_error: OnError,
    preprocessors: Vec<PreprocessorPlugin>,
    guards: Vec<GuardPlugin>,
    adapters: Vec<AdapterPlugin>,
    /// Grants that a plugin has and does not use: its id, and which.
    unused: Vec<(String, Grant)>,
}

impl Chain {
    /// Loads plugins in their order; compiles them, unless that was done before.
    ///
    /// # Errors
    /// The first that cannot be loaded, by its place.
    pub fn load(
        sandbox: &Sandbox,
        files: &[PluginFile],
        on_error: OnError,
    ) -> Result<Self, (usize, LoadError)> {
        let mut chain = Self { on_error, ..Self::default() };
        for (place, file) in files.iter().enumerate() {
            chain.add(sandbox, file).map_err(|error| (place, error))?;
        }
        Ok(chain)
    }

    fn add(&mut self, sandbox: &Sandbox, file: &PluginFile) -> Result<(), LoadError> {
        let (path, spec): (&Path, _) = (&file.path, file.spec.clone());
        let id = spec.id.clone();
        let unused = match file.world {
            World::Router => {
                let loaded = sandbox.load_file(path, spec)?;
                let unused = loaded.grants_unused().to_vec();
                self.router = Some(loaded);
                unused
            }
            World::Preprocessor => {
                let loaded = sandbox.load_preprocessor(path, spec)?;
                let unused = loaded.grants_unused().to_vec();
                self.preprocessors.push(loaded);
                unused
            }
            World::Guard => {
                let loaded = sandbox.load_guard(path, spec)?;
                let unused = loaded.grants_unused().to_vec();
                self.guards.push(loaded);
                unused
            }
            World::Adapter => {
                let loaded = sandbox.load_adapter(path, spec)?;
                let unused = loaded.grants_unused().to_vec();
                self.adapters.push(loaded);
                unused
            }
        };
        self.unused.extend(unused.into_iter().map(|grant| (id.clone(), grant)));
        Ok(())
    }

    /// Grants that a plugin has and does not use.
    pub fn grants_unused(&self) -> &[(String, Grant)] {
        &self.unused
    }

    /// Adapters, which make targets of targets.
    pub fn adapters(&self) -> &[AdapterPlugin] {
        &self.adapters
    }

    /// Which component the router is, where the chain has one.
    pub fn router_digest(&self) -> Option<Digest> {
        self.router.as_ref().map(RouterPlugin::digest)
    }

    /// The chain's plugins within a sandbox of a scenario's own, the router's decisions written down.
    pub(crate) fn policies(&self, sandbox: &Sandbox, journal: &Arc<Journal>) -> Policies {
        let router: Arc<dyn Router> = match &self.router {
            Some(router) => {
                Arc::new(Recorded { inner: router.within(sandbox), journal: Arc::clone(journal) })
            }
            None => Arc::new(Recorded { inner: InOrder, journal: Arc::clone(journal) }),
        };
        let preprocessors = self.preprocessors.iter();
        let guards = self.guards.iter();
        Policies {
            routes: vec![Route { on_error: self.on_error, ..Route::of(router) }],
            preprocessors: preprocessors
                .map(|preprocessor| Arc::new(preprocessor.within(sandbox)) as Arc<dyn Preprocessor>)
                .collect(),
            guards: guards.map(|guard| Arc::new(guard.within(sandbox)) as Arc<dyn Guard>).collect(),
        }
    }
}

/// Writes down what a router decides, before anybody acts on it.
struct Recorded<R> {
    inner: R,
    journal: Arc<Journal>,
}

impl<R: Router> Router for Recorded<R> {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn route(&self, input: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        Box::pin(async move {
            let decision = self.inner.route(input).await;
            self.journal.decided(self.inner.id(), &decision);
            decision
        })
    }

    fn review(&self, input: ReviewInput) -> BoxFuture<'_, Result<ReviewVerdict, PolicyError>> {
        self.inner.review(input)
    }
}

/// Every permitted target in the order of the file: for scenarios about preprocessors and guards alone.
struct InOrder;

impl Router for InOrder {
    fn id(&self) -> &str {
        IN_ORDER
    }

    fn route(&self, input: RouteInput) -> BoxFuture<'_, Result<Plan, PolicyError>> {
        let permitted = input.catalog.iter().filter(|facts| facts.permitted);
        let attempts: Vec<_> =
            permitted.map(|facts| PlannedAttempt::on(&*facts.target.id)).take(16).collect();
        let plan = match attempts.is_empty() {
            false => Ok(Plan { attempts, reason: "in the order of the file".to_owned(), ..Plan::default() }),
            true => Err(PolicyError::Refused { reason: "no target is permitted".to_owned() }),
        };
        Box::pin(std::future::ready(plan))
    }
}
