//! What a policy is told: the request, the targets, its settings.
//!
//! Traits, so that a policy runs unchanged against the host and against the plain data of `testing`. Their
//! methods mirror the functions of the interfaces `request`, `catalog` and `settings`, where meaning and
//! cost are written down; each is one call of the host.
//!
//! They are taken as `&impl Request`, not `&dyn Request`: a component imports the functions that its code names, and
//! a table of virtual methods names all of them. Each import costs every fresh instance a little.

use crate::answer::Refusal;
use crate::types::{Breaker, Locality, Price, Role, Want};

/// A conversation to continue, read through the host.
pub trait Request {
    /// The model that the client named: `auto`, or the id of a target.
    fn model(&self) -> String;
    /// The name of the API key that asks.
    fn key(&self) -> Option<String>;
    /// The tenant that the key belongs to.
    fn tenant(&self) -> Option<String>;
    /// The labels in force.
    fn labels(&self) -> Vec<String>;
    /// What is needed beyond plain text.
    fn wants(&self) -> Vec<Want>;
    /// The names of the tools offered to the model.
    fn tools(&self) -> Vec<String>;
    /// The JSON schema that the answer must follow.
    fn answer_schema(&self) -> Option<String>;
    /// The longest answer accepted, in tokens.
    fn answer_tokens_max(&self) -> Option<u64>;
    /// A cheap estimate of the prompt's tokens.
    fn estimate_tokens(&self) -> u64;
    /// How many messages there are.
    fn message_count(&self) -> u32;
    /// One message, the oldest being 0.
    fn message(&self, index: u32) -> Option<impl Message + '_>;
    /// The bytes of the whole text.
    fn length(&self) -> u64;
    /// The start of the whole text, at most `limit` bytes.
    fn text(&self, limit: u32) -> String;
    /// A piece of the whole text: at most `limit` bytes from byte `offset` on.
    fn read(&self, offset: u64, limit: u32) -> String;
    /// What it is in the host.
    #[cfg(target_family = "wasm")]
    #[doc(hidden)]
    fn handle(&self) -> Option<&crate::guest::Handle> {
        None
    }
}

/// One message of a conversation.
pub trait Message {
    /// Who wrote it.
    fn role(&self) -> Role;
    /// The bytes of its text.
    fn length(&self) -> u64;
    /// Its text, at most `limit` bytes.
    fn text(&self, limit: u32) -> String;
}

/// The targets that a plan may name, read by column: one element a target, always in the same order.
pub trait Catalog {
    /// Unique ids.
    fn ids(&self) -> Vec<String>;
    /// The model behind each.
    fn models(&self) -> Vec<String>;
    /// Where the bytes go.
    fn localities(&self) -> Vec<Locality>;
    /// Cloud regions.
    fn regions(&self) -> Vec<Option<String>>;
    /// Whether the labels permit it.
    fn permitted(&self) -> Vec<bool>;
    /// USD per million tokens.
    fn prices(&self) -> Vec<Option<Price>>;
    /// Tokens of prompt and answer together.
    fn context_tokens(&self) -> Vec<Option<u64>>;
    /// Whether it can do `what`.
    fn offers(&self, what: Want) -> Vec<Option<bool>>;
    /// Circuit breakers.
    fn breakers(&self) -> Vec<Breaker>;
    /// Requests being answered.
    fn in_flight(&self) -> Vec<u32>;
    /// Requests waiting.
    fn queued(&self) -> Vec<Option<u32>>;
    /// Median milliseconds to the first token.
    fn first_token_ms(&self) -> Vec<Option<f64>>;
    /// Median tokens a second.
    fn tokens_per_second(&self) -> Vec<Option<f64>>;
    /// Milliseconds within which nine of ten first tokens come.
    fn first_token_p90_ms(&self) -> Vec<Option<f64>>;
    /// Tokens a second that nine of ten answers exceed.
    fn tokens_per_second_p10(&self) -> Vec<Option<f64>>;
    /// Share of recent attempts that failed.
    fn error_rates(&self) -> Vec<Option<f64>>;
    /// Ids of each model's adapters that are loaded.
    fn adapters(&self) -> Vec<Vec<String>>;
    /// Tokens of this prompt that are in its cache.
    fn prefix_hit_tokens(&self) -> Vec<Option<u64>>;
    /// USD that the caller's budget still has, and the whole of it.
    fn budget(&self) -> Option<(f64, f64)>;
}

/// The plugin's settings from the operator's configuration.
pub trait Settings {
    /// One setting.
    fn get(&self, key: &str) -> Option<String>;
    /// All of them, ordered by key.
    fn all(&self) -> Vec<(String, String)>;
    /// One setting as a finite number.
    ///
    /// # Errors
    /// A refusal that names the setting when it is not a number: a policy that misreads its settings must
    /// not decide.
    fn number(&self, key: &str) -> Result<Option<f64>, Refusal> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(Refusal::new(format!("the policy's setting `{key}` is not a number"))),
        }
    }
}

/// One row of the catalog: the facts that most policies sort by.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its id.
    pub id: String,
    /// Where its bytes go.
    pub locality: Locality,
    /// Whether the labels permit it.
    pub permitted: bool,
    /// What it costs.
    pub price: Option<Price>,
    /// Tokens that it can hold.
    pub context_tokens: Option<u64>,
    /// Its circuit breaker.
    pub breaker: Breaker,
}

/// Whether each of the `count` targets can do all of `wants`, as far as is known. Costs a call of the host for each
/// want that tells targets apart.
pub fn able(catalog: &impl Catalog, wants: &[Want], count: usize) -> Vec<bool> {
    let mut able = vec![true; count];
    for want in wants.iter().filter(|want| matches!(want, Want::Tools | Want::Images)) {
        for (able, offer) in able.iter_mut().zip(catalog.offers(want.clone())) {
            *able &= offer != Some(false);
        }
    }
    able
}

/// The catalog by row, in the order of its columns. Costs six calls of the host.
pub fn targets(catalog: &impl Catalog) -> Vec<Target> {
    let mut permitted = catalog.permitted().into_iter();
    let mut localities = catalog.localities().into_iter();
    let mut prices = catalog.prices().into_iter();
    let mut contexts = catalog.context_tokens().into_iter();
    let mut breakers = catalog.breakers().into_iter();
    let row = |id| {
        Some(Target {
            id,
            locality: localities.next()?,
            permitted: permitted.next()?,
            price: prices.next()?,
            context_tokens: contexts.next()?,
            breaker: breakers.next()?,
        })
    };
    catalog.ids().into_iter().map_while(row).collect()
}
