//! Hooks into a generation: what an adapter's component says about each token.
//!
//! `sandbox` implements [`TokenHooks`] with WebAssembly components; `engine` begins one [`TokenHook`] for each choice of
//! an answer and asks it once a token. A hook is asked by giving it away: the future owns it and gives it back, so that
//! whoever asks may put the future aside while other answers go on, and dropping it at any time is safe. Whatever goes
//! wrong with a hook ends its generation with an error; nothing goes on without it.

use std::sync::Arc;

use futures_core::future::BoxFuture;

use crate::error::{BackendError, ErrorKind};
use crate::labels::Labels;
use crate::policy::PolicyError;
use crate::request::ChatRequest;

/// The most tokens of a [`Place::top`].
pub const HOOK_TOP_MAX: usize = 256;

/// The most that a hook may add to a token's logit, or take from it.
pub const HOOK_BIAS_MAX: f32 = 100.0;

/// The tokens of a model.
pub trait Vocabulary: Send + Sync {
    /// How many there are; ids are below it.
    fn size(&self) -> u32;

    /// The tokens of a text, without those that begin or end a conversation; never a control token. `None` when it
    /// cannot be written.
    fn tokens(&self, text: &str) -> Option<Vec<u32>>;

    /// What a token adds to an answer: nothing for a control token or one that there is not.
    fn bytes(&self, token: u32) -> &[u8];

    /// The tokens with which an answer ends, in ascending order.
    fn ends(&self) -> Vec<u32>;
}

/// Begins hooks, one a generation.
pub trait TokenHooks: Send + Sync {
    /// The plugin's id, for errors and logs.
    fn id(&self) -> &str;

    /// How many of the most likely tokens a hook wants to see, at most [`HOOK_TOP_MAX`].
    fn top(&self) -> usize;

    /// Begins a hook for one choice of an answer, before the model is asked. Dropping the future at any time is safe.
    fn begin(&self, input: HookInput) -> BoxFuture<'_, Result<Box<dyn TokenHook>, PolicyError>>;
}

/// Everything that a hook is told beforehand.
#[derive(Clone)]
pub struct HookInput {
    /// The request's id, for logs.
    pub request_id: Arc<str>,
    /// The request.
    pub request: Arc<ChatRequest>,
    /// Which choice, from 0.
    pub choice: u32,
    /// Labels in force.
    pub labels: Arc<Labels>,
    /// Of the model that answers.
    pub vocabulary: Arc<dyn Vocabulary>,
}

/// Why no answer begins when the plugin of this id gives no hook.
pub fn hook_failed(id: &str, error: &PolicyError) -> BackendError {
    match error {
        PolicyError::Refused { reason } => BackendError::new(
            ErrorKind::InvalidRequest,
            format!("the adapter `{id}` refused the request: {reason}"),
        ),
        PolicyError::Overloaded => BackendError::new(
            ErrorKind::Overloaded,
            format!("the adapter `{id}` has no free instance: too many answers are being steered"),
        ),
        error => BackendError::new(
            ErrorKind::Adapter,
            format!("the adapter `{id}` failed ({}) before the answer began", error.kind()),
        ),
    }
}

/// Takes part in one generation.
pub trait TokenHook: Send {
    /// Says what holds for the next token. The first poll may be the only one: an answer that is there at once comes
    /// with it, and whatever takes longer goes on by itself, so that polls cost little. Needs no runtime where it is
    /// polled.
    fn next(self: Box<Self>, place: Place) -> NextStep;
}

/// A hook's answer, and the hook for the next token.
pub type NextStep = BoxFuture<'static, Result<(Box<dyn TokenHook>, Step), PolicyError>>;

/// Where in its answer a generation is.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The token before; `None` at the beginning.
    pub chosen: Option<u32>,
    /// The most likely next tokens with the model's raw logits, most likely first, as many as the hook wants.
    pub top: Vec<(u32, f32)>,
}

/// What a hook says about the next token.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// What it said last holds on.
    AsBefore,
    /// This holds from now on.
    Steer(Steering),
    /// The answer ends before it.
    Stop,
}

/// What holds for a token's choice. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steering {
    /// Added to these tokens' logits, each at most [`HOOK_BIAS_MAX`] up or down.
    pub biases: Vec<(u32, f32)>,
    /// Which tokens may come.
    pub mask: Mask,
}

/// Which tokens may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// All.
    #[default]
    All,
    /// These alone.
    Only(Vec<u32>),
    /// All but these.
    Never(Vec<u32>),
}
