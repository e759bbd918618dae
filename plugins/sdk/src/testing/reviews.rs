//! An answer of plain fields, for native tests of a review.

use crate::reviewing::{Finish, Outcome};

/// An answer of plain fields. What is not set is empty.
#[derive(Clone, Debug, Default)]
pub struct FakeOutcome {
    /// Who answered.
    pub target: String,
    /// The attempt's number.
    pub attempt: u32,
    /// Attempts that could still be made.
    pub attempts_left: u32,
    /// By choice.
    pub choices: Vec<FakeChoice>,
    /// Tokens generated.
    pub answer_tokens: Option<u64>,
    /// The mean of the logarithms of the tokens' probabilities.
    pub mean_log_probability: Option<f64>,
    /// The lowest of them.
    pub lowest_log_probability: Option<f64>,
    /// Milliseconds that it took.
    pub elapsed_ms: u64,
}

/// One choice of plain fields.
#[derive(Clone, Debug, Default)]
pub struct FakeChoice {
    /// Its text.
    pub text: String,
    /// Name and arguments of its tool calls.
    pub calls: Vec<(String, String)>,
    /// Why it ended.
    pub finish: Option<Finish>,
}

impl FakeOutcome {
    /// One finished choice of this text, of the first of two attempts.
    pub fn text(text: impl Into<String>) -> Self {
        let choice = FakeChoice { text: text.into(), calls: Vec::new(), finish: Some(Finish::Stop) };
        Self { target: "first".to_owned(), attempts_left: 1, choices: vec![choice], ..Self::default() }
    }

    /// The same answer, as sure as this: the mean of the logarithms of its tokens' probabilities.
    #[must_use]
    pub fn likely(mut self, mean_log_probability: f64) -> Self {
        self.mean_log_probability = Some(mean_log_probability);
        self
    }

    fn choice(&self, choice: u32) -> Option<&FakeChoice> {
        self.choices.get(choice as usize)
    }
}

fn start_of(text: &str, limit: u32) -> String {
    text[..text.floor_char_boundary(limit as usize)].to_owned()
}

impl Outcome for FakeOutcome {
    fn target(&self) -> String {
        self.target.clone()
    }
    fn attempt(&self) -> u32 {
        self.attempt
    }
    fn attempts_left(&self) -> u32 {
        self.attempts_left
    }
    fn choices(&self) -> u32 {
        u32::try_from(self.choices.len()).unwrap_or(u32::MAX)
    }
    fn finish(&self, choice: u32) -> Option<Finish> {
        self.choice(choice)?.finish.clone()
    }
    fn length(&self, choice: u32) -> u64 {
        self.choice(choice).map_or(0, |choice| choice.text.len() as u64)
    }
    fn text(&self, choice: u32, limit: u32) -> String {
        self.choice(choice).map_or_else(String::new, |choice| start_of(&choice.text, limit))
    }
    fn tools(&self, choice: u32) -> Vec<String> {
        let calls = self.choice(choice).map_or(&[][..], |choice| &choice.calls);
        calls.iter().map(|(name, _)| name.clone()).collect()
    }
    fn arguments(&self, choice: u32, call: u32, limit: u32) -> String {
        let call = self.choice(choice).and_then(|choice| choice.calls.get(call as usize));
        call.map_or_else(String::new, |(_, arguments)| start_of(arguments, limit))
    }
    fn answer_tokens(&self) -> Option<u64> {
        self.answer_tokens
    }
    fn mean_log_probability(&self) -> Option<f64> {
        self.mean_log_probability
    }
    fn lowest_log_probability(&self) -> Option<f64> {
        self.lowest_log_probability
    }
    fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms
    }
}
