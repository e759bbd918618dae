//! The simulated world: targets that answer by rules, a clock that stands still unless somebody waits, and a journal of
//! what was asked and sent.
//!
//! Owns what stands in for engine, providers, clock and chance. Does not own anything that decides: plans are executed
//! by the gateway, components are run by the sandbox, as in production.

mod adapted;
mod backend;
mod clock;
mod journal;
mod reply;

use std::sync::Arc;

use lockgate_api::{ChatRequest, Health, Part, Target, TokenHooks as _};
use lockgate_sandbox::AdapterPlugin;

pub(crate) use backend::{Simulated, filler};
pub(crate) use clock::next;
pub use clock::{Clock, STARTED_MS};
pub use journal::{Asked, Journal, Kind, PlannedFault, Sent, UsedBy};
pub use reply::{Answer, Failing, Reply};

/// Who can be asked, and what they answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// In the order in which policies see them.
    pub targets: Vec<SimTarget>,
    /// The first that matches answers.
    pub replies: Vec<Reply>,
}

/// A target of the world.
#[derive(Clone, Debug, PartialEq)]
pub struct SimTarget {
    /// What policies see.
    pub target: Arc<Target>,
    /// How it is doing when a scenario begins.
    pub health: Health,
    /// Target ids of the adapters that it has loaded.
    pub adapters: Vec<String>,
    /// How it counts tokens.
    pub tokens: Tokens,
}

/// How a target counts the tokens of a prompt. Answers always have one for each four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Tokens {
    /// A quarter of its bytes, rounded up.
    #[default]
    Quarter,
    /// Its bytes by this number, rounded up.
    BytesEach(f64),
    /// Always so many.
    Fixed(u64),
}

impl Tokens {
    /// Of a prompt of so many bytes.
    pub fn of(self, bytes: usize) -> u64 {
        match self {
            Self::Quarter => quarter(bytes),
            // A conversion of this kind stays within the type's bounds.
            Self::BytesEach(each) => (bytes as f64 / each).ceil() as u64,
            Self::Fixed(tokens) => tokens,
        }
    }
}

impl World {
    /// The targets that an adapter makes of those it may be attached to, each with its base's place.
    pub(crate) fn tuned(&self, adapter: &AdapterPlugin) -> impl Iterator<Item = (usize, Arc<Target>)> {
        let bases = &adapter.description().bases;
        let places = self.targets.iter().enumerate().filter(|(_, sim)| bases.contains(&sim.target.id));
        places.map(|(place, sim)| {
            let (base, name) = (&*sim.target, adapter.id());
            let id = tuned_id(&base.id, name);
            let model = format!("{}, tuned by {name}", base.model);
            (place, Arc::new(Target { id, model, ..base.clone() }))
        })
    }

    /// The target of this id.
    pub fn target(&self, id: &str) -> Option<&SimTarget> {
        self.targets.iter().find(|sim| sim.target.id == id)
    }
}

/// The id of a model with an adapter on it.
pub(crate) fn tuned_id(base: &str, adapter: &str) -> String {
    format!("{base}:{adapter}")
}

/// A quarter of the bytes, rounded up.
pub(crate) fn quarter(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// All text of a request that a target reads: messages first, each on lines of its own.
pub(crate) fn text_of(request: &ChatRequest) -> String {
    let mut text = String::with_capacity(request.text_bytes() + 64);
    let mut add = |piece: &str| {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(piece);
    };
    for message in &request.messages {
        let parts: Vec<&str> = message.content.iter().filter_map(Part::as_text).collect();
        match parts.as_slice() {
            [] => {}
            [part] => add(part),
            parts => add(&parts.concat()),
        }
        let named = message.name.iter().chain(&message.reasoning);
        named.for_each(|piece| add(piece));
        for call in &message.tool_calls {
            add(&call.name);
            add(&call.arguments);
        }
    }
    for tool in &request.tools {
        add(&tool.name);
        tool.description.iter().for_each(|piece| add(piece));
        if let Some(schema) = &tool.parameters {
            add(&schema.to_string());
        }
    }
    if let lockgate_api::ResponseFormat::JsonSchema { name, description, schema, .. } =
        &request.response_format
    {
        add(name);
        description.iter().for_each(|piece| add(piece));
        add(&schema.to_string());
    }
    for (name, value) in &request.extra {
        add(name);
        add(&value.to_string());
    }
    text
}
