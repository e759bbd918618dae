//! Why a chat template could not be compiled or rendered.

/// Failures of compiling or rendering a [`ChatTemplate`](super::ChatTemplate).
///
/// [`TemplateError::is_request`] tells those that a request causes from those that its model does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The source is not a template.
    #[error("chat template: line {line}: {reason}")]
    Syntax {
        /// The line, from 1; 0 where it is not known.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The source is larger than any chat template.
    #[error("chat template: {bytes} bytes, more than the {bytes_max} allowed")]
    SourceTooLong {
        /// The source's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The template itself refused the conversation (`raise_exception`).
    #[error("the model's chat template refuses this conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// The template could not work with the values that it was given.
    #[error("chat template: line {line}: {reason}")]
    Failed {
        /// The line, from 1; 0 where it is not known.
        line: usize,
        /// What went wrong.
        reason: String,
    },
    /// The template did more work than any conversation of this size needs.
    #[error("chat template: stopped after {steps} steps; it loops, or the conversation is too large for it")]
    OutOfSteps {
        /// The limit.
        steps: u64,
    },
    /// The template wrote more than any conversation of this size needs.
    #[error("chat template: stopped after writing {bytes_max} bytes")]
    OutputTooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// A variable has a value of the wrong type or form.
    #[error("template variable `{name}`: {problem}")]
    InvalidVariable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be proved which control tokens are the template's own and which were written by a
    /// user, because the template looks for their text inside messages.
    #[error(
        "the conversation contains {token:?}, a control token of this model, where its chat template looks for it; \
         remove it from the messages"
    )]
    AmbiguousControl {
        /// The control token's text.
        token: String,
    },
    /// The machine has no room for another renderer.
    #[error("chat template: cannot start a renderer: {reason}")]
    NoRenderer {
        /// The system's words.
        reason: String,
    },
}

impl TemplateError {
    /// Whether the conversation is at fault, not the model file or this machine: a client's error.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Failed { .. }
            | Self::OutOfSteps { .. }
            | Self::OutputTooLong { .. }
            | Self::InvalidVariable { .. }
            | Self::AmbiguousControl { .. } => true,
            Self::Syntax { .. } | Self::SourceTooLong { .. } | Self::NoRenderer { .. } => false,
        }
    }
}
