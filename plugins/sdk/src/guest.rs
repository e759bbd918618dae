//! The seam between this crate's plain types and the component's imports and export. Only in components.

use std::marker::PhantomData;
use std::time::Duration;

use crate::answer::{Plan, Refusal};
use crate::facts;
use crate::log::Level;
use crate::types;

use self::bindings::router::exports::lockgate::plugin::route::Guest;
use self::bindings::router::lockgate::plugin::{catalog, log, plan, request, settings, types as wire};

#[allow(
    missing_docs,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::undocumented_unsafe_blocks,
    reason = "generated from the folder wit; the canonical ABI passes pointers"
)]
#[rustfmt::skip]
pub mod bindings;
mod adapters;
pub(crate) mod asking;
mod filters;
mod powers;
mod reviews;

#[doc(hidden)]
pub use asking::Handle;

pub(crate) use powers::{clock, random, state};

/// What the macros of the crate's root export.
pub struct Hook<T>(PhantomData<T>);

impl<T: crate::Router> Guest for Hook<T> {
    fn route(request: &request::Request) -> Result<plan::Plan, plan::Refusal> {
        match T::route(request, &Host, &Host) {
            Ok(plan) => Ok(build(plan)),
            Err(refusal) => Err(refuse(refusal)),
        }
    }
}

fn refuse(Refusal { reason }: Refusal) -> plan::Refusal {
    plan::Refusal::new(&reason)
}

fn build(mut plan: Plan) -> plan::Plan {
    let built = plan::Plan::new();
    let targets: Vec<String> =
        plan.attempts.iter_mut().map(|attempt| std::mem::take(&mut attempt.target)).collect();
    let first = built.add_attempts(&targets);
    for (number, attempt) in (first..).zip(&plan.attempts) {
        if let Some(timeout) = attempt.timeout {
            built.set_timeout_ms(number, whole_milliseconds(timeout));
        }
        if let Some(time) = attempt.hedge_after {
            built.set_hedge_after_ms(number, whole_milliseconds(time));
        }
        if attempt.review {
            built.review_attempt(number);
        }
        if let Some(temperature) = attempt.temperature {
            built.set_temperature(number, temperature);
        }
        if let Some(share) = attempt.top_p {
            built.set_top_p(number, share);
        }
        if let Some(count) = attempt.top_k {
            built.set_top_k(number, count);
        }
        if let Some(seed) = attempt.seed {
            built.set_seed(number, seed);
        }
        if let Some(tokens) = attempt.max_tokens {
            built.set_max_tokens(number, tokens);
        }
    }
    for label in &plan.labels {
        built.add_label(label);
    }
    if !plan.reason.is_empty() {
        built.set_reason(&plan.reason);
    }
    built
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn write_log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::write(level, message);
}

impl facts::Request for request::Request {
    fn handle(&self) -> Option<&Handle> {
        Some(self)
    }
    fn model(&self) -> String {
        Self::model(self)
    }
    fn key(&self) -> Option<String> {
        Self::key(self)
    }
    fn tenant(&self) -> Option<String> {
        Self::tenant(self)
    }
    fn labels(&self) -> Vec<String> {
        Self::labels(self)
    }
    fn wants(&self) -> Vec<types::Want> {
        Self::wants(self).into_iter().map(from_want).collect()
    }
    fn tools(&self) -> Vec<String> {
        Self::tools(self)
    }
    fn answer_schema(&self) -> Option<String> {
        Self::answer_schema(self)
    }
    fn answer_tokens_max(&self) -> Option<u64> {
        Self::answer_tokens_max(self)
    }
    fn estimate_tokens(&self) -> u64 {
        Self::estimate_tokens(self)
    }
    fn message_count(&self) -> u32 {
        Self::message_count(self)
    }
    fn message(&self, index: u32) -> Option<impl facts::Message + '_> {
        Self::message(self, index)
    }
    fn length(&self) -> u64 {
        Self::length(self)
    }
    fn text(&self, limit: u32) -> String {
        Self::text(self, limit)
    }
    fn read(&self, offset: u64, limit: u32) -> String {
        Self::read(self, offset, limit)
    }
}

impl facts::Message for request::Message {
    fn role(&self) -> types::Role {
        match Self::role(self) {
            wire::Role::System => types::Role::System,
            wire::Role::Developer => types::Role::Developer,
            wire::Role::User => types::Role::User,
            wire::Role::Assistant => types::Role::Assistant,
            wire::Role::Tool => types::Role::Tool,
            wire::Role::Other(name) => types::Role::Other(name),
        }
    }
    fn length(&self) -> u64 {
        Self::length(self)
    }
    fn text(&self, limit: u32) -> String {
        Self::text(self, limit)
    }
}

/// The imports that belong to no handle.
struct Host;

impl facts::Catalog for Host {
    fn ids(&self) -> Vec<String> {
        catalog::ids()
    }
    fn models(&self) -> Vec<String> {
        catalog::models()
    }
    fn localities(&self) -> Vec<types::Locality> {
        catalog::localities().into_iter().map(from_locality).collect()
    }
    fn regions(&self) -> Vec<Option<String>> {
        catalog::regions()
    }
    fn permitted(&self) -> Vec<bool> {
        catalog::permitted()
    }
    fn prices(&self) -> Vec<Option<types::Price>> {
        let price = |price: wire::Price| types::Price { input: price.input, output: price.output };
        catalog::prices().into_iter().map(|cell| cell.map(price)).collect()
    }
    fn context_tokens(&self) -> Vec<Option<u64>> {
        catalog::context_tokens()
    }
    fn offers(&self, what: types::Want) -> Vec<Option<bool>> {
        catalog::offers(&into_want(what))
    }
    fn breakers(&self) -> Vec<types::Breaker> {
        let breaker = |breaker| match breaker {
            wire::Breaker::Closed => types::Breaker::Closed,
            wire::Breaker::HalfOpen => types::Breaker::HalfOpen,
            wire::Breaker::Open => types::Breaker::Open,
        };
        catalog::breakers().into_iter().map(breaker).collect()
    }
    fn in_flight(&self) -> Vec<u32> {
        catalog::in_flight()
    }
    fn queued(&self) -> Vec<Option<u32>> {
        catalog::queued()
    }
    fn first_token_ms(&self) -> Vec<Option<f64>> {
        catalog::first_token_ms()
    }
    fn tokens_per_second(&self) -> Vec<Option<f64>> {
        catalog::tokens_per_second()
    }
    fn first_token_p90_ms(&self) -> Vec<Option<f64>> {
        catalog::first_token_p90_ms()
    }
    fn tokens_per_second_p10(&self) -> Vec<Option<f64>> {
        catalog::tokens_per_second_p10()
    }
    fn error_rates(&self) -> Vec<Option<f64>> {
        catalog::error_rates()
    }
    fn adapters(&self) -> Vec<Vec<String>> {
        catalog::adapters()
    }
    fn prefix_hit_tokens(&self) -> Vec<Option<u64>> {
        catalog::prefix_hit_tokens()
    }
    fn budget(&self) -> Option<(f64, f64)> {
        catalog::budget()
    }
}

impl facts::Settings for Host {
    fn get(&self, key: &str) -> Option<String> {
        settings::get(key)
    }
    fn all(&self) -> Vec<(String, String)> {
        settings::all()
    }
}

fn from_locality(locality: wire::Locality) -> types::Locality {
    match locality {
        wire::Locality::Local => types::Locality::Local,
        wire::Locality::Lan => types::Locality::Lan,
        wire::Locality::Cloud => types::Locality::Cloud,
        wire::Locality::Other(name) => types::Locality::Other(name),
    }
}

fn from_want(want: wire::Want) -> types::Want {
    match want {
        wire::Want::Tools => types::Want::Tools,
        wire::Want::Images => types::Want::Images,
        wire::Want::Json => types::Want::Json,
        wire::Want::Logprobs => types::Want::Logprobs,
        wire::Want::Choices => types::Want::Choices,
        wire::Want::Other(name) => types::Want::Other(name),
    }
}

fn into_want(want: types::Want) -> wire::Want {
    match want {
        types::Want::Tools => wire::Want::Tools,
        types::Want::Images => wire::Want::Images,
        types::Want::Json => wire::Want::Json,
        types::Want::Logprobs => wire::Want::Logprobs,
        types::Want::Choices => wire::Want::Choices,
        types::Want::Other(name) => wire::Want::Other(name),
    }
}
