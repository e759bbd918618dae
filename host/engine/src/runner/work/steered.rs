//! The next tokens of sequences, with and without a hook: chosen where their logits are computed, at once by logits that
//! somebody must see, or when the hook has spoken.
//!
//! A hook that takes its time parks its own sequence: the logits are kept, the scheduler plans nothing for it, and each
//! turn looks whether the answer has come.

use lockgate_api::{BackendError, ErrorKind};

use super::super::draw::{Drawn, draw};
use super::super::forward::{Fault, Forward};
use super::super::mailbox::TooSlow;
use super::super::steer::{Failed, Said};
use super::{Core, Found, Sequence};
use crate::sampler::{Choice, Logprobs, NoLogit, Rules, Scratch, logprobs};
use crate::scheduler::SequenceId;
use crate::tokenizer::Tokenizer;

impl Sequence {
    /// What its next token is chosen by where its logits are computed: unless a hook must see them, or rivals of the token
    /// are to be told.
    pub(super) fn rules(&self, logprobs: Option<usize>, tokenizer: &Tokenizer) -> Option<Rules<'_>> {
        let alone = self.steered.is_none() && logprobs.is_none_or(|count| count == 0);
        alone.then(|| self.sampler.rules(tokenizer.size(), logprobs.is_some()))
    }

    /// The token that was chosen by these rules.
    pub(super) fn chosen(
        &mut self,
        choice: Result<Choice, NoLogit>,
        tokenizer: &Tokenizer,
    ) -> Result<Found, Failed> {
        let Choice { token, log_probability } = choice.map_err(|error| Fault(error.to_string()))?;
        self.sampler.take(token);
        let alone = log_probability.map(|chosen| move || Logprobs { chosen, top: Vec::new() });
        Ok(Found::Token(draw(token, alone, tokenizer)?))
    }

    /// The token behind these logits, as far as the hook lets it be chosen now.
    pub(super) fn next(
        &mut self,
        row: &[f32],
        logprobs: Option<usize>,
        tokenizer: &Tokenizer,
        scratch: &mut Scratch,
    ) -> Result<Found, Failed> {
        let Some(logits) = row.get(..tokenizer.size()) else {
            return Err(Fault("it has fewer output rows than its tokenizer has tokens".to_owned()).into());
        };
        let chosen = self.last;
        match &mut self.steered {
            None => {}
            Some(steered) => match steered.ask(chosen, logits, scratch)? {
                Said::Choose => {}
                Said::Stop => return Ok(Found::Stop),
                Said::Later => return Ok(Found::Later),
            },
        }
        self.choose(logits, logprobs, tokenizer, scratch).map(Found::Token)
    }

    /// The same for a token that waits for its hook.
    fn look(
        &mut self,
        logprobs: Option<usize>,
        tokenizer: &Tokenizer,
        scratch: &mut Scratch,
    ) -> Result<Found, Failed> {
        let Some(steered) = &mut self.steered else { return Ok(Found::Later) };
        match steered.look()? {
            (Said::Choose, logits) => self.choose(&logits, logprobs, tokenizer, scratch).map(Found::Token),
            (Said::Stop, _) => Ok(Found::Stop),
            (Said::Later, _) => Ok(Found::Later),
        }
    }

    fn choose(
        &mut self,
        logits: &[f32],
        wanted: Option<usize>,
        tokenizer: &Tokenizer,
        scratch: &mut Scratch,
    ) -> Result<Drawn, Failed> {
        let steering = self.steered.as_ref().and_then(|steered| steered.steering());
        let Ok(token) = self.sampler.sample_steered(logits, steering, scratch) else {
            let of_hook = self.steered.as_ref().and_then(|steered| steered.no_choice());
            return Err(
                of_hook.unwrap_or_else(|| Fault("the model computed no usable logit".to_owned()).into())
            );
        };
        let found = wanted.map(|count| move || logprobs(logits, token, count, scratch));
        Ok(draw(token, found, tokenizer)?)
    }

    /// Whether its next token waits for a hook.
    pub(super) fn waits(&self) -> bool {
        self.steered.as_ref().is_some_and(|steered| steered.waits())
    }
}

impl<F: Forward> Core<F> {
    /// Takes in what hooks have said since the last turn. Whether any token still waits for one.
    pub(super) fn look_at_hooks(&mut self) -> bool {
        let mut waiting: Vec<SequenceId> =
            self.sequences.iter().filter(|(_, sequence)| sequence.waits()).map(|(&id, _)| id).collect();
        waiting.sort_unstable();
        for id in waiting {
            let Self { tokenizer, scratch, requests, sequences, .. } = self;
            // Another choice of the same request may have failed it.
            let Some(sequence) = sequences.get_mut(&id) else { continue };
            let logprobs = requests.get(&sequence.request).and_then(|request| request.logprobs);
            let found = sequence.look(logprobs, tokenizer, scratch);
            self.take(id, found);
        }
        self.sequences.values().any(Sequence::waits)
    }

    /// Goes on with a sequence as its next token says, or fails its request.
    pub(super) fn take(&mut self, id: SequenceId, found: Result<Found, Failed>) {
        let Some(sequence) = self.sequences.get(&id) else { return };
        let key = sequence.request;
        let handed_out = match found {
            Ok(Found::Token(drawn)) => self.hand_out(id, drawn),
            Ok(Found::Stop) => self.stop(id),
            Ok(Found::Later | Found::Measured) => return,
            Err(Failed::Fault(Fault(message))) => return self.fail(key, self.internal(&message)),
            Err(Failed::Hook(error)) => return self.fail(key, error),
        };
        if let Err(TooSlow) = handed_out {
            let message = "the answer was given up: too much of it waited to be read";
            self.fail(key, BackendError::new(ErrorKind::Cancelled, message).dispatched());
        }
    }
}
