//! What a review is told, and what it says: the interfaces `outcome` and `review` as plain Rust.

/// One target's whole answer, read through the host. Choices count from 0.
pub trait Outcome {
    /// The id of the target that answered.
    fn target(&self) -> String;
    /// The number of its attempt in the plan, from 0.
    fn attempt(&self) -> u32;
    /// Attempts that could still be made.
    fn attempts_left(&self) -> u32;
    /// How many choices there are.
    fn choices(&self) -> u32;
    /// Why a choice ended.
    fn finish(&self, choice: u32) -> Option<Finish>;
    /// The bytes of a choice's text.
    fn length(&self, choice: u32) -> u64;
    /// The start of a choice's text, at most `limit` bytes.
    fn text(&self, choice: u32, limit: u32) -> String;
    /// The tools that a choice calls.
    fn tools(&self, choice: u32) -> Vec<String>;
    /// The start of a call's arguments, at most `limit` bytes.
    fn arguments(&self, choice: u32, call: u32, limit: u32) -> String;
    /// Tokens generated.
    fn answer_tokens(&self) -> Option<u64>;
    /// The mean of the logarithms of the tokens' probabilities.
    fn mean_log_probability(&self) -> Option<f64>;
    /// The lowest of them.
    fn lowest_log_probability(&self) -> Option<f64>;
    /// Milliseconds that it took.
    fn elapsed_ms(&self) -> u64;
}

/// Why a choice ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Stop,
    /// The limit of tokens, or the context, was reached.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// The target withheld the rest.
    ContentFilter,
    /// A reason that this crate does not know.
    Other(String),
}

/// What becomes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    /// The client gets it.
    Accept,
    /// The plan's next attempt is made. The reason is for the operator's log; at most 4096 bytes.
    Next(String),
}
