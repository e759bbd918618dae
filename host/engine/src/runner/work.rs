//! One turn after another: ask the scheduler, compute one forward pass, draw tokens, hand out their text.
//!
//! Owns the requests in flight and everything that belongs to them. Has no thread and waits for nothing, so tests
//! drive it turn by turn; the thread around it is in `runner`. A fault or panic in a pass fails the requests that
//! run, never the ones that wait, and the next turn goes on with those.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lockgate_api::{BackendError, ErrorKind, Event, FinishReason, TokenLogprob, TopLogprob, Usage};

use super::counters::Counters;
use super::forward::{Fault, Forward, Input, Pass};
use super::mailbox::{TooSlow, Writer};
use crate::adapter::Adapter;
use crate::sampler::{Parameters, Sampler, Scratch, logprobs};
use crate::scheduler::{Demand, Departures, Pace, Refused, Scheduler, Segment, SequenceId, Step};
use crate::text::TextStream;
use crate::tokenizer::Tokenizer;

/// A request whose prompt is tokens and whose parameters are checked.
#[derive(Clone, Debug)]
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
    text: TextStream,
    /// The last token drawn, which the next pass computes.
    last: u32,
}

/// A sequence's next token.
struct Drawn {
    token: u32,
    /// Where log-probabilities are wanted and the token has text.
    entry: Option<TokenLogprob>,
}

type DrawnRows = Vec<(SequenceId, Result<Drawn, Fault>)>;

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
        for (choice, &id) in (0..).zip(&ids) {
            let sequence = Sequence {
                request: key,
                choice,
                sampler: Sampler::new(ask.parameters.clone(), choice, &ask.prompt),
                text: TextStream::new(ask.stops.iter().map(String::as_str), ask.drop_first_space),
                last: 0,
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
        let step = self.scheduler.plan(self.pace.prefill_tokens_max());
        self.note();
        if step.segments.is_empty() {
            return Turn::Idle;
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
    }

    fn compute(&mut self, step: &Step) -> Result<(), Fault> {
        for &id in &step.admitted {
            let request = &self.requests[&self.sequences[&id].request];
            self.forward.open(id, request.positions, request.adapter.clone())?;
        }
        let begin = Instant::now();
        let drawn = self.pass(step)?;
        self.counters.passes.store(self.forward.passes(), Ordering::Relaxed);
        let Some(drawn) = drawn else { return Ok(()) };
        self.pace.observe(step.tokens(), begin.elapsed());
        self.scheduler.computed(step);
        self.counters.steps.fetch_add(1, Ordering::Relaxed);
        self.counters.prompt_tokens.fetch_add(step.prefill_tokens() as u64, Ordering::Relaxed);
        for (id, drawn) in drawn {
            // Another choice of the same request may have failed it.
            let Some(sequence) = self.sequences.get(&id) else { continue };
            let key = sequence.request;
            let handed_out = match drawn {
                Ok(drawn) => self.hand_out(id, drawn),
                Err(Fault(message)) => {
                    self.fail(key, self.internal(&message));
                    continue;
                }
            };
            if let Err(TooSlow) = handed_out {
                let message = "the answer was given up: too much of it waited to be read";
                self.fail(key, BackendError::new(ErrorKind::Cancelled, message).dispatched());
            }
        }
        Ok(())
    }

    /// Runs the model over the step's tokens and draws the next token of every sequence whose logits came. `None`
    /// when the pass was stopped.
    fn pass(&mut self, step: &Step) -> Result<Option<DrawnRows>, Fault> {
        let Self { forward, tokenizer, scratch, closing, requests, sequences, .. } = self;
        let request = |id: SequenceId| &requests[&sequences[&id].request];
        let inputs: Vec<Input<'_>> = step
            .segments
            .iter()
            .map(|segment| {
                let Segment { sequence, start, wants_logits, .. } = *segment;
                let tokens = match segment.prefill {
                    true => &request(sequence).prompt[start..start + segment.tokens],
                    false => std::slice::from_ref(&sequences[&sequence].last),
                };
                Input { sequence, start, tokens, wants_logits }
            })
            .collect();
        let writers: Vec<&Writer> =
            step.segments.iter().map(|segment| &request(segment.sequence).writer).collect();
        let stop = || closing.load(Ordering::Relaxed) || writers.iter().all(|writer| writer.abandoned());
        let Pass::Complete(rows) = forward.pass(&inputs, &stop)? else { return Ok(None) };
        let drawing =
            step.segments.iter().filter(|segment| segment.wants_logits).map(|segment| segment.sequence);
        let mut drawn = Vec::with_capacity(rows.len());
        for (id, row) in drawing.zip(rows) {
            let Some(sequence) = sequences.get_mut(&id) else { continue };
            let logprobs = requests[&sequence.request].logprobs;
            drawn.push((id, draw(sequence, row, logprobs, tokenizer, scratch)));
        }
        Ok(Some(drawn))
    }

    /// Hands out what a sequence's next token makes visible, and ends the sequence where that is due. An answer
    /// starts with its first token: until then whoever waits may still go elsewhere.
    fn hand_out(&mut self, id: SequenceId, drawn: Drawn) -> Result<(), TooSlow> {
        let Self { tokenizer, scheduler, counters, requests, sequences, .. } = self;
        let Some(sequence) = sequences.get_mut(&id) else { return Ok(()) };
        let Some(request) = requests.get_mut(&sequence.request) else { return Ok(()) };
        request.output_tokens += 1;
        counters.generated_tokens.fetch_add(1, Ordering::Relaxed);
        if !request.started {
            request.started = true;
            request.writer.send(Event::Start { model: request.name.to_string() });
        }
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
        sequence.last = token;
        match scheduler.extend(id) {
            true => Ok(()),
            false => self.finish(id, FinishReason::Length),
        }
    }

    /// Ends a sequence and, with its last one, the request.
    fn finish(&mut self, id: SequenceId, reason: FinishReason) -> Result<(), TooSlow> {
        self.scheduler.remove(id);
        self.forward.close(id);
        let others_wait = self.scheduler.waiting() > 0;
        self.counters.set_retry_after(self.departures.leave(self.begun.elapsed(), others_wait));
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
                self.forward.close(id);
                self.sequences.remove(&id);
            }
            self.note();
            request.writer.fail(error);
        }
    }

    /// Fails every request that has a sequence running: their caches may be half written.
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
    }

    fn drop_abandoned(&mut self) {
        let keys: Vec<RequestKey> = self
            .requests
            .iter()
            .filter(|(_, request)| request.writer.abandoned())
            .map(|(&key, _)| key)
            .collect();
        for key in keys {
            self.fail(key, BackendError::new(ErrorKind::Cancelled, "nobody reads the answer any more"));
        }
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

/// Draws a sequence's next token from its logits.
fn draw(
    sequence: &mut Sequence,
    row: &[f32],
    logprobs: Option<usize>,
    tokenizer: &Tokenizer,
    scratch: &mut Scratch,
) -> Result<Drawn, Fault> {
    let Some(logits) = row.get(..tokenizer.size()) else {
        return Err(Fault("it has fewer output rows than its tokenizer has tokens".to_owned()));
    };
    let token = sequence.sampler.sample(logits, scratch).map_err(|error| Fault(error.to_string()))?;
    let bytes = tokenizer.token_bytes(token).map_err(|error| Fault(error.to_string()))?;
    // A token without text has no place among the entries of the text.
    let wanted = logprobs.filter(|_| !bytes.is_empty());
    Ok(Drawn { token, entry: wanted.map(|count| entry(tokenizer, logits, token, count, scratch)) })
}

/// What a client learns of a token and its rivals.
fn entry(
    tokenizer: &Tokenizer,
    logits: &[f32],
    token: u32,
    count: usize,
    scratch: &mut Scratch,
) -> TokenLogprob {
    let named = |token: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        match bytes.is_empty() {
            // A token without text goes by its name in the vocabulary.
            true => TopLogprob {
                token: tokenizer.token_text(token).unwrap_or_default().to_owned(),
                bytes: None,
                logprob,
            },
            false => TopLogprob {
                token: String::from_utf8_lossy(bytes).into_owned(),
                bytes: Some(bytes.to_vec()),
                logprob,
            },
        }
    };
    let found = logprobs(logits, token, count, scratch);
    TokenLogprob {
        chosen: named(token, found.chosen),
        top: found.top.into_iter().map(|(token, logprob)| named(token, logprob)).collect(),
    }
}

#[cfg(test)]
mod tests;
