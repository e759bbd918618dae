//! From a configuration to a host that serves: the one place that knows every other crate.
//!
//! [`local`] loads models, [`component`] their adapters that are components, [`elsewhere`] builds providers, [`policy`]
//! compiles the other plugins; this module puts them into a gateway. Nothing here decides about a request.

#[cfg(feature = "engine")]
mod component;
mod elsewhere;
#[cfg(feature = "engine")]
mod local;
#[cfg(not(feature = "engine"))]
#[path = "no_engine.rs"]
mod local;
mod policy;
mod rehearsal;
mod request_log;
mod workshop;

#[cfg(feature = "engine")]
pub(crate) use local::kernels;

use anyhow::Result;
use lockgate_api::Labels;
use lockgate_gateway::{Gateway, GatewayOptions, GatewayTarget, Key, KeyHash, Keys, Metrics, Named};
use lockgate_sandbox::Sandbox;
use lockgate_server::Serving;
use prometheus_client::registry::Registry;

use crate::config::{self, Config};

pub(crate) use rehearsal::beside;
pub(crate) use request_log::LogWriters;
pub(crate) use workshop::{For, sandbox_options};

/// What outlives a configuration: the sandbox, and the models that the next one may still name.
pub(crate) struct Host {
    sandbox: Sandbox,
    models: local::Models,
    rehearsals: rehearsal::Rehearsals,
    /// Over all configurations.
    metrics: Metrics,
    logs: LogWriters,
}

impl Host {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            sandbox: Sandbox::new(&sandbox_options(For::Serving))?,
            models: Default::default(),
            rehearsals: rehearsal::Rehearsals::default(),
            metrics: Metrics::default(),
            logs: LogWriters::default(),
        })
    }

    /// Who writes the request logs.
    pub(crate) fn logs(&self) -> LogWriters {
        self.logs.clone()
    }

    /// Ends with a line once a card is lost that the configuration insists on, of whatever configuration.
    pub(crate) fn loss(&self) -> impl Future<Output = String> + Send + use<> {
        self.models.loss()
    }

    /// Everything that is counted, for `/metrics`.
    pub(crate) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("lockgate");
        self.metrics.register(&mut registry);
        self.sandbox.register(&mut registry);
        registry
    }

    /// Everything that the configuration names, ready to answer. Takes as long as loading its models
    /// does; `previous` is what serves now, whose health figures go on.
    pub(crate) fn assemble(&mut self, config: &Config, previous: Option<&Gateway>) -> Result<Serving> {
        let rehearsed = self.rehearsals.of(config)?;
        let policies = policy::policies(&self.sandbox, config)?;
        rehearsed.check()?;
        let mut targets = elsewhere::targets(config)?;
        // Models of this machine come first: `on_error = "first-target"` takes the first local target.
        let models = self.models.load(&self.sandbox, config)?;
        targets.splice(0..0, models);
        let record = self.logs.open(config)?;
        let options = GatewayOptions { metrics: self.metrics.clone(), record, ..gateway_options(config) };
        let gateway = match previous {
            Some(previous) => previous.replaced(targets, policies, options)?,
            None => Gateway::new(targets, policies, options)?,
        };
        Ok(Serving { gateway, keys: keys(config)? })
    }
}

/// Checks all that can be checked without contacting anything or loading a model's weights; the scenarios beside plugins
/// are run too.
pub(crate) fn check(config: &Config) -> Result<()> {
    keys(config)?;
    let sandbox = Sandbox::new(&sandbox_options(For::Serving))?;
    local::check(&sandbox, config)?;
    elsewhere::targets(config)?;
    rehearsal::Rehearsals::default().of(config)?;
    policy::policies(&sandbox, config)?;
    Ok(())
}

/// The API keys of a configuration.
pub(crate) fn keys(config: &Config) -> Result<Keys> {
    let keys = config.keys.iter().map(|key| {
        let hash: KeyHash = key.hash.parse()?;
        let labels: Labels = key.labels.iter().cloned().collect();
        let router = key.router.as_deref().map(Into::into);
        Ok((hash, Key { name: key.name.as_str().into(), tenant: key.tenant.as_str().into(), labels, router }))
    });
    Ok(Keys::new(keys.collect::<Result<Vec<_>>>()?))
}

fn gateway_options(config: &Config) -> GatewayOptions {
    let named = match config.server.named {
        config::Named::Direct => Named::Direct,
        config::Named::Route => Named::Route,
        config::Named::Refuse => Named::Refuse,
    };
    GatewayOptions { named, policy_timeout: policy::timeout(config), ..GatewayOptions::default() }
}

/// A list of targets on their way into a gateway.
type Targets = Vec<GatewayTarget>;
