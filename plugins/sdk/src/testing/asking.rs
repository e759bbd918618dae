//! Models and clouds that answer as the test says, on the test's own thread.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::asking::{AskError, Event, Likelihood};
use crate::types::Role;

/// What a plugin asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// The model's or target's id.
    pub target: String,
    /// Whether it asked by `cloud`.
    pub is_cloud: bool,
    /// The prompt's messages; none for an embedding.
    pub messages: Vec<(Role, String)>,
    /// The continuations, or the texts to embed.
    pub texts: Vec<String>,
    /// The longest answer.
    pub max_tokens: Option<u32>,
    /// The temperature.
    pub temperature: Option<f32>,
    /// The seed.
    pub seed: Option<u64>,
    /// Where the answer ends.
    pub stops: Vec<String>,
}

/// What a target answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A generation's events.
    Events(Vec<Event>),
    /// Likelihoods, in the continuations' order.
    Likelihoods(Vec<Likelihood>),
    /// Vectors, in the texts' order.
    Vectors(Vec<Vec<f32>>),
    /// A number of tokens.
    Tokens(u64),
    /// An error.
    Error(AskError),
}

impl Reply {
    /// A generation of this text.
    pub fn text(text: &str) -> Self {
        Self::Events(vec![Event::Text(text.to_owned()), Event::Finish(crate::reviewing::Finish::Stop)])
    }

    /// Likelihoods of these logarithms, of one token each.
    pub fn likelihoods(log_probabilities: &[f64]) -> Self {
        let one = |&log_probability: &f64| Likelihood { log_probability, tokens: 1 };
        Self::Likelihoods(log_probabilities.iter().map(one).collect())
    }
}

thread_local! {
    static REPLIES: RefCell<VecDeque<Reply>> = const { RefCell::new(VecDeque::new()) };
    static ASKED: RefCell<Vec<Asked>> = const { RefCell::new(Vec::new()) };
}

/// Appends the answer to an ask. An ask without one, or whose answer is of another kind, is denied.
pub fn reply(reply: Reply) {
    REPLIES.with_borrow_mut(|replies| replies.push_back(reply));
}

/// Takes what policies on this thread have asked so far.
pub fn asked() -> Vec<Asked> {
    ASKED.take()
}

#[cfg(not(target_family = "wasm"))]
mod host {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::{ASKED, Asked, REPLIES, Reply};
    use crate::asking::{AskError, Event, Likelihood};
    use crate::facts::{Message as _, Request};
    use crate::types::Role;

    pub(crate) struct Prompt(RefCell<Asked>);

    impl Prompt {
        pub(crate) fn new() -> Self {
            Self(RefCell::default())
        }
        pub(crate) fn of(request: &impl Request) -> Self {
            let prompt = Self::new();
            for message in (0..request.message_count()).filter_map(|number| request.message(number)) {
                prompt.add(message.role(), &message.text(u32::MAX));
            }
            prompt
        }
        pub(crate) fn add(&self, role: Role, text: &str) {
            self.0.borrow_mut().messages.push((role, text.to_owned()));
        }
        pub(crate) fn set_max_tokens(&self, tokens: u32) {
            self.0.borrow_mut().max_tokens = Some(tokens);
        }
        pub(crate) fn set_temperature(&self, temperature: f32) {
            self.0.borrow_mut().temperature = Some(temperature);
        }
        pub(crate) fn set_seed(&self, seed: u64) {
            self.0.borrow_mut().seed = Some(seed);
        }
        pub(crate) fn add_stop(&self, text: &str) {
            self.0.borrow_mut().stops.push(text.to_owned());
        }
        fn asked(&self, target: &str) -> Asked {
            Asked { target: target.to_owned(), ..self.0.borrow().clone() }
        }
    }

    pub(crate) struct Generation(VecDeque<Event>);

    impl Generation {
        pub(crate) fn next(&mut self, max: u32) -> Result<Vec<Event>, AskError> {
            let count = self.0.len().min(max.max(1) as usize);
            Ok(self.0.drain(..count).collect())
        }
    }

    fn take<T>(asked: Asked, of: impl FnOnce(Reply) -> Option<T>) -> Result<T, AskError> {
        ASKED.with_borrow_mut(|all| all.push(asked));
        match REPLIES.with_borrow_mut(VecDeque::pop_front) {
            Some(Reply::Error(error)) => Err(error),
            Some(reply) => of(reply).ok_or(AskError::Denied),
            None => Err(AskError::Denied),
        }
    }

    fn events(reply: Reply) -> Option<Generation> {
        if let Reply::Events(events) = reply { Some(Generation(events.into())) } else { None }
    }

    fn vectors(target: &str, texts: &[&str], is_cloud: bool) -> Result<Vec<Vec<f32>>, AskError> {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        let asked = Asked { target: target.to_owned(), is_cloud, texts, ..Asked::default() };
        take(asked, |reply| if let Reply::Vectors(vectors) = reply { Some(vectors) } else { None })
    }

    pub(crate) fn generate(model: &str, prompt: &Prompt) -> Result<Generation, AskError> {
        take(prompt.asked(model), events)
    }
    pub(crate) fn generate_in_cloud(target: &str, prompt: &Prompt) -> Result<Generation, AskError> {
        take(Asked { is_cloud: true, ..prompt.asked(target) }, events)
    }
    pub(crate) fn choose(
        model: &str,
        prompt: &Prompt,
        continuations: &[&str],
    ) -> Result<Vec<Likelihood>, AskError> {
        let texts = continuations.iter().map(|text| (*text).to_owned()).collect();
        take(Asked { texts, ..prompt.asked(model) }, |reply| {
            if let Reply::Likelihoods(likelihoods) = reply { Some(likelihoods) } else { None }
        })
    }
    pub(crate) fn embed(model: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, AskError> {
        vectors(model, texts, false)
    }
    pub(crate) fn embed_in_cloud(target: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, AskError> {
        vectors(target, texts, true)
    }
    pub(crate) fn count_tokens(model: &str, prompt: &Prompt) -> Result<u64, AskError> {
        take(prompt.asked(model), |reply| if let Reply::Tokens(tokens) = reply { Some(tokens) } else { None })
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) use host::{
    Generation, Prompt, choose, count_tokens, embed, embed_in_cloud, generate, generate_in_cloud,
};
