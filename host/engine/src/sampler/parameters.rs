//! A request's sampling parameters with every default filled in and every range checked.

use lockgate_api::Sampling;
use thiserror::Error;

/// A parameter that makes no sense for this model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct InvalidParameter {
    /// The field's name in OpenAI's API.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Sampling parameters, complete and in range.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Keep the k most likely tokens; the vocabulary's size or more keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens whose probabilities sum to this; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one.
    pub min_p: f32,
    /// Divides (positive) or multiplies (negative) the logits of tokens of prompt and answer; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted once from the logit of a token generated before.
    pub presence_penalty: f32,
    /// Subtracted for each time that a token was generated.
    pub frequency_penalty: f32,
    /// Added to these tokens' logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Where the random numbers come from.
    pub seed: u64,
}

struct Range {
    low: f32,
    high: f32,
    words: &'static str,
}

const TEMPERATURE: Range = Range { low: 0.0, high: 2.0, words: "between 0 and 2" };
const SHARE: Range = Range { low: 0.0, high: 1.0, words: "between 0 and 1" };
const SHARE_ABOVE_0: Range = Range { low: f32::MIN_POSITIVE, high: 1.0, words: "above 0 and at most 1" };
const FACTOR: Range = Range { low: f32::MIN_POSITIVE, high: f32::MAX, words: "a finite number above 0" };
const PENALTY: Range = Range { low: -2.0, high: 2.0, words: "between -2 and 2" };

impl Parameters {
    /// Those that take the most likely token of a vocabulary, by its raw logits.
    #[must_use]
    pub fn likeliest(vocabulary: usize) -> Self {
        Self {
            temperature: 0.0,
            top_k: vocabulary,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }

    /// Completes a request's parameters: what it leaves open comes from `defaults` (the model's own
    /// recommendation), and what that leaves open is OpenAI's default: temperature 1, everything else off.
    /// `seed` is for requests without one.
    ///
    /// # Errors
    /// [`InvalidParameter`] for a value outside the range that [`Sampling`] documents, or a bias for a token
    /// that the vocabulary of `vocabulary` tokens lacks.
    pub fn resolve(
        request: &Sampling,
        defaults: &Sampling,
        vocabulary: usize,
        seed: u64,
    ) -> Result<Self, InvalidParameter> {
        let number = |field, wanted: Option<f32>, default: Option<f32>, off: f32, range: Range| {
            let value = wanted.or(default).unwrap_or(off);
            if (range.low..=range.high).contains(&value) {
                return Ok(value);
            }
            Err(InvalidParameter { field, problem: format!("{value} is not {}", range.words) })
        };
        let top_k = match request.top_k.or(defaults.top_k) {
            None | Some(0) => vocabulary,
            Some(count) => (count as usize).min(vocabulary),
        };
        for &(token, bias) in &request.logit_bias {
            let problem = if token as usize >= vocabulary {
                format!("token {token} is not in the vocabulary, which has {vocabulary} tokens")
            } else if !(-100.0..=100.0).contains(&bias) {
                format!("{bias} for token {token} is not between -100 and 100")
            } else {
                continue;
            };
            return Err(InvalidParameter { field: "logit_bias", problem });
        }
        let (asked, own) = (request, defaults);
        Ok(Self {
            temperature: number("temperature", asked.temperature, own.temperature, 1.0, TEMPERATURE)?,
            top_k,
            top_p: number("top_p", asked.top_p, own.top_p, 1.0, SHARE_ABOVE_0)?,
            min_p: number("min_p", asked.min_p, own.min_p, 0.0, SHARE)?,
            repetition_penalty: number(
                "repetition_penalty",
                asked.repetition_penalty,
                own.repetition_penalty,
                1.0,
                FACTOR,
            )?,
            presence_penalty: number(
                "presence_penalty",
                asked.presence_penalty,
                own.presence_penalty,
                0.0,
                PENALTY,
            )?,
            frequency_penalty: number(
                "frequency_penalty",
                asked.frequency_penalty,
                own.frequency_penalty,
                0.0,
                PENALTY,
            )?,
            logit_bias: request.logit_bias.clone(),
            seed: request.seed.unwrap_or(seed),
        })
    }

    /// Whether any penalty is on, so that what was seen must be remembered.
    pub(crate) fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}
