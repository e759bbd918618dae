//! One scenario's run: a fresh gateway over the simulated world, and requests led through it one after the other.
//!
//! Everything in between is the production code: the gateway executes plans, checks labels, reviews, guards and counts
//! breakers; the sandbox runs the components, by fuel instead of time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lockgate_api::{
    ChatRequest, Event, FinishReason, Health, Labels, Plan, PlannedAttempt, PolicyError, Target,
};
use lockgate_gateway::{
    Ask, Gateway, GatewayError, GatewayOptions, GatewayTarget, Key, Metrics, Outcome, SetupError,
};
use lockgate_sandbox::{Metering, Sandbox, SandboxError, SandboxOptions};

use crate::chain::Chain;
use crate::world::{Asked, Clock, Journal, PlannedFault, Reply, Sent, Simulated, UsedBy, World};

/// Calls of components at once: one a thread, and some to spare.
const CALLS_MAX: u32 = 32;
/// Choices that guards watch at once.
const GUARDS_MAX: u32 = 256;
/// Bytes of an answer that are kept.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The sandbox for simulations: as `options` say, measured by fuel.
///
/// # Errors
/// As [`Sandbox::new`].
pub fn sandbox(options: &SandboxOptions) -> Result<Sandbox, SandboxError> {
    Sandbox::new(&simulating(options))
}

/// Those options measured by fuel: also for the program that compiles for such a sandbox.
pub fn simulating(options: &SandboxOptions) -> SandboxOptions {
    SandboxOptions {
        metering: Metering::Fuel,
        calls_max: CALLS_MAX,
        guards_max: GUARDS_MAX,
        ..options.clone()
    }
}

/// A thread's runtime whose clock stands still unless everybody waits.
pub struct Simulator {
    runtime: tokio::runtime::Runtime,
    metrics: Metrics,
}

impl Simulator {
    /// A runtime for the thread that makes it.
    ///
    /// # Errors
    /// The system gives none.
    pub fn new() -> std::io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        Ok(Self { runtime, metrics: Metrics::default() })
    }

    /// Begins a scenario: nothing is remembered and the clock is at its start.
    ///
    /// # Errors
    /// The world makes no gateway: its ids are not unique, or cannot be used.
    pub fn begin(
        &self,
        sandbox: &Sandbox,
        chain: &Chain,
        setting: Setting,
    ) -> Result<Session<'_>, SetupError> {
        let _inside = self.runtime.enter();
        let Setting { world, own, health, faults, seed } = setting;
        let journal = Arc::new(Journal::new(faults));
        let clock = Arc::new(Clock::starting(seed));
        let apart = sandbox.apart(Arc::clone(&clock) as _, Arc::clone(&journal) as _);
        let simulated = |place, target: &Arc<Target>, adapter| GatewayTarget {
            target: Arc::clone(target),
            backend: Arc::new(Simulated {
                world: Arc::clone(&world),
                place,
                target: Arc::clone(target),
                adapter,
                own: Arc::clone(&own),
                journal: Arc::clone(&journal),
            }),
        };
        // Those with an adapter come first, so that a request that leaves it open tries them.
        let tuned = chain.adapters().iter().flat_map(|adapter| {
            let within = Arc::new(adapter.within(&apart));
            world.tuned(adapter).map(move |(place, target)| (place, target, Some(Arc::clone(&within))))
        });
        let plain =
            world.targets.iter().enumerate().map(|(place, sim)| (place, Arc::clone(&sim.target), None));
        let targets = tuned.chain(plain).map(|(place, target, adapter)| simulated(place, &target, adapter));
        let options = GatewayOptions { metrics: self.metrics.clone(), ..GatewayOptions::default() };
        let gateway = Gateway::new(targets.collect(), chain.policies(&apart, &journal), options)?;
        for sim in &world.targets {
            let own = health.iter().find(|(id, _)| *id == sim.target.id);
            let health = own.map_or(sim.health, |(_, health)| *health);
            if health != Health::default() {
                gateway.assume_health(&sim.target.id, health);
            }
        }
        Ok(Session { simulator: self, gateway, journal, clock, seed, requests: 0 })
    }
}

/// What a scenario begins with.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The world.
    pub world: Arc<World>,
    /// Replies that come before the world's.
    pub own: Arc<[Reply]>,
    /// The health of targets, where it differs from the world's.
    pub health: Vec<(String, Health)>,
    /// Faults to put in.
    pub faults: Vec<PlannedFault>,
    /// What chance follows from.
    pub seed: u64,
}

/// A scenario under way.
pub struct Session<'a> {
    simulator: &'a Simulator,
    gateway: Gateway,
    journal: Arc<Journal>,
    clock: Arc<Clock>,
    seed: u64,
    requests: u32,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a whole answer.
    Answered,
    /// By a decision: a policy's, or the labels'.
    Refused,
    /// By a failure.
    Failed,
}

impl End {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Everything that happened to one request.
#[derive(Clone, Debug)]
pub struct Happened {
    /// How it ended.
    pub end: End,
    /// The error's words, unless it was answered.
    pub error: Option<String>,
    /// What the router answered; none where it was not asked.
    pub decision: Option<Result<Plan, PolicyError>>,
    /// Whom the plan and plugins themselves asked for, before the host's check.
    pub asked: Vec<Asked>,
    /// What reached targets.
    pub sent: Vec<Sent>,
    /// Who answered.
    pub answered_by: Option<String>,
    /// Attempts that were made for the request itself.
    pub attempts: u32,
    /// The labels at the end.
    pub labels: Labels,
    /// The first choice's text, as the client gets it.
    pub text: String,
    /// Names and arguments of the first choice's tool calls.
    pub tool_calls: Vec<(String, String)>,
    /// Why the first choice ended.
    pub finish: Option<FinishReason>,
    /// Milliseconds from the request to the answer's end.
    pub virtual_ms: u64,
    /// What plugins used.
    pub used: Vec<UsedBy>,
    /// How plugins failed: whose failure, and which.
    pub failures: Vec<(String, PolicyError)>,
    /// Questions that no reply was for.
    pub unmatched: Vec<String>,
    /// Lines that plugins wrote to the log.
    pub lines: Vec<String>,
}

impl Happened {
    /// The plan's targets in order; none where there is no plan.
    pub fn plan(&self) -> Vec<&str> {
        self.attempts_planned().map(|attempt| attempt.target.as_str()).collect()
    }

    /// The attempts of the plan, in order.
    pub fn attempts_planned(&self) -> impl Iterator<Item = &PlannedAttempt> {
        self.decision.iter().flatten().flat_map(|plan| &plan.attempts)
    }

    /// Why the router decided so: the plan's reason, or the refusal's.
    pub fn reason(&self) -> &str {
        match &self.decision {
            Some(Ok(plan)) => &plan.reason,
            Some(Err(PolicyError::Refused { reason })) => reason,
            // A preprocessor's refusal.
            None if self.end == End::Refused => self.error.as_deref().unwrap_or_default(),
            Some(Err(_)) | None => "",
        }
    }

    /// USD of everything that was sent, plugins' own calls included; none where a price is not known.
    pub fn usd(&self) -> Option<f64> {
        self.sent.iter().map(|sent| sent.usd).sum()
    }

    /// The limits that plugins ran into, in words.
    pub fn limits_hit(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().filter_map(|(_, error)| match error {
            PolicyError::Limit { limit } => Some(limit.as_str()),
            _ => None,
        })
    }
}

impl Session<'_> {
    /// Lets virtual time pass between two requests.
    pub fn wait(&self, time: Duration) {
        self.simulator.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// The faults that no call has come to so far.
    pub fn faults_left(&self) -> Vec<PlannedFault> {
        self.journal.faults_left().cloned().collect()
    }

    /// Leads one request to its end.
    pub fn ask(&mut self, request: ChatRequest, labels: Labels, key: Option<Arc<Key>>) -> Happened {
        let request_id: Arc<str> = format!("request-{}-{}", self.seed, self.requests).into();
        self.requests += 1;
        let began = self.clock.elapsed_ms_in(&self.simulator.runtime);
        let ask = Ask { request_id, request: Arc::new(request), labels, key };
        let (ending, answer) = self.simulator.runtime.block_on(lead(&self.gateway, ask));
        let virtual_ms = self.clock.elapsed_ms_in(&self.simulator.runtime) - began;
        let log = self.journal.take();
        let Ending { end, error, outcome, failure } = ending;
        let mut failures = log.failures;
        if let Some((plugin, error)) = failure
            && !failures.iter().any(|(_, known)| *known == error)
        {
            failures.push((plugin, error));
        }
        let answered_by = outcome.target.as_ref().filter(|_| end == End::Answered);
        Happened {
            end,
            error,
            decision: log.decision,
            asked: log.asked,
            sent: log.sent,
            answered_by: answered_by.map(|target| target.id.clone()),
            attempts: outcome.attempts,
            labels: (*outcome.labels).clone(),
            text: answer.text,
            tool_calls: answer.tool_calls,
            finish: answer.finish,
            virtual_ms,
            used: log.used,
            failures,
            unmatched: log.unmatched,
            lines: log.lines,
        }
    }
}

struct Ending {
    end: End,
    error: Option<String>,
    outcome: Outcome,
    /// A plugin's failure that ended the request.
    failure: Option<(String, PolicyError)>,
}

/// The first choice, as it comes.
#[derive(Default)]
struct Collected {
    text: String,
    tool_calls: Vec<(String, String)>,
    finish: Option<FinishReason>,
    bytes: usize,
}

async fn lead(gateway: &Gateway, ask: Ask) -> (Ending, Collected) {
    let mut collected = Collected::default();
    let mut answer = match gateway.answer(ask).await {
        Ok(answer) => answer,
        Err(failure) => {
            let error = failure.error;
            let end = match &error {
                GatewayError::Locality { .. }
                | GatewayError::PolicyRefused { .. }
                | GatewayError::NamedRefused { .. } => End::Refused,
                _ => End::Failed,
            };
            let of_plugin = match &error {
                GatewayError::PolicyFailed { policy, error } => Some((policy.to_string(), error.clone())),
                _ => None,
            };
            let words = match &error {
                GatewayError::PolicyFailed { policy, error } => {
                    format!("the policy `{policy}` failed: {error}")
                }
                error => error.to_string(),
            };
            let ending = Ending { end, error: Some(words), outcome: failure.outcome, failure: of_plugin };
            return (ending, collected);
        }
    };
    let mut error = None;
    while let Some(event) = answer.events.next().await {
        match event {
            Ok(event) => collected.push(event),
            Err(failed) => error = Some(failed.to_string()),
        }
        if collected.bytes > ANSWER_BYTES_MAX {
            error = Some(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes"));
            break;
        }
    }
    let end = if error.is_none() { End::Answered } else { End::Failed };
    (Ending { end, error, outcome: answer.outcome, failure: None }, collected)
}

impl Collected {
    fn push(&mut self, event: Event) {
        match event {
            Event::Text { choice: 0, text, .. } => {
                self.bytes += text.len();
                self.text.push_str(&text);
            }
            Event::ToolCall { choice: 0, index, name, arguments, .. } => {
                self.bytes += arguments.len();
                if index as usize == self.tool_calls.len() {
                    self.tool_calls.push((name.unwrap_or_default(), String::new()));
                }
                if let Some((_, all)) = self.tool_calls.get_mut(index as usize) {
                    all.push_str(&arguments);
                }
            }
            Event::Finish { choice: 0, reason } => self.finish = Some(reason),
            _ => {}
        }
    }
}
