//! What an adapter is and says: the interfaces `adaptation`, `vocabulary` and `adapt` as plain Rust.

/// What an adapter makes of its base model. Built from the base's id, part by part; what is left out stays the model's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adaptation {
    /// Ids of the models that it may be attached to.
    pub bases: Vec<String>,
    /// Its weights.
    pub weights: Option<Weights>,
    /// Multiplies what the weights' file says of their scale.
    pub scale: Option<f32>,
    /// A chat template, in Jinja.
    pub template: Option<String>,
    /// A system message for conversations that do not begin with one.
    pub system: Option<String>,
    /// Stop strings.
    pub stops: Vec<String>,
    /// Sampling where the client says nothing.
    pub temperature: Option<f32>,
    /// Keeps the k most likely tokens.
    pub top_k: Option<u32>,
    /// Keeps the smallest set of tokens of this probability.
    pub top_p: Option<f32>,
    /// Drops tokens less likely than this share of the most likely one.
    pub min_p: Option<f32>,
    /// Weakens tokens seen before.
    pub repetition_penalty: Option<f32>,
    /// The most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// Whether each token is steered, and how many of the most likely ones are shown then.
    pub steering: Option<u32>,
}

/// Where weights are. They stay with the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// A file or folder beside the component's own file.
    Beside(String),
    /// Those of an `[[adapter]]` of the same model, by its id.
    Of(String),
}

impl Adaptation {
    /// Of the model with this id; more may follow in [`Self::bases`].
    pub fn of(base: impl Into<String>) -> Self {
        Self { bases: vec![base.into()], ..Self::default() }
    }

    /// The same with weights from a file or folder beside the component.
    #[must_use]
    pub fn weights_beside(self, name: impl Into<String>) -> Self {
        Self { weights: Some(Weights::Beside(name.into())), ..self }
    }

    /// The same with the weights of a configured adapter.
    #[must_use]
    pub fn weights_of(self, adapter: impl Into<String>) -> Self {
        Self { weights: Some(Weights::Of(adapter.into())), ..self }
    }

    /// The same with a system message.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        Self { system: Some(text.into()), ..self }
    }

    /// The same with one more stop string.
    #[must_use]
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.stops.push(text.into());
        self
    }

    /// The same with this temperature where the client gives none.
    #[must_use]
    pub fn temperature(self, temperature: f32) -> Self {
        Self { temperature: Some(temperature), ..self }
    }

    /// The same with answers of at most so many tokens where the client gives no limit.
    #[must_use]
    pub fn max_tokens(self, count: u32) -> Self {
        Self { max_tokens: Some(count), ..self }
    }

    /// The same with every token steered, and so many of the most likely ones shown, at most 256.
    #[must_use]
    pub fn steering(self, top: u32) -> Self {
        Self { steering: Some(top), ..self }
    }
}

/// The tokens of the model that an adapter is attached to.
pub trait Vocabulary {
    /// How many there are; ids are below it.
    fn size(&self) -> u32;
    /// The tokens of a text of at most 4096 bytes; none when it cannot be written.
    fn tokens(&self, text: &str) -> Option<Vec<u32>>;
    /// What each of these tokens, at most 4096, adds to an answer.
    fn texts(&self, tokens: &[u32]) -> Vec<Vec<u8>>;
    /// Every token with at least one of these bytes, in ascending order.
    fn containing(&self, bytes: &[u8]) -> Vec<u32>;
    /// The tokens with which an answer ends, in ascending order.
    fn ends(&self) -> Vec<u32>;
}

/// The token that an answer went on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// What it adds to the answer; it may begin or end inside a character.
    pub text: Vec<u8>,
}

/// A token that the model thinks likely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Its logit, as the model computed it.
    pub logit: f32,
}

/// What becomes of the next token.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is chosen within what was said last.
    AsBefore,
    /// It is chosen within this.
    Steer(Steering),
    /// The answer ends before it.
    Stop,
}

/// What holds for the next token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steering {
    /// Added to these tokens' logits, -100 to 100.
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
    /// These alone. The answer ends only with one of [`Vocabulary::ends`] among them.
    Only(Vec<u32>),
    /// All but these.
    Never(Vec<u32>),
}

impl Step {
    /// One of these tokens.
    pub fn only(tokens: impl Into<Vec<u32>>) -> Self {
        Self::Steer(Steering { biases: Vec::new(), mask: Mask::Only(tokens.into()) })
    }

    /// None of these tokens.
    pub fn never(tokens: impl Into<Vec<u32>>) -> Self {
        Self::Steer(Steering { biases: Vec::new(), mask: Mask::Never(tokens.into()) })
    }
}
