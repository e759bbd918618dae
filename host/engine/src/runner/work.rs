//! One turn after another: ask the scheduler, compute one forward pass, draw tokens, hand out their text.
//!
//! Owns the requests in flight and everything that belongs to them; work that generates nothing is a concept of its own
//! (`measure`), which takes part in the same steps and passes. Has no thread and waits for nothing, so tests
//! drive it turn by turn; the thread around it is in `runner`. A fault or panic in a pass fails the requests that
//! run, never the ones that wait, and the next turn goes on with those.

mod measurements;
mod steered;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lockgate_api::{BackendError, ErrorKind, Event, FinishReason, Usage};

use super::counters::Counters;
use super::draw::Drawn;
use super::forward::{Fault, Forward, Input, Pass};
use super::mailbox::{TooSlow, Writer};
use super::measure::Measuring;
use super::steer::{Failed, Steered};
use crate::adapter::Adapter;
use crate::model::Wanted;
use crate::sampler::{Parameters, Sampler, Scratch};
use crate::scheduler::{Demand, Departures, Pace, Refused, Scheduler, Segment, SequenceId, Step};
use crate::text::TextStream;
use crate::tokenizer::Tokenizer;

/// A request whose prompt is tokens and whose parameters are checked.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What answers, as the answer's first event says.
    pub(crate) name: Arc<str>,
    /// What the model is computed with.
    pub(crate) adapter: Option<Arc<Adapter>>,
    /// At least one token; with `output_tokens_max` it fits the context.
    pub(crate) prompt: Vec<u32>,
    pub(crate) parameters: Parameters,
    pub(crate) stops: Vec<String>,
    /// At least 1.
    pub(crate) output_tokens_max: usize,
    /// Independent answers, at least 1.
    pub(crate) choices: u32,
    /// None, or one a choice.
    pub(crate) steered: Vec<Steered>,
    /// Alternatives reported a token, where log-probabilities are wanted.
    pub(crate) logprobs: Option<usize>,
    /// Whether an answer's first space is the tokenizer's own and not shown.
    pub(crate) drop_first_space: bool,
}

/// What is told of a panic. Its own words may quote the conversation, so they go no further than the panic hook.
pub(super) const PANIC: &str = "an internal fault; ask again, and report it if it happens again";

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is nothing to do until a request comes.
    Idle,
    /// There is nothing to compute until a hook speaks.
    Waiting,
    /// There may be more to do.
    Worked,
}

/// A model at work.
pub(crate) struct Core<F> {
    /// How the model is called in messages.
    name: Arc<str>,
    forward: F,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    pace: Pace,
    departures: Departures,
    begun: Instant,
    scratch: Scratch,
    counters: Arc<Counters>,
    /// Set when the model is being dropped.
    closing: Arc<AtomicBool>,
    requests: HashMap<RequestKey, Request>,
    sequences: HashMap<SequenceId, Sequence>,
    measurements: HashMap<SequenceId, Measuring>,
}

/// A request's first sequence.
type RequestKey = SequenceId;

struct Request {
    name: Arc<str>,
    /// Held until the last of its sequences has ended.
    adapter: Option<Arc<Adapter>>,
    writer: Writer,
    prompt: Vec<u32>,
    logprobs: Option<usize>,
    positions: usize,
    /// Its sequences that have not ended, in the order of their choices.
    sequences: Vec<SequenceId>,
    started: bool,
    output_tokens: u64,
}

struct Sequence {
    request: RequestKey,
    choice: u32,
    sampler: Sampler,
    steered: Option<Steered>,
    text: TextStream,
    /// The last token drawn, which the next pass computes.
    last: Option<u32>,
}

impl Request {
    /// Begins the answer, unless it has begun.
    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.writer.send(Event::Start { model: self.name.to_string() });
        }
    }
}

/// What a segment's rows came to.
#[derive(Debug)]
enum Found {
    Token(Drawn),
    /// The end, as a hook wants it.
    Stop,
    /// A token that waits for its hook.
    Later,
    /// They are in the measurement.
    Measured,
}

type FoundRows<'a> = Vec<(&'a Segment, Result<Found, Failed>)>;

impl<F: Forward> Core<F> {
    pub(crate) fn new(
        name: Arc<str>,
        forward: F,
        tokenizer: Arc<Tokenizer>,
        scheduler: Scheduler,
        counters: Arc<Counters>,
        closing: Arc<AtomicBool>,
    ) -> Self {
        Self {
            name,
            forward,
            tokenizer,
            scheduler,
            pace: Pace::default(),
            departures: Departures::default(),
            begun: Instant::now(),
            scratch: Scratch::default(),
            counters,
            closing,
            requests: HashMap::new(),
            sequences: HashMap::new(),
            measurements: HashMap::new(),
        }
    }

    /// Takes a request into the queue, or fails it at once.
    pub(crate) fn submit(&mut self, ask: Ask, writer: Writer) {
        let demand = Demand { prompt_tokens: ask.prompt.len(), output_tokens_max: ask.output_tokens_max };
        let ids = match self.scheduler.submit(demand, ask.choices as usize) {
            Ok(ids) => ids,
            Err(refused) => return writer.fail(self.refusal(refused)),
        };
        let Some(&key) = ids.first() else { return writer.end() };
        let mut steered = ask.steered.into_iter();
        for (choice, &id) in (0..).zip(&ids) {
            let sequence = Sequence {
                request: key,
                choice,
                sampler: Sampler::new(ask.parameters.clone(), choice, &ask.prompt),
                steered: steered.next(),
                text: TextStream::new(ask.stops.iter().map(String::as_str), ask.drop_first_space),
                last: None,
            };
            self.sequences.insert(id, sequence);
        }
        let request = Request {
            name: ask.name,
            adapter: ask.adapter,
            writer,
            prompt: ask.prompt,
            logprobs: ask.logprobs,
            positions: demand.positions(),
            sequences: ids,
            started: false,
            output_tokens: 0,
        };
        self.requests.insert(key, request);
        self.note();
    }

    /// Drops what nobody reads any more, then computes and hands out one forward pass.
    pub(crate) fn turn(&mut self) -> Turn {
        self.drop_abandoned();
        let waits = self.look_at_hooks();
        let step = self.scheduler.plan(self.pace.prefill_tokens_max());
        self.note();
        if step.segments.is_empty() {
            return if waits { Turn::Waiting } else { Turn::Idle };
        }
        // The state behind a panic: the requests that ran are failed and their sequences forgotten below, and
        // what is left holds no reference into them.
        match catch_unwind(AssertUnwindSafe(|| self.compute(&step))) {
            Ok(Ok(())) => {}
            Ok(Err(Fault(message))) => self.fail_running(&message),
            Err(_panic) => self.fail_running(PANIC),
        }
        self.note();
        Turn::Worked
    }

    /// Fails everything in flight.
    pub(crate) fn fail_all(&mut self, error: &BackendError) {
        let keys: Vec<RequestKey> = self.requests.keys().copied().collect();
        for key in keys {
            self.fail(key, error.clone());
        }
        self.fail_measurements(error, |_, _, _| true);
    }

    fn compute(&mut self, step: &Step) -> Result<(), Fault> {
        for &id in &step.admitted {
            if let Some(measuring) = self.measurements.get(&id) {
                measuring.begin(id, &mut self.forward)?;
                continue;
            }
            let request = &self.requests[&self.sequences[&id].request];
            self.forward.open(id.into(), request.positions, request.adapter.clone())?;
        }
        let begin = Instant::now();
        let found = self.pass(step)?;
        self.counters.passes.store(self.forward.passes(), Ordering::Relaxed);
        let Some(found) = found else { return Ok(()) };
        self.pace.observe(step.tokens(), begin.elapsed());
        self.scheduler.computed(step);
        self.counters.steps.fetch_add(1, Ordering::Relaxed);
        self.counters.prompt_tokens.fetch_add(step.prefill_tokens() as u64, Ordering::Relaxed);
        for (segment, found) in found {
            let id = segment.sequence;
            match (self.measurements.contains_key(&id), found) {
                (false, found) => self.take(id, found),
                (true, Err(Failed::Fault(fault))) => self.go_on(segment, Err(fault)),
                (true, _) => self.go_on(segment, Ok(())),
            }
        }
        Ok(())
    }

    /// Runs the model over the step's tokens. Draws the next token of every sequence whose logits came, and lets every
    /// measurement take in its rows. `None` when the pass was stopped.
    fn pass<'a>(&mut self, step: &'a Step) -> Result<Option<FoundRows<'a>>, Fault> {
        let Self { forward, tokenizer, scratch, closing, requests, sequences, measurements, .. } = self;
        let request = |id: SequenceId| &requests[&sequences[&id].request];
        let mut inputs: Vec<Input<'_>> = Vec::with_capacity(step.segments.len());
        // How many rows each segment wants, and whether a choice.
        let mut wanted = Vec::with_capacity(step.segments.len());
        for segment in &step.segments {
            let &Segment { sequence: id, start, .. } = segment;
            let first = inputs.len();
            if let Some(measuring) = measurements.get(&id) {
                inputs.extend(measuring.inputs(segment));
            } else {
                let tokens = match segment.prefill {
                    true => &request(id).prompt[start..start + segment.tokens],
                    false => sequences[&id].last.as_slice(),
                };
                let rules = || sequences[&id].rules(request(id).logprobs, tokenizer);
                let wanted = match segment.wants_logits {
                    true => rules().map_or(Wanted::Last, Wanted::Choice),
                    false => Wanted::None,
                };
                inputs.push(Input { part: id.into(), start, tokens, wanted });
            }
            let rows = inputs[first..].iter().map(|input| input.wanted.rows(input.tokens.len()));
            let chooses = inputs[first..].iter().any(|input| matches!(input.wanted, Wanted::Choice(_)));
            wanted.push((rows.sum::<usize>(), chooses));
        }
        let unread = |id: SequenceId| match measurements.get(&id) {
            Some(measuring) => measuring.abandoned(),
            None => request(id).writer.abandoned(),
        };
        let stop = || {
            closing.load(Ordering::Relaxed) || step.segments.iter().all(|segment| unread(segment.sequence))
        };
        let Pass::Complete { rows, choices } = forward.pass(&inputs, &stop)? else { return Ok(None) };
        let (mut rows, mut choices) = (rows.into_iter(), choices.iter());
        let mut found = Vec::with_capacity(step.segments.len());
        for (segment, (wanted, chooses)) in step.segments.iter().zip(wanted) {
            let choice = if chooses { choices.next() } else { None };
            let mut rows = rows.by_ref().take(wanted);
            if let Some(measuring) = measurements.get_mut(&segment.sequence) {
                let added = measuring.add(segment, rows.by_ref(), tokenizer.size(), scratch);
                // Behind a fault some are left.
                rows.for_each(drop);
                found.push((segment, added.map(|()| Found::Measured).map_err(Failed::Fault)));
            } else if let Some(sequence) = sequences.get_mut(&segment.sequence) {
                let logprobs = requests[&sequence.request].logprobs;
                if let Some(choice) = choice {
                    found.push((segment, sequence.chosen(*choice, tokenizer)));
                } else if let Some(row) = rows.next() {
                    found.push((segment, sequence.next(row, logprobs, tokenizer, scratch)));
                }
            }
        }
        Ok(Some(found))
    }

    /// Takes a sequence that is over out of the scheduler, and notes how soon the next one may come.
    fn leave(&mut self, id: SequenceId) {
        self.scheduler.remove(id);
        let others_wait = self.scheduler.waiting() > 0;
        self.counters.set_retry_after(self.departures.leave(self.begun.elapsed(), others_wait));
    }

    /// Hands out what a sequence's next token makes visible, and ends the sequence where that is due. An answer
    /// starts with its first token: until then whoever waits may still go elsewhere.
    fn hand_out(&mut self, id: SequenceId, drawn: Drawn) -> Result<(), TooSlow> {
        let Self { tokenizer, scheduler, counters, requests, sequences, .. } = self;
        let Some(sequence) = sequences.get_mut(&id) else { return Ok(()) };
        let Some(request) = requests.get_mut(&sequence.request) else { return Ok(()) };
        request.output_tokens += 1;
        counters.generated_tokens.fetch_add(1, Ordering::Relaxed);
        request.start();
        let Drawn { token, entry } = drawn;
        if tokenizer.is_end_of_generation(token) {
            return self.finish(id, FinishReason::Stop);
        }
        // Drawn tokens are of the vocabulary.
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        request.writer.send_text(sequence.choice, sequence.text.push(bytes, entry))?;
        if sequence.text.stopped() {
            return self.finish(id, FinishReason::Stop);
        }
        sequence.last = Some(token);
        match scheduler.extend(id) {
            true => Ok(()),
            false => self.finish(id, FinishReason::Length),
        }
    }

    /// Ends a sequence before its next token.
    fn stop(&mut self, id: SequenceId) -> Result<(), TooSlow> {
        let key = self.sequences.get(&id).map(|sequence| sequence.request);
        if let Some(request) = key.and_then(|key| self.requests.get_mut(&key)) {
            request.start();
        }
        self.finish(id, FinishReason::Stop)
    }

    /// Ends a sequence and, with its last one, the request.
    fn finish(&mut self, id: SequenceId, reason: FinishReason) -> Result<(), TooSlow> {
        self.forward.close(id.into());
        self.leave(id);
        let Some(sequence) = self.sequences.remove(&id) else { return Ok(()) };
        let Some(request) = self.requests.get_mut(&sequence.request) else { return Ok(()) };
        request.sequences.retain(|&other| other != id);
        request.writer.send_text(sequence.choice, sequence.text.finish())?;
        request.writer.send(Event::Finish { choice: sequence.choice, reason });
        let over = request.sequences.is_empty();
        if over && let Some(request) = self.requests.remove(&sequence.request) {
            // Whoever reads the end finds the numbers up to date.
            self.note();
            let input = request.prompt.len() as u64;
            let usage = Usage { input, output: request.output_tokens, ..Usage::default() };
            request.writer.send(Event::Usage(usage));
            request.writer.end();
        }
        Ok(())
    }

    /// Ends a request with an error; its sequences are forgotten.
    fn fail(&mut self, key: RequestKey, error: BackendError) {
        if let Some(request) = self.requests.remove(&key) {
            for id in request.sequences {
                self.scheduler.remove(id);
                self.forward.close(id.into());
                self.sequences.remove(&id);
            }
            self.note();
            request.writer.fail(error);
        }
    }

    /// Fails every request that has a sequence running, and every measurement that runs: their caches may be half
    /// written.
    fn fail_running(&mut self, message: &str) {
        tracing::error!(model = %self.name, message, "a forward pass failed");
        self.counters.faults.fetch_add(1, Ordering::Relaxed);
        let error = self.internal(message);
        let keys: Vec<RequestKey> = self
            .requests
            .iter()
            .filter(|(_, request)| request.sequences.iter().any(|&id| self.scheduler.runs(id)))
            .map(|(&key, _)| key)
            .collect();
        for key in keys {
            self.fail(key, error.clone());
        }
        self.fail_measurements(&error, |id, _, scheduler| scheduler.runs(id));
    }

    fn drop_abandoned(&mut self) {
        let error = BackendError::new(ErrorKind::Cancelled, "nobody reads the answer any more");
        let keys: Vec<RequestKey> = self
            .requests
            .iter()
            .filter(|(_, request)| request.writer.abandoned())
            .map(|(&key, _)| key)
            .collect();
        for key in keys {
            self.fail(key, error.clone());
        }
        self.fail_measurements(&error, |_, measuring, _| measuring.abandoned());
    }

    fn internal(&self, message: &str) -> BackendError {
        let message = format!("model `{}` failed while it computed: {message}", self.name);
        BackendError::new(ErrorKind::Internal, message).dispatched()
    }

    fn refusal(&self, refused: Refused) -> BackendError {
        let name = &self.name;
        match refused {
            Refused::Full { .. } => {
                BackendError::new(ErrorKind::Overloaded, format!("model `{name}`: {refused}"))
                    .retry_after(Some(self.counters.retry_after()))
            }
            Refused::TooManyChoices { .. } => {
                BackendError::new(ErrorKind::InvalidRequest, format!("n: model `{name}`: {refused}"))
                    .about("n")
            }
            Refused::TooLong { .. } => BackendError::new(
                ErrorKind::Internal,
                format!("model `{name}`: {refused}; the cache is smaller than one context"),
            ),
        }
    }

    /// Publishes the gauges.
    pub(super) fn note(&self) {
        let Counters { passes, waiting, running, blocks_free, .. } = &*self.counters;
        passes.store(self.forward.passes(), Ordering::Relaxed);
        waiting.store(self.scheduler.waiting() as u64, Ordering::Relaxed);
        running.store(self.scheduler.running() as u64, Ordering::Relaxed);
        blocks_free.store(self.scheduler.blocks_free() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
