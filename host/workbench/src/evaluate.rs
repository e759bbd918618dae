//! A policy measured on a table of outcomes: what it would have scored and cost, beside what is always there to be had.
//!
//! The table has for each prompt the score and the cost of each target (RouterBench's shape). The policy is run on each
//! prompt in the production sandbox and takes what its plan's first permitted target scored. Beside it stand each target
//! taken always, the best random mix at the policy's cost, the nearest neighbours' choice, and the oracle, which knows
//! the outcomes.
//!
//! Not owned here: how the table came about, and printing (`cli`).

mod figures;
mod neighbours;
mod plot;
mod report;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use lockgate_api::{
    ChatRequest, Health, Labels, Locality, Message, PolicyError, Price, Role, RouteInput, Router as _, Scope,
    Target, TargetFacts,
};
use lockgate_sandbox::{Grant, LoadError, PluginSpec, RouterPlugin, Sandbox};
use thiserror::Error;

pub use figures::{Interval, Point};
pub use report::{Baseline, Category, Comparison, Curve, Report, Share, Swept};
pub use table::{Row, Table, TableError};

/// Why there is no evaluation.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// The policy cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no runtime to run it in.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// A target that the table does not have.
    #[error("the table has no target `{0}`")]
    UnknownTarget(String),
    /// A swept value with which the policy decides nothing.
    #[error("with `{setting}` set to `{value}` the policy decides nothing: {problem}")]
    Nowhere {
        /// The setting.
        setting: String,
        /// Its value.
        value: String,
        /// The first row's refusal or failure.
        problem: String,
    },
}

/// How a policy is to be run.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Its grants. Nobody answers what it asks of models.
    pub grants: Vec<Grant>,
    /// Targets on this machine; where there are none, those that cost nothing.
    pub local: Vec<String>,
}

/// A setting to be varied, and its values in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The setting.
    pub setting: String,
    /// What it is set to.
    pub values: Vec<String>,
}

/// Where each row goes: a target's place, or nowhere.
type Choices = Vec<Option<usize>>;

/// Runs a policy over the table.
///
/// # Errors
/// [`EvaluateError`].
pub fn evaluate(
    sandbox: &Sandbox,
    policy: (&str, &[u8]),
    table: &Table,
    setup: &Setup,
    sweep: Option<&Sweep>,
) -> Result<Report, EvaluateError> {
    if let Some(unknown) = setup.local.iter().find(|id| !table.targets.contains(id)) {
        return Err(EvaluateError::UnknownTarget(unknown.clone()));
    }
    let runner = Runner::new(table, setup)?;
    let (name, component) = policy;
    let choices = runner.run(sandbox, component, setup, setup.settings.clone())?;
    let mut swept = Vec::new();
    for (setting, value) in
        sweep.iter().flat_map(|sweep| sweep.values.iter().map(|value| (&sweep.setting, value)))
    {
        let mut settings = setup.settings.clone();
        settings.insert(setting.clone(), value.clone());
        let choices = runner.run(sandbox, component, setup, settings)?;
        let nowhere = choices.taken.iter().filter(|choice| choice.is_none()).count();
        if nowhere == table.rows.len() {
            let (setting, value) = (setting.clone(), value.clone());
            let problem = choices.problem.unwrap_or_else(|| "no target of its plans can be used".to_owned());
            return Err(EvaluateError::Nowhere { setting, value, problem });
        }
        swept.push(Swept { value: value.clone(), nowhere, point: figures::point_of(table, &choices.taken) });
    }
    Ok(Report::of(
        name,
        table,
        &choices.taken,
        &choices.failed,
        sweep.map(|sweep| sweep.setting.as_str()),
        swept,
    ))
}

/// What one run of a policy came to.
struct Taken {
    taken: Choices,
    /// Decisions that failed, by kind.
    failed: BTreeMap<String, u64>,
    /// The first refusal or failure.
    problem: Option<String>,
}

/// What all runs over a table have in common.
struct Runner<'a> {
    table: &'a Table,
    catalog: Arc<[TargetFacts]>,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Runner<'a> {
    fn new(table: &'a Table, setup: &Setup) -> Result<Self, EvaluateError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Ok(Self { table, catalog: catalog(table, setup), runtime: runtime.map_err(EvaluateError::Start)? })
    }

    fn run(
        &self,
        sandbox: &Sandbox,
        component: &[u8],
        setup: &Setup,
        settings: BTreeMap<String, String>,
    ) -> Result<Taken, EvaluateError> {
        // It begins with nothing remembered.
        let sandbox = sandbox.in_environment(Arc::new(crate::replay::Moment::default()));
        let spec = PluginSpec {
            id: "policy".to_owned(),
            grants: setup.grants.clone(),
            settings,
            ..PluginSpec::default()
        };
        let router = sandbox.load(component, spec)?;
        let mut failed: BTreeMap<String, u64> = BTreeMap::new();
        let mut problem = None;
        let mut taken = Vec::with_capacity(self.table.rows.len());
        for (number, row) in self.table.rows.iter().enumerate() {
            let place = self.runtime.block_on(self.decide(&router, number, row));
            taken.push(place.unwrap_or_else(|error| {
                problem.get_or_insert_with(|| error.to_string());
                if !matches!(error, PolicyError::Refused { .. }) {
                    *failed.entry(error.kind().to_owned()).or_default() += 1;
                }
                None
            }));
        }
        Ok(Taken { taken, failed, problem })
    }

    async fn decide(
        &self,
        router: &RouterPlugin,
        number: usize,
        row: &Row,
    ) -> Result<Option<usize>, PolicyError> {
        let request_id: Arc<str> = format!("row-{number}").into();
        let labels = Arc::new(Labels::none());
        let scope = Scope::new(Arc::clone(&request_id), Arc::clone(&labels), None);
        let request = ChatRequest::new("auto", vec![Message::text(Role::User, row.prompt.as_str())]);
        let input = RouteInput {
            request_id,
            request: Arc::new(request),
            labels,
            catalog: Arc::clone(&self.catalog),
            key: None,
            scope: Arc::clone(&scope),
        };
        let plan = router.route(input).await?;
        let labels = scope.add_labels(plan.add_labels.iter().cloned());
        scope.settle();
        let targets: Vec<_> = self.catalog.iter().map(|facts| Arc::clone(&facts.target)).collect();
        let steps = lockgate_gateway::selection::steps_of(&plan, &labels, targets.iter());
        Ok(steps.ok().and_then(|steps| steps.first().map(|step| step.target)))
    }
}

/// The targets as the policy sees them. Prices are what the table's costs come to a token, for question and answer
/// alike, since it does not tell them apart.
fn catalog(table: &Table, setup: &Setup) -> Arc<[TargetFacts]> {
    let tokens: usize = table.rows.iter().map(|row| row.prompt.len().div_ceil(4)).sum();
    let facts = table.targets.iter().enumerate().map(|(place, id)| {
        let usd: f64 = table.rows.iter().map(|row| row.outcomes[place].cost).sum();
        let is_local = if setup.local.is_empty() { usd == 0.0 } else { setup.local.contains(id) };
        let each = usd / tokens.max(1) as f64 * 1e6;
        let target = Target {
            id: id.clone(),
            model: id.clone(),
            locality: if is_local { Locality::Local } else { Locality::Cloud },
            region: None,
            context_tokens: None,
            price: Some(Price { input: each, output: each }),
            tools: true,
            images: true,
        };
        TargetFacts {
            target: Arc::new(target),
            health: Health::default(),
            permitted: true,
            adapters: Vec::new(),
        }
    });
    facts.collect()
}

#[cfg(test)]
mod tests;
