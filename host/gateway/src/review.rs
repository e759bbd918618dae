//! Answers that the router judges before the client sees any of them: the accept-or-try-the-next of a cascade.
//!
//! Such an answer is read whole, so it does not stream; an attempt that breaks off in the middle is given up
//! for the next one like any that never began. Log-probabilities are asked for where the target can give them,
//! and taken out again where the client did not ask. What a judgement means for the plan is in `execute`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{
    Backend, BackendError, ChatRequest, ErrorKind, Event, KeyFacts, Labels, PolicyError, ReviewInput,
    ReviewVerdict, Reviewed, ReviewedChoice, Router, Scope, Target, TargetFacts, Usage,
};
use tracing::debug;

use crate::execute::now;
use crate::metrics::Metrics;
use crate::record::Recording;
use crate::running::Running;

/// Bytes of an answer that is kept for its review.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Who judges, and what it is told beside the answer.
pub(crate) struct Reviewer<'a> {
    pub(crate) router: Arc<dyn Router>,
    pub(crate) catalog: Arc<[TargetFacts]>,
    pub(crate) key: Option<KeyFacts>,
    pub(crate) scope: Arc<Scope>,
    /// The longest that a review may take.
    pub(crate) limit: Duration,
    pub(crate) metrics: &'a Metrics,
    pub(crate) recording: Option<Arc<Recording>>,
}

/// The attempt whose answer is judged.
pub(crate) struct Judged<'a> {
    pub(crate) request_id: &'a Arc<str>,
    pub(crate) request: &'a Arc<ChatRequest>,
    pub(crate) labels: &'a Arc<Labels>,
    pub(crate) target: &'a Arc<Target>,
    pub(crate) attempt: u32,
    pub(crate) attempts_left: u32,
    pub(crate) began: Instant,
}

/// Why an answer is not the client's.
pub(crate) enum Unfit {
    /// The attempt counts as failed: broken off, or not accepted.
    Attempt(BackendError),
    /// The policy failed.
    Policy(PolicyError),
}

/// The request as it is sent for an answer that is to be judged: with log-probabilities, where it does not ask for them
/// itself and the target can give them. None where that changes nothing.
pub(crate) fn judgeable(request: &ChatRequest, backend: &dyn Backend) -> Option<Arc<ChatRequest>> {
    if request.logprobs.is_some() {
        return None;
    }
    let asking = ChatRequest { logprobs: Some(0), ..request.clone() };
    backend.accepts(&asking).is_ok().then(|| Arc::new(asking))
}

/// Whether an error may be about log-probabilities that nobody but the host has asked for.
pub(crate) fn may_refuse_logprobs(error: &BackendError) -> bool {
    matches!(error.kind, ErrorKind::InvalidRequest | ErrorKind::Unsupported { .. })
}

impl Reviewer<'_> {
    /// Reads the answer to its end and has it judged. An accepted one begins anew in `running`.
    pub(crate) async fn review(&self, running: &mut Running, judged: Judged<'_>) -> Result<(), Unfit> {
        let keeps_logprobs = judged.request.logprobs.is_some();
        let (events, reading) = read(running, judged.request.choices).await.map_err(Unfit::Attempt)?;
        let usage = reading.usage;
        let input = ReviewInput {
            request_id: Arc::clone(judged.request_id),
            request: Arc::clone(judged.request),
            labels: Arc::clone(judged.labels),
            catalog: Arc::clone(&self.catalog),
            key: self.key.clone(),
            scope: Arc::clone(&self.scope),
            answer: Arc::new(reading.into_reviewed(&judged)),
        };
        let answer = Arc::clone(&input.answer);
        let limit = self.limit;
        let verdict = tokio::time::timeout(limit, self.router.review(input)).await.unwrap_or_else(|_| {
            Err(PolicyError::Limit { limit: format!("no verdict within {:.1} s", limit.as_secs_f64()) })
        });
        if let Some(recording) = &self.recording {
            recording.reviewed(&answer, verdict.as_ref().ok(), usage);
        }
        let verdict = verdict.map_err(Unfit::Policy)?;
        if let Some(forbidden) = self.scope.breach() {
            let what =
                format!("its review labelled the request, whose text is where that forbids: {forbidden}");
            return Err(Unfit::Policy(PolicyError::Denied { what }));
        }
        match verdict {
            ReviewVerdict::Accept => {
                self.metrics.review(self.router.id(), "accept");
                running.begin_with(events.into_iter().map(|event| without(event, keeps_logprobs)).collect());
                Ok(())
            }
            ReviewVerdict::Next { reason } => {
                self.metrics.review(self.router.id(), "next");
                let (request, target) = (judged.request_id, &judged.target.id);
                let (request, target) = (Arc::clone(request), target.clone());
                self.scope.when_over(move |labels| {
                    if labels.withhold_payload() {
                        debug!(%request, %target, "answer not accepted");
                    } else {
                        debug!(%request, %target, %reason, "answer not accepted");
                    }
                });
                let message = "the policy did not accept its answer";
                Err(Unfit::Attempt(BackendError::new(ErrorKind::Rejected, message).dispatched()))
            }
        }
    }
}

/// What an answer amounts to so far.
#[derive(Default)]
struct Reading {
    choices: Vec<ReviewedChoice>,
    usage: Option<Usage>,
    log_probabilities: u64,
    sum: f64,
    lowest: Option<f64>,
    bytes: usize,
}

async fn read(running: &mut Running, choices: u32) -> Result<(VecDeque<Event>, Reading), BackendError> {
    let choices = (0..choices).map(|_| ReviewedChoice::default()).collect();
    let mut reading = Reading { choices, ..Reading::default() };
    let mut events = VecDeque::new();
    while let Some(event) = running.next().await {
        let event = event?;
        reading.add(&event)?;
        events.push_back(event);
    }
    Ok((events, reading))
}

impl Reading {
    fn add(&mut self, event: &Event) -> Result<(), BackendError> {
        let choice = match event {
            Event::Text { choice, .. }
            | Event::Reasoning { choice, .. }
            | Event::ToolCall { choice, .. }
            | Event::Finish { choice, .. } => self.choices.get_mut(*choice as usize),
            Event::Start { .. } => None,
            Event::Usage(usage) => {
                self.usage = Some(*usage);
                None
            }
        };
        let Some(choice) = choice else { return Ok(()) };
        match event {
            Event::Text { text, logprobs, .. } => {
                self.bytes += text.len();
                choice.text.push_str(text);
                for token in logprobs {
                    let value = f64::from(token.chosen.logprob);
                    self.log_probabilities += 1;
                    self.sum += value;
                    self.lowest = Some(self.lowest.map_or(value, |lowest| lowest.min(value)));
                }
            }
            Event::Reasoning { text, .. } => self.bytes += text.len(),
            Event::ToolCall { index, name, arguments, .. } => {
                self.bytes += arguments.len();
                // The attempt's own state machine has checked that calls come densely.
                if *index as usize == choice.tool_calls.len() {
                    choice.tool_calls.push((name.clone().unwrap_or_default(), String::new()));
                }
                if let Some((_, all)) = choice.tool_calls.get_mut(*index as usize) {
                    all.push_str(arguments);
                }
            }
            Event::Finish { reason, .. } => choice.finish = Some(reason.clone()),
            Event::Start { .. } | Event::Usage(_) => {}
        }
        if self.bytes > KEPT_BYTES_MAX {
            let message =
                format!("its answer is larger than the {KEPT_BYTES_MAX} bytes that are kept for a review");
            return Err(BackendError::new(ErrorKind::Rejected, message).dispatched());
        }
        Ok(())
    }

    fn into_reviewed(self, judged: &Judged<'_>) -> Reviewed {
        let count = self.log_probabilities;
        Reviewed {
            target: Arc::clone(judged.target),
            attempt: judged.attempt,
            attempts_left: judged.attempts_left,
            choices: self.choices,
            output_tokens: self.usage.map(|usage| usage.completion_total()),
            mean_log_probability: (count > 0).then(|| self.sum / count as f64),
            lowest_log_probability: self.lowest,
            elapsed: now().duration_since(judged.began),
        }
    }
}

/// The event as the client is to see it.
fn without(event: Event, keeps_logprobs: bool) -> Event {
    match event {
        Event::Text { choice, text, .. } if !keeps_logprobs => {
            Event::Text { choice, text, logprobs: Vec::new() }
        }
        event => event,
    }
}
