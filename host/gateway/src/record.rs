//! The request log: one [`Line`] a request, so that its decision can be repeated and compared elsewhere.
//!
//! Facts are always written; content only where the request ends without a label, since labels may come late. Owns
//! what a line says and when it is whole. Does not own the file (whoever reads the channel writes it) nor replaying
//! (`workbench`). A request waits for the log never: what does not fit is counted and left out.

mod ending;
mod line;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lockgate_api::{
    ChatRequest, HostCall, Journal, KeyFacts, Plan, PolicyError, Price, ReviewVerdict, Reviewed, RouteInput,
    Target, Usage,
};
use serde_json::Value;

use crate::execute::now;
use crate::gateway::Outcome;

pub(crate) use ending::Ending;
pub use line::{Abandoned, Content, Decided, End, Line, PolicyFacts, ReviewFacts, Routing, Told, VERSION};

/// Lines that may wait to be written.
pub const WAITING_MAX: usize = 1024;

/// What the log's writer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A line, without its line feed.
    Line(String),
    /// Nothing comes after this.
    End,
}

/// Where lines go, and what is known of the policies that they name.
pub struct RequestLog {
    lines: SyncSender<Entry>,
    lost: AtomicU64,
    policies: BTreeMap<String, PolicyFacts>,
    now_ms: fn() -> u64,
}

impl RequestLog {
    /// A log into a channel of [`WAITING_MAX`] lines. `policies` has the settings and grants of each router by its
    /// id, `now_ms` tells the milliseconds since 1970.
    pub fn new(
        lines: SyncSender<Entry>,
        policies: BTreeMap<String, PolicyFacts>,
        now_ms: fn() -> u64,
    ) -> Self {
        Self { lines, lost: AtomicU64::new(0), policies, now_ms }
    }

    /// Lines that found no room, so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn write(&self, line: &Line) {
        let sent = match serde_json::to_string(line) {
            Ok(text) => self.lines.try_send(Entry::Line(text)),
            // Plain data, which JSON can always hold.
            Err(_) => return,
        };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent
            && self.lost.fetch_add(1, Ordering::Relaxed).is_power_of_two()
        {
            tracing::warn!("the request log is not written fast enough: requests are left out of it");
        }
    }
}

impl fmt::Debug for RequestLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RequestLog").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

/// What is known of one request so far. Also the journal of its plugins.
pub(crate) struct Recording {
    log: Arc<RequestLog>,
    at_ms: u64,
    began: Instant,
    request: Arc<ChatRequest>,
    key: Option<KeyFacts>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    routed: Option<RouteInput>,
    decision: Option<(Arc<str>, Result<Plan, PolicyError>)>,
    reviews: Vec<Judgement>,
    told: Vec<(String, HostCall, Value)>,
    abandoned: Vec<Arc<Target>>,
}

/// An answer that the router judged, its verdict where it gave one, and the answer's tokens where the target told.
type Judgement = (Arc<Reviewed>, Option<ReviewVerdict>, Option<Usage>);

impl Recording {
    pub(crate) fn begin(
        log: &Arc<RequestLog>,
        request: &Arc<ChatRequest>,
        key: Option<KeyFacts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            at_ms: (log.now_ms)(),
            log: Arc::clone(log),
            began: now(),
            request: Arc::clone(request),
            key,
            known: Mutex::default(),
        })
    }

    /// What the router is shown.
    pub(crate) fn routed(&self, input: &RouteInput) {
        self.lock().routed = Some(input.clone());
    }

    /// What was decided, and by whom.
    pub(crate) fn decided(&self, policy: &Arc<str>, plan: &Result<Plan, PolicyError>) {
        self.lock().decision = Some((Arc::clone(policy), plan.clone()));
    }

    /// What became of an answer that the router judged; none when it failed to.
    pub(crate) fn reviewed(
        &self,
        answer: &Arc<Reviewed>,
        verdict: Option<&ReviewVerdict>,
        usage: Option<Usage>,
    ) {
        self.lock().reviews.push((Arc::clone(answer), verdict.cloned(), usage));
    }

    /// Targets that were asked and given up before they said anything.
    pub(crate) fn abandoned(&self, targets: Vec<Arc<Target>>) {
        self.lock().abandoned = targets;
    }

    /// The request is over: its line is written.
    pub(crate) fn end(
        &self,
        outcome: &Outcome,
        end: &str,
        usage: Option<Usage>,
        first_event: Option<Instant>,
    ) {
        let known = std::mem::take(&mut *self.lock());
        let shown = Arc::clone(known.routed.as_ref().map_or(&self.request, |input| &input.request));
        let withheld = outcome.labels.withhold_payload();
        let content = (!withheld).then(|| Content {
            request: (*shown).clone(),
            reason: known.decision.as_ref().and_then(|(_, plan)| match plan {
                Ok(plan) => Some(plan.reason.clone()),
                Err(PolicyError::Refused { reason }) => Some(reason.clone()),
                Err(_) => None,
            }),
            told: told_to(known.decision.as_ref().map(|(policy, _)| &**policy), known.told),
            reviewed: known.reviews.iter().map(|(answer, ..)| (**answer).clone()).collect(),
        });
        let routing = known.routed.zip(known.decision).map(|(input, (policy, plan))| Routing {
            labels: (*input.labels).clone(),
            catalog: input.catalog.to_vec(),
            facts: self.log.policies.get(&*policy).cloned().unwrap_or_default(),
            policy: policy.to_string(),
            decided: Decided::of(&plan),
            reviews: known
                .reviews
                .iter()
                .map(|(answer, verdict, usage)| ReviewFacts::of(answer, verdict.as_ref(), *usage))
                .collect(),
        });
        let milliseconds = |since: Instant| since.duration_since(self.began).as_secs_f64() * 1e3;
        let price = outcome.target.as_ref().and_then(|target| target.price);
        self.log.write(&Line {
            version: VERSION,
            at_ms: self.at_ms,
            request_id: outcome.request_id.to_string(),
            model: self.request.model.clone(),
            key: self.key.clone(),
            estimated_tokens: shown.estimate_tokens(),
            messages: shown.messages.len(),
            tools: shown.tools.len(),
            routing,
            end: End {
                end: end.to_owned(),
                target: outcome.target.as_ref().map(|target| target.id.clone()),
                attempts: outcome.attempts,
                labels: (*outcome.labels).clone(),
                usage,
                usd: usage.zip(price).map(|(usage, price)| cost(&usage, price)),
                abandoned: known.abandoned.iter().map(|target| abandoned(target, &shown)).collect(),
                first_event_ms: first_event.map(milliseconds),
                elapsed_ms: milliseconds(now()),
            },
            content,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each change is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// USD that an answer of so many tokens costs.
pub fn cost(usage: &Usage, price: Price) -> f64 {
    (usage.prompt_total() as f64 * price.input + usage.completion_total() as f64 * price.output) / 1e6
}

/// What is known of an attempt that was given up before it said anything: the prompt may be billed.
fn abandoned(target: &Target, shown: &ChatRequest) -> Abandoned {
    let prompt = Usage { input: shown.estimate_tokens(), ..Usage::default() };
    Abandoned { target: target.id.clone(), usd: target.price.map(|price| cost(&prompt, price)) }
}

/// What the router whose plan counts was told; others' answers do not help to repeat it.
fn told_to(policy: Option<&str>, told: Vec<(String, HostCall, Value)>) -> Vec<Told> {
    let of_policy = told.into_iter().filter(|(plugin, ..)| Some(plugin.as_str()) == policy);
    of_policy.map(|(_, call, answer)| Told { call, answer }).collect()
}

impl Journal for Recording {
    fn recall(&self, _: &str, _: &HostCall) -> Option<Value> {
        None
    }

    fn note(&self, plugin: &str, call: HostCall, answer: Value) {
        self.lock().told.push((plugin.to_owned(), call, answer));
    }
}
