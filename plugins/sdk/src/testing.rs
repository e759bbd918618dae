//! Plain data that stands in for the host in native tests of a plugin.

mod adapters;
pub(crate) mod asking;
mod filters;
mod powers;
mod reviews;

use std::cell::RefCell;

use crate::facts::{Catalog, Message, Request, Settings};
use crate::log::Level;
use crate::types::{Breaker, Locality, Price, Role, Want};

pub use adapters::{FakeVocabulary, Generated, steer};
pub use asking::{Asked, Reply, asked, reply};
pub use filters::{FakeAnswer, FakeDraft, Watched, watch_run};
pub use powers::{advance_clock, clear_state, fail_state, seed_random};
#[cfg(not(target_family = "wasm"))]
pub(crate) use powers::{clock, random, state};
pub use reviews::{FakeChoice, FakeOutcome};

/// A request of plain fields. What is not set is empty.
#[derive(Clone, Debug, Default)]
pub struct FakeRequest {
    /// The conversation.
    pub messages: Vec<FakeMessage>,
    /// Text beside the messages, such as the definitions of tools.
    pub more_text: Vec<String>,
    /// The model named.
    pub model: String,
    /// The key's name.
    pub key: Option<String>,
    /// The key's tenant.
    pub tenant: Option<String>,
    /// Labels in force.
    pub labels: Vec<String>,
    /// What is needed beyond plain text.
    pub wants: Vec<Want>,
    /// Tools offered.
    pub tools: Vec<String>,
    /// The JSON schema of the answer.
    pub answer_schema: Option<String>,
    /// The longest answer.
    pub answer_tokens_max: Option<u64>,
}

/// A message of plain fields.
#[derive(Clone, Debug)]
pub struct FakeMessage {
    /// Who wrote it.
    pub role: Role,
    /// Its text.
    pub text: String,
}

impl FakeRequest {
    /// One message of the user's, to the model `auto`.
    pub fn user(text: impl Into<String>) -> Self {
        let message = FakeMessage { role: Role::User, text: text.into() };
        Self { messages: vec![message], model: "auto".to_owned(), ..Self::default() }
    }

    /// The same request with one more message at the end.
    #[must_use]
    pub fn message(mut self, role: Role, text: impl Into<String>) -> Self {
        self.messages.push(FakeMessage { role, text: text.into() });
        self
    }

    /// The same request with a label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.push(label.into());
        self
    }

    /// The same request with a need.
    #[must_use]
    pub fn want(mut self, want: Want) -> Self {
        self.wants.push(want);
        self
    }

    fn whole(&self) -> String {
        let messages = self.messages.iter().map(|message| message.text.as_str());
        let pieces: Vec<&str> = messages.chain(self.more_text.iter().map(String::as_str)).collect();
        pieces.join("\n")
    }
}

impl Request for FakeRequest {
    fn model(&self) -> String {
        self.model.clone()
    }
    fn key(&self) -> Option<String> {
        self.key.clone()
    }
    fn tenant(&self) -> Option<String> {
        self.tenant.clone()
    }
    fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }
    fn wants(&self) -> Vec<Want> {
        self.wants.clone()
    }
    fn tools(&self) -> Vec<String> {
        self.tools.clone()
    }
    fn answer_schema(&self) -> Option<String> {
        self.answer_schema.clone()
    }
    fn answer_tokens_max(&self) -> Option<u64> {
        self.answer_tokens_max
    }
    fn estimate_tokens(&self) -> u64 {
        self.length().div_ceil(4)
    }
    fn message_count(&self) -> u32 {
        u32::try_from(self.messages.len()).unwrap_or(u32::MAX)
    }
    fn message(&self, index: u32) -> Option<impl Message + '_> {
        self.messages.get(index as usize).cloned()
    }
    fn length(&self) -> u64 {
        self.whole().len() as u64
    }
    fn text(&self, limit: u32) -> String {
        self.read(0, limit)
    }
    fn read(&self, offset: u64, limit: u32) -> String {
        let whole = self.whole();
        let start = whole.floor_char_boundary(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = whole.floor_char_boundary(start.saturating_add(limit.max(4) as usize));
        whole[start..end].to_owned()
    }
}

impl Message for FakeMessage {
    fn role(&self) -> Role {
        self.role.clone()
    }
    fn length(&self) -> u64 {
        self.text.len() as u64
    }
    fn text(&self, limit: u32) -> String {
        self.text[..self.text.floor_char_boundary(limit as usize)].to_owned()
    }
}

/// Targets of plain fields.
#[derive(Clone, Debug, Default)]
pub struct FakeCatalog {
    /// The targets in order.
    pub targets: Vec<FakeTarget>,
    /// What the caller's budget still has, and the whole of it.
    pub budget: Option<(f64, f64)>,
}

/// A target of plain fields.
#[derive(Clone, Debug)]
pub struct FakeTarget {
    /// Its id.
    pub id: String,
    /// Its model.
    pub model: String,
    /// Where its bytes go.
    pub locality: Locality,
    /// Its region.
    pub region: Option<String>,
    /// Whether the labels permit it.
    pub permitted: bool,
    /// Its price.
    pub price: Option<Price>,
    /// Its context.
    pub context_tokens: Option<u64>,
    /// What it is known to do.
    pub offers: Vec<Want>,
    /// Its breaker.
    pub breaker: Breaker,
    /// Requests being answered.
    pub in_flight: u32,
    /// Requests waiting.
    pub queued: Option<u32>,
    /// Median milliseconds to the first token.
    pub first_token_ms: Option<f64>,
    /// Median tokens a second.
    pub tokens_per_second: Option<f64>,
    /// Milliseconds within which nine of ten first tokens come.
    pub first_token_p90_ms: Option<f64>,
    /// Tokens a second that nine of ten answers exceed.
    pub tokens_per_second_p10: Option<f64>,
    /// Share of recent failures.
    pub error_rate: Option<f64>,
    /// Ids of its adapters that are loaded.
    pub adapters: Vec<String>,
    /// Tokens of the prompt that are in its cache.
    pub prefix_hit_tokens: Option<u64>,
}

impl FakeTarget {
    /// A permitted, healthy target.
    pub fn new(id: impl Into<String>, locality: Locality) -> Self {
        let id = id.into();
        Self {
            model: id.clone(),
            id,
            locality,
            region: None,
            permitted: true,
            price: None,
            context_tokens: None,
            offers: Vec::new(),
            breaker: Breaker::Closed,
            in_flight: 0,
            queued: None,
            first_token_ms: None,
            tokens_per_second: None,
            first_token_p90_ms: None,
            tokens_per_second_p10: None,
            error_rate: None,
            adapters: Vec::new(),
            prefix_hit_tokens: None,
        }
    }

    /// One on this machine.
    pub fn local(id: impl Into<String>) -> Self {
        Self::new(id, Locality::Local)
    }

    /// One in a cloud.
    pub fn cloud(id: impl Into<String>) -> Self {
        Self::new(id, Locality::Cloud)
    }

    /// The same target, forbidden by the request's labels.
    #[must_use]
    pub fn forbidden(mut self) -> Self {
        self.permitted = false;
        self
    }

    /// The same target with its breaker in this state.
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = breaker;
        self
    }
}

impl FakeCatalog {
    /// These targets in this order.
    pub fn new(targets: impl IntoIterator<Item = FakeTarget>) -> Self {
        Self { targets: targets.into_iter().collect(), budget: None }
    }

    fn column<T>(&self, cell: impl Fn(&FakeTarget) -> T) -> Vec<T> {
        self.targets.iter().map(cell).collect()
    }
}

impl Catalog for FakeCatalog {
    fn ids(&self) -> Vec<String> {
        self.column(|target| target.id.clone())
    }
    fn models(&self) -> Vec<String> {
        self.column(|target| target.model.clone())
    }
    fn localities(&self) -> Vec<Locality> {
        self.column(|target| target.locality.clone())
    }
    fn regions(&self) -> Vec<Option<String>> {
        self.column(|target| target.region.clone())
    }
    fn permitted(&self) -> Vec<bool> {
        self.column(|target| target.permitted)
    }
    fn prices(&self) -> Vec<Option<Price>> {
        self.column(|target| target.price)
    }
    fn context_tokens(&self) -> Vec<Option<u64>> {
        self.column(|target| target.context_tokens)
    }
    fn offers(&self, what: Want) -> Vec<Option<bool>> {
        self.column(|target| Some(target.offers.contains(&what)))
    }
    fn breakers(&self) -> Vec<Breaker> {
        self.column(|target| target.breaker)
    }
    fn in_flight(&self) -> Vec<u32> {
        self.column(|target| target.in_flight)
    }
    fn queued(&self) -> Vec<Option<u32>> {
        self.column(|target| target.queued)
    }
    fn first_token_ms(&self) -> Vec<Option<f64>> {
        self.column(|target| target.first_token_ms)
    }
    fn tokens_per_second(&self) -> Vec<Option<f64>> {
        self.column(|target| target.tokens_per_second)
    }
    fn first_token_p90_ms(&self) -> Vec<Option<f64>> {
        self.column(|target| target.first_token_p90_ms)
    }
    fn tokens_per_second_p10(&self) -> Vec<Option<f64>> {
        self.column(|target| target.tokens_per_second_p10)
    }
    fn error_rates(&self) -> Vec<Option<f64>> {
        self.column(|target| target.error_rate)
    }
    fn adapters(&self) -> Vec<Vec<String>> {
        self.column(|target| target.adapters.clone())
    }
    fn prefix_hit_tokens(&self) -> Vec<Option<u64>> {
        self.column(|target| target.prefix_hit_tokens)
    }
    fn budget(&self) -> Option<(f64, f64)> {
        self.budget
    }
}

/// Settings of plain pairs.
#[derive(Clone, Debug, Default)]
pub struct FakeSettings {
    pairs: std::collections::BTreeMap<String, String>,
}

impl FakeSettings {
    /// No setting.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same settings and one more.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.pairs.insert(key.into(), value.into());
        self
    }
}

impl Settings for FakeSettings {
    fn get(&self, key: &str) -> Option<String> {
        self.pairs.get(key).cloned()
    }
    fn all(&self) -> Vec<(String, String)> {
        self.pairs.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

thread_local! {
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Takes the lines that policies on this thread have logged so far.
pub fn log_lines() -> Vec<(Level, String)> {
    LOG.take()
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn keep_log(level: Level, message: &str) {
    LOG.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}
