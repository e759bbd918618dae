//! The vocabulary of the interface `types`, as plain Rust.

/// Where the bytes that a target receives end up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locality {
    /// This machine.
    Local,
    /// A machine of the operator's own on a private network.
    Lan,
    /// Anywhere else.
    Cloud,
    /// A place that this crate does not know: farther than a cloud.
    Other(String),
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions from the application.
    System,
    /// Instructions from the application, as newer APIs name them.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool, answering a call of the model's.
    Tool,
    /// A role that this crate does not know.
    Other(String),
}

/// Something that a request needs from its target beyond plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Calling tools.
    Tools,
    /// Reading images.
    Images,
    /// An answer in JSON.
    Json,
    /// Log-probabilities of the tokens.
    Logprobs,
    /// Several independent answers.
    Choices,
    /// A need that this crate does not know, by its name in the client's API.
    Other(String),
}

/// What a target costs, in USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

/// A target's circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaker {
    /// Requests flow.
    #[default]
    Closed,
    /// One request at a time is let through.
    HalfOpen,
    /// None is sent.
    Open,
}
