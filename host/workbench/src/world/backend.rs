//! A simulated target: answers what the replies say, when they say it, and writes down what reached it. One with an
//! adapter on it says what the adapter makes of that.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use lockgate_api::{
    AttemptContext, Backend, BackendError, ChatRequest, Choose, Chosen, Embed, Embedded, ErrorKind, Event,
    Events, FinishReason, Likelihood, Part, Permit, Price, Target, TimeoutKind, TokenLogprob, TopLogprob,
    Usage,
};

use lockgate_sandbox::AdapterPlugin;

use super::adapted::{Hooks, prepared};
use super::journal::{Journal, Kind, Sent};
use super::reply::{Answer, Failing, Reply};
use super::{SimTarget, World, quarter, text_of};

/// Bytes of a piece of an answer: a token.
const PIECE_BYTES: usize = 4;

/// A target of a world.
#[derive(Clone)]
pub(crate) struct Simulated {
    pub(crate) world: Arc<World>,
    /// Its place in the world, or its base's.
    pub(crate) place: usize,
    /// What is told of it.
    pub(crate) target: Arc<Target>,
    /// The adapter that it has.
    pub(crate) adapter: Option<Arc<AdapterPlugin>>,
    /// Replies of the scenario's own, which come before the world's.
    pub(crate) own: Arc<[Reply]>,
    pub(crate) journal: Arc<Journal>,
}

impl Simulated {
    fn sim(&self) -> &SimTarget {
        &self.world.targets[self.place]
    }

    /// What a target without a stated price costs: nothing here, nobody knows how much elsewhere.
    fn price(&self) -> Option<Price> {
        let target = &self.target;
        let is_cloud = target.locality == lockgate_api::Locality::Cloud;
        target.price.or_else(|| (!is_cloud).then_some(Price { input: 0.0, output: 0.0 }))
    }

    fn check(&self, permit: &Permit) -> Result<(), BackendError> {
        let id = &self.target.id;
        if permit.target() == id {
            return Ok(());
        }
        let message = format!("a permit for `{}` was used for `{id}`", permit.target());
        Err(BackendError::new(ErrorKind::Internal, message))
    }

    fn send(&self, kind: Kind, text: String, prompt_tokens: u64) -> usize {
        let target = self.target.id.clone();
        // Whoever is given up on may bill for what it has read.
        let usd = self.price().map(|price| prompt_tokens as f64 * price.input / 1e6);
        self.journal.sends(Sent {
            target,
            kind,
            text,
            prompt_tokens,
            completion_tokens: 0,
            usd,
            end: "abandoned",
        })
    }

    /// The error of a prompt that does not fit.
    fn too_long(&self, prompt_tokens: u64) -> BackendError {
        let context_tokens = self.target.context_tokens.unwrap_or(prompt_tokens);
        let kind = ErrorKind::ContextExceeded { prompt_tokens, context_tokens };
        BackendError::new(kind, "the prompt does not fit the context")
    }

    fn fits(&self, prompt_tokens: u64) -> Result<(), BackendError> {
        match self.target.context_tokens {
            Some(context) if prompt_tokens >= context => Err(self.too_long(prompt_tokens)),
            _ => Ok(()),
        }
    }

    fn reply(&self, kind: Kind, prompt: &str) -> Result<&Reply, BackendError> {
        let (id, base) = (&self.target.id, &self.sim().target.id);
        let all = self.own.iter().chain(&self.world.replies);
        let found =
            self.journal.serve(all, |reply| reply.is_for([id, base], kind, prompt), |reply| reply.times);
        found.ok_or_else(|| {
            self.journal.no_reply(format!(
                "no [[reply]] for target `{id}` ({}): {}",
                kind.name(),
                shorten(prompt)
            ));
            BackendError::new(ErrorKind::Unavailable, "no reply of the scenario is for this")
        })
    }

    fn error(&self, failing: Failing, prompt_tokens: u64) -> BackendError {
        let (kind, message) = match failing {
            Failing::Timeout => (ErrorKind::Timeout(TimeoutKind::FirstEvent), "it did not answer in time"),
            Failing::Overloaded => (ErrorKind::Overloaded, "it is overloaded"),
            Failing::Unavailable => (ErrorKind::Unavailable, "it is not available"),
            Failing::Context => return self.too_long(prompt_tokens),
            Failing::CutAfter(_) => (ErrorKind::Cut, "the connection broke"),
        };
        let error = BackendError::new(kind, message);
        if matches!(failing, Failing::Timeout | Failing::CutAfter(_)) { error.dispatched() } else { error }
    }

    /// Whether a failed send may be billed for what was sent.
    fn ends(&self, number: usize, end: &'static str, completion_tokens: u64, is_billed: bool) {
        let price = if is_billed { self.price() } else { Some(Price { input: 0.0, output: 0.0 }) };
        self.journal.ended(number, end, completion_tokens, price);
    }

    /// Writes down how something that comes to one answer ended.
    fn whole<T>(&self, number: usize, made: Result<T, BackendError>) -> Result<T, BackendError> {
        match &made {
            Ok(_) => self.ends(number, "ok", 0, true),
            Err(error) => self.ends(number, error.word(), 0, error.dispatched),
        }
        made
    }

    async fn choose_now(
        &self,
        prompt: &str,
        tokens: u64,
        asked: &[String],
    ) -> Result<Vec<Likelihood>, BackendError> {
        self.fits(tokens)?;
        let reply = self.reply(Kind::Choose, prompt)?;
        self.wait_for(reply, tokens).await?;
        let shares = reply.answer.choose.as_deref().unwrap_or_default();
        if shares.len() != asked.len() {
            let (id, given, asked) = (&self.target.id, shares.len(), asked.len());
            let what = format!(
                "the [[reply]] of target `{id}` has {given} numbers in `choose`, and {asked} continuations are asked about"
            );
            self.journal.no_reply(what.clone());
            return Err(BackendError::new(ErrorKind::Unavailable, what));
        }
        Ok(shares.iter().zip(asked).map(|(share, text)| likelihood(*share, text)).collect())
    }

    async fn embed_now(&self, inputs: &[String], tokens: u64) -> Result<Vec<Vec<f32>>, BackendError> {
        self.fits(tokens)?;
        let replies =
            inputs.iter().map(|input| self.reply(Kind::Embed, input)).collect::<Result<Vec<_>, _>>()?;
        // As long as the slowest takes; one that fails fails them all.
        if let Some(slowest) = replies.iter().max_by_key(|reply| (reply.answer.error.is_some(), reply.after))
        {
            self.wait_for(slowest, tokens).await?;
        }
        Ok(replies.iter().filter_map(|reply| reply.answer.embed.as_deref().map(unit)).collect())
    }

    /// The request as an adapter makes it, and what will have a word about the answer.
    async fn adapted(
        &self,
        request: Arc<ChatRequest>,
        context: &AttemptContext,
    ) -> Result<(Arc<ChatRequest>, Option<Hooks>), BackendError> {
        let Some(adapter) = &self.adapter else { return Ok((request, None)) };
        let request = prepared(adapter, request);
        let hooks = Hooks::begin(adapter, &request, context).await?;
        Ok((request, Some(hooks)))
    }

    /// Waits as long as a reply takes, and fails if it does.
    async fn wait_for(&self, reply: &Reply, prompt_tokens: u64) -> Result<(), BackendError> {
        if let (Some(Failing::Timeout), true) = (reply.answer.error, reply.after.is_zero()) {
            std::future::pending::<()>().await;
        }
        pause(reply.after).await;
        reply.answer.error.map_or(Ok(()), |failing| Err(self.error(failing, prompt_tokens)))
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

impl Backend for Simulated {
    fn accepts(&self, request: &ChatRequest) -> Result<(), BackendError> {
        let target = &self.target;
        let unsupported = |field: &str| {
            let kind = ErrorKind::Unsupported { field: field.to_owned() };
            Err(BackendError::new(kind, format!("target `{}` does not have {field}", target.id)))
        };
        let is_image = |part: &Part| matches!(part, Part::Image(_));
        if !target.images && request.messages.iter().any(|message| message.content.iter().any(is_image)) {
            return unsupported("messages[].content: images");
        }
        if !target.tools && !request.tools.is_empty() {
            return unsupported("tools");
        }
        Ok(())
    }

    fn stream(&self, request: Arc<ChatRequest>, permit: Permit, context: AttemptContext) -> Events {
        let sim = self.clone();
        Box::pin(async_stream::stream! {
            if let Err(error) = sim.check(&permit) {
                yield Err(error);
                return;
            }
            let (request, hooks) = match sim.adapted(request, &context).await {
                Ok(adapted) => adapted,
                Err(error) => {
                    yield Err(error);
                    return;
                }
            };
            let prompt = text_of(&request);
            let prompt_tokens = sim.sim().tokens.of(request.text_bytes());
            let number = sim.send(Kind::Answer, prompt.clone(), prompt_tokens);
            let reply = match sim.fits(prompt_tokens).and_then(|()| sim.reply(Kind::Answer, &prompt)) {
                Ok(reply) => reply,
                Err(error) => {
                    sim.ends(number, error.word(), 0, false);
                    yield Err(error);
                    return;
                }
            };
            let error = reply.answer.error;
            // Counted before it hangs: whoever gives up on it may be billed all the same.
            if error == Some(Failing::Timeout) {
                sim.ends(number, "timeout", 0, true);
            }
            let cut = match error {
                Some(Failing::CutAfter(pieces)) => {
                    pause(reply.after).await;
                    Some(pieces as usize)
                }
                _ => match sim.wait_for(reply, prompt_tokens).await {
                    Ok(()) => None,
                    Err(error) => {
                        sim.ends(number, error.word(), 0, error.dispatched);
                        yield Err(error);
                        return;
                    }
                },
            };
            let answers = match hooks {
                None => vec![reply.answer.clone(); request.choices as usize],
                Some(hooks) => match hooks.say(&reply.answer, &request).await {
                    Ok(answers) => answers,
                    Err(error) => {
                        sim.ends(number, error.word(), 0, true);
                        yield Err(error);
                        return;
                    }
                },
            };
            let (events, tokens) = events_of(&answers, &request, cut);
            if cut.is_some() {
                sim.ends(number, "cut", tokens, true);
            } else {
                sim.ends(number, "ok", tokens, true);
            }
            if cut != Some(0) {
                yield Ok(Event::Start { model: sim.target.model.clone() });
                for event in events {
                    yield Ok(event);
                }
            }
            if cut.is_some() {
                yield Err(sim.error(Failing::CutAfter(0), prompt_tokens));
                return;
            }
            yield Ok(Event::Usage(Usage { input: prompt_tokens, output: tokens, ..Usage::default() }));
        })
    }

    fn queued(&self) -> Option<u32> {
        self.sim().health.queued
    }

    fn adapter_targets(&self) -> Vec<String> {
        if self.adapter.is_some() { Vec::new() } else { self.sim().adapters.clone() }
    }

    fn choose(
        &self,
        ask: Choose,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<Chosen, BackendError>> {
        let sim = self.clone();
        Box::pin(async move {
            sim.check(&permit)?;
            let text = text_of(&ask.request);
            let more: usize = ask.continuations.iter().map(String::len).sum();
            let tokens = sim.sim().tokens.of(ask.request.text_bytes()) + quarter(more);
            let number = sim.send(Kind::Choose, text.clone(), tokens);
            let made = sim.choose_now(&text, tokens, &ask.continuations).await;
            let likelihoods = sim.whole(number, made)?;
            Ok(Chosen { likelihoods, usage: Usage { input: tokens, ..Usage::default() } })
        })
    }

    fn embed(
        &self,
        ask: Embed,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<Embedded, BackendError>> {
        let sim = self.clone();
        Box::pin(async move {
            sim.check(&permit)?;
            let bytes: usize = ask.inputs.iter().map(String::len).sum();
            let tokens = sim.sim().tokens.of(bytes);
            let number = sim.send(Kind::Embed, ask.inputs.join("\n"), tokens);
            let made = sim.embed_now(&ask.inputs, tokens).await;
            let vectors = sim.whole(number, made)?;
            Ok(Embedded { vectors, usage: Usage { input: tokens, ..Usage::default() } })
        })
    }

    fn count_tokens(
        &self,
        request: Arc<ChatRequest>,
        permit: Permit,
        _context: AttemptContext,
    ) -> BoxFuture<'static, Result<u64, BackendError>> {
        let sim = self.clone();
        Box::pin(async move {
            sim.check(&permit)?;
            let tokens = sim.sim().tokens.of(request.text_bytes());
            let number = sim.send(Kind::Count, text_of(&request), tokens);
            sim.ends(number, "ok", 0, false);
            Ok(tokens)
        })
    }
}

fn likelihood(share: f64, continuation: &str) -> Likelihood {
    let tokens = u32::try_from(quarter(continuation.len())).unwrap_or(u32::MAX).max(1);
    // A probability of 0 has no logarithm: as unlikely as anything is.
    let log_probability = share.max(1e-30).ln();
    Likelihood { log_probability, tokens }
}

/// The vector at Euclidean norm 1.
fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
    vector.iter().map(|value| value * scale).collect()
}

/// The events of answers, one a choice, between their start and their usage, and their tokens. Cut ones have so many
/// pieces, and no end.
fn events_of(answers: &[Answer], request: &ChatRequest, cut: Option<usize>) -> (Vec<Event>, u64) {
    let mut events = Vec::new();
    let mut left = cut.unwrap_or(usize::MAX);
    let mut tokens = 0;
    for (choice, answer) in (0..).zip(answers) {
        let text = answer.text.as_deref().unwrap_or_default();
        if let Some(reasoning) = &answer.reasoning {
            for piece in pieces(reasoning).take(left) {
                events.push(Event::Reasoning { choice, text: piece.to_owned() });
            }
            tokens += quarter(reasoning.len());
        }
        for piece in pieces(text).take(left) {
            tokens += 1;
            let logprobs = match (answer.logprob, request.logprobs) {
                (Some(logprob), Some(_)) => vec![token(piece, logprob)],
                _ => Vec::new(),
            };
            events.push(Event::Text { choice, text: piece.to_owned(), logprobs });
        }
        left = left.saturating_sub(events.len());
        if cut.is_some() {
            continue;
        }
        for (index, (name, arguments)) in (0..).zip(&answer.tool_calls) {
            tokens += quarter(name.len() + arguments.len());
            events.push(Event::ToolCall {
                choice,
                index,
                id: Some(format!("call-{choice}-{index}")),
                name: Some(name.clone()),
                arguments: arguments.clone(),
            });
        }
        let default = if answer.tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        events.push(Event::Finish { choice, reason: answer.finish.clone().unwrap_or(default) });
    }
    (events, tokens)
}

fn token(text: &str, logprob: f32) -> TokenLogprob {
    let chosen = TopLogprob { token: text.to_owned(), bytes: Some(text.as_bytes().to_vec()), logprob };
    TokenLogprob { chosen, top: Vec::new() }
}

/// A text of so many tokens, for answers that break off; a long one breaks off earlier.
pub(crate) fn filler(tokens: u32) -> String {
    "and so on ".chars().cycle().take(tokens.min(100_000) as usize * PIECE_BYTES).collect()
}

/// A text in pieces of a few bytes, as a model writes it; no character is split.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.ceil_char_boundary(PIECE_BYTES.min(rest.len()));
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Enough of a prompt to recognise it, on one line.
fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut shown: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}
