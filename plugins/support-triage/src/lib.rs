//! SmolLM2 as a clerk for customers' messages: sorts them into six categories, or takes out who wrote, of which day and
//! amount.
//!
//! The weights, trained by `train.py`, know two prompts. Behind each of them the answer has one form (`form`), and no
//! token may come that leaves it: a class is one of the six, facts are JSON of three keys, whose sender is copied from
//! the message. Behind any other prompt the model answers as it likes.

pub mod form;
pub mod names;

use lockgate_plugin::{
    Adaptation, Adapter, Candidate, Chosen, Message as _, Refusal, Request, Role, Settings, Step, Vocabulary,
};

use crate::form::{Form, Message, State};
use crate::names::Continuations;

/// The system message that asks for a category. The words of `generate.py`, letter by letter.
pub const CLASSIFY: &str =
    "Classify the message: billing, delivery, returns, account access, technical fault, cancellation.";
/// The system message that asks for facts.
pub const EXTRACT: &str = "Extract as JSON: sender, date (YYYY-MM-DD), amount.";

/// How many of the most likely tokens are looked at. The model's own choice is nearly always among the first.
const TOP: u32 = 64;
/// Tokens whose texts the host gives at once.
const TEXTS_MAX: usize = 4096;
/// Bytes of a system message that are read: more than either prompt has.
const SYSTEM_BYTES_MAX: u32 = 512;

/// Bytes of a message that senders are looked for in.
const MESSAGE_BYTES_MAX: u32 = 64 << 10;

/// Steers one answer.
pub struct SupportTriage {
    /// None where the prompt is neither of the two.
    form: Option<Form>,
    message: Message,
    answer: Vec<u8>,
}

impl Adapter for SupportTriage {
    fn describe(_: &impl Settings) -> Adaptation {
        Adaptation::of("smollm2")
            .weights_beside("support-triage")
            .temperature(0.0)
            .max_tokens(64)
            .steering(TOP)
    }

    fn steer(
        request: &impl Request,
        _: u32,
        _: &impl Vocabulary,
        _: &impl Settings,
    ) -> Result<Self, Refusal> {
        let system = request.message(0).filter(|message| message.role() == Role::System);
        let form = match system.map(|message| message.text(SYSTEM_BYTES_MAX)).as_deref() {
            Some(CLASSIFY) => Some(Form::Class),
            Some(EXTRACT) => Some(Form::Facts),
            _ => None,
        };
        let messages = (1..).map_while(|place| request.message(place));
        let message = messages.filter(|message| message.role() == Role::User).last();
        let message = message.map_or(String::new(), |message| message.text(MESSAGE_BYTES_MAX));
        Ok(Self { form, message: Message::new(&message), answer: Vec::new() })
    }

    fn next(&mut self, chosen: Option<&Chosen>, top: &[Candidate], vocabulary: &impl Vocabulary) -> Step {
        let Some(form) = self.form else { return Step::AsBefore };
        self.answer.extend(chosen.into_iter().flat_map(|chosen| &chosen.text));
        if form.read(&self.answer) == State::Whole {
            return Step::only(vocabulary.ends());
        }
        let likely: Vec<u32> = top.iter().map(|candidate| candidate.token).collect();
        let names = (form == Form::Facts).then(|| Continuations::of(&self.answer, &self.message));
        // A message may have no name that could be copied.
        let copying = names.filter(|names| !names.is_none()).map(|names| Rule { form, names: Some(names) });
        let rules = copying.into_iter().chain([Rule { form, names: None }]);
        let tokens = rules.map(|rule| {
            let rule = &rule;
            let fitting = self.fitting(rule, &likely, vocabulary);
            if fitting.is_empty() { self.any_fitting(rule, vocabulary) } else { fitting }
        });
        Step::only(tokens.into_iter().find(|tokens| !tokens.is_empty()).unwrap_or_default())
    }
}

/// What an answer must keep to.
struct Rule<'a> {
    form: Form,
    /// Whose beginnings the sender's name must have.
    names: Option<Continuations<'a>>,
}

impl Rule<'_> {
    fn allows(&self, answer: &[u8]) -> bool {
        self.form.read(answer) != State::Wrong && self.names.as_ref().is_none_or(|names| names.have(answer))
    }
}

impl SupportTriage {
    /// Those of the tokens that go on by the rule.
    fn fitting(&self, rule: &Rule<'_>, tokens: &[u32], vocabulary: &impl Vocabulary) -> Vec<u32> {
        let texts = vocabulary.texts(tokens);
        let mut answer = self.answer.clone();
        let mut fits = |text: &[u8]| {
            answer.truncate(self.answer.len());
            answer.extend_from_slice(text);
            !text.is_empty() && rule.allows(&answer)
        };
        tokens.iter().zip(&texts).filter(|(_, text)| fits(text)).map(|(&token, _)| token).collect()
    }

    /// Where none of the likely tokens fits: the first few of all that do.
    fn any_fitting(&self, rule: &Rule<'_>, vocabulary: &impl Vocabulary) -> Vec<u32> {
        let fits = |byte: &u8| {
            let longer: Vec<u8> = self.answer.iter().chain([byte]).copied().collect();
            rule.allows(&longer)
        };
        let bytes: Vec<u8> = (0..=u8::MAX).filter(fits).collect();
        let tokens = vocabulary.containing(&bytes);
        let mut some = tokens.chunks(TEXTS_MAX).map(|chunk| self.fitting(rule, chunk, vocabulary));
        some.find(|fitting| !fitting.is_empty()).unwrap_or_default()
    }
}

lockgate_plugin::export_adapter!(SupportTriage);

#[cfg(test)]
mod tests;
