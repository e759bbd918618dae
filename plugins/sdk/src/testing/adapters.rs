//! A vocabulary of plain strings, and the host's side of a generation.

use crate::Adapter;
use crate::adapting::{Candidate, Chosen, Mask, Step, Vocabulary};

/// Tokens of given texts, and behind them one that ends an answer. Text is cut into the longest ones that fit.
#[derive(Clone, Debug)]
pub struct FakeVocabulary {
    texts: Vec<Vec<u8>>,
}

impl FakeVocabulary {
    /// The 256 bytes, then these words.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        Self { texts: bytes.chain(words.into_iter().map(|word| word.as_bytes().to_vec())).collect() }
    }

    /// The token that ends an answer.
    pub fn end(&self) -> u32 {
        self.texts.len() as u32
    }
}

impl Vocabulary for FakeVocabulary {
    fn size(&self) -> u32 {
        self.end() + 1
    }
    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        let mut rest = text.as_bytes();
        let mut tokens = Vec::new();
        while !rest.is_empty() {
            let fits = (0..).zip(&self.texts).filter(|(_, text)| rest.starts_with(text));
            let (token, text) = fits.max_by_key(|(_, text)| text.len())?;
            tokens.push(token);
            rest = &rest[text.len()..];
        }
        Some(tokens)
    }
    fn texts(&self, tokens: &[u32]) -> Vec<Vec<u8>> {
        tokens.iter().map(|&token| self.texts.get(token as usize).cloned().unwrap_or_default()).collect()
    }
    fn containing(&self, bytes: &[u8]) -> Vec<u32> {
        let has_one = |text: &Vec<u8>| text.iter().any(|byte| bytes.contains(byte));
        (0..).zip(&self.texts).filter(|(_, text)| has_one(text)).map(|(token, _)| token).collect()
    }
    fn ends(&self) -> Vec<u32> {
        vec![self.end()]
    }
}

/// What came of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The answer.
    pub text: Vec<u8>,
    /// Whether it ended by itself, rather than at its limit of tokens.
    pub ended: bool,
}

/// Leads a greedy generation through an adapter's steering. `model` ranks tokens for the answer so far, the most likely
/// first; those that it leaves out come behind all others, the smaller ones first. The adapter is shown `top` of them.
///
/// # Panics
/// When the adapter leaves no token, which the host treats as its failure.
pub fn steer(
    adapter: &mut impl Adapter,
    vocabulary: &FakeVocabulary,
    top: u32,
    tokens_max: usize,
    mut model: impl FnMut(&[u8]) -> Vec<u32>,
) -> Generated {
    let mut generated = Generated::default();
    let mut chosen: Option<Chosen> = None;
    let mut mask = Mask::All;
    for _ in 0..tokens_max {
        let mut ranked = model(&generated.text);
        let rest: Vec<u32> = (0..vocabulary.size()).filter(|token| !ranked.contains(token)).collect();
        ranked.extend(rest);
        let logit = |place: usize| -(place as f32);
        let shown = ranked.iter().take(top as usize).enumerate();
        let shown: Vec<Candidate> =
            shown.map(|(place, &token)| Candidate { token, logit: logit(place) }).collect();
        let mut biases = Vec::new();
        match adapter.next(chosen.as_ref(), &shown, vocabulary) {
            Step::AsBefore => {}
            Step::Stop => return Generated { ended: true, ..generated },
            Step::Steer(steering) => (biases, mask) = (steering.biases, steering.mask),
        }
        let allowed = |token: &u32| match &mask {
            Mask::All => true,
            Mask::Only(tokens) => tokens.contains(token),
            Mask::Never(tokens) => !tokens.contains(token),
        };
        let score = |place: usize, token: u32| {
            let added = biases.iter().filter(|(biased, _)| *biased == token).map(|(_, add)| add);
            logit(place) + added.sum::<f32>()
        };
        let scored = ranked.iter().enumerate().filter(|(_, token)| allowed(token));
        let best = scored.max_by(|left, right| {
            score(left.0, *left.1).total_cmp(&score(right.0, *right.1)).then(right.0.cmp(&left.0))
        });
        let token = *best.expect("the adapter leaves at least one token").1;
        if token == vocabulary.end() {
            return Generated { ended: true, ..generated };
        }
        let text = vocabulary.texts(&[token]).concat();
        generated.text.extend(&text);
        chosen = Some(Chosen { token, text });
    }
    generated
}
