//! What a guard is told, and what it says: the interfaces `answer` and `watch` as plain Rust.

/// What a guard is told before an answer begins.
pub trait Answer {
    /// Which of the answers asked for this is, from 0.
    fn choice(&self) -> u32;
    /// The labels in force.
    fn labels(&self) -> Vec<String>;
    /// The name of the API key that asked.
    fn key(&self) -> Option<String>;
    /// The tenant that the key belongs to.
    fn tenant(&self) -> Option<String>;
    /// What this plugin's own preprocessor kept.
    fn note(&self) -> Option<Vec<u8>>;
}

/// What a chunk is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer's text.
    Text,
    /// The model's reasoning.
    Reasoning,
    /// The arguments, JSON text, of a call of this tool.
    Arguments(String),
    /// A kind that this crate does not know.
    Other(String),
}

/// What becomes of a chunk, and of what is held back of its run before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it goes on.
    Pass,
    /// This goes on in its place.
    Replace(String),
    /// The last so many bytes of it stay held back, at most 65536; what is before them goes on. Not in
    /// answer to `end_run` and `finish`.
    Hold(u32),
    /// Nothing of it goes on, and the choice ends here. The reason is for the operator's log; at most 4096
    /// bytes.
    Stop(String),
}
