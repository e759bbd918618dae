//! A hook's part in one sequence: it is asked before each token is chosen, and what it said holds until it says
//! something else. Owns the hook, and the logits of a token that waits for it. Does not choose (`draw`).

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use lockgate_api::{
    BackendError, ErrorKind, HOOK_TOP_MAX, Mask, NextStep, Place, PolicyError, Steering, Step, TokenHook,
};

use super::forward::Fault;
use crate::sampler::{Scratch, most_likely};

/// A hook and what it said.
pub(crate) struct Steered {
    id: Arc<str>,
    /// How many of the most likely tokens it wants to see.
    top: usize,
    state: State,
    steering: Option<Steering>,
}

enum State {
    Free(Box<dyn TokenHook>),
    Asked {
        next: NextStep,
        /// Of the token that waits.
        logits: Vec<f32>,
    },
    /// It failed, or it is being asked.
    Gone,
}

/// What a hook said about the next token.
#[derive(Debug)]
pub(super) enum Said {
    /// It may be chosen.
    Choose,
    /// There is none.
    Stop,
    /// Nothing yet.
    Later,
}

/// Why a sequence has no next token.
#[derive(Debug)]
pub(super) enum Failed {
    /// The model's doing.
    Fault(Fault),
    /// The hook's.
    Hook(BackendError),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Steered {
    pub(crate) fn new(id: Arc<str>, top: usize, hook: Box<dyn TokenHook>) -> Self {
        Self { id, top: top.min(HOOK_TOP_MAX), state: State::Free(hook), steering: None }
    }

    /// What holds for the next token, once the hook has said so.
    pub(super) fn steering(&self) -> Option<&Steering> {
        self.steering.as_ref()
    }

    /// Whether a token waits for the hook.
    pub(super) fn waits(&self) -> bool {
        matches!(self.state, State::Asked { .. })
    }

    /// Asks about the token that these logits are for, behind `chosen`. The logits are kept if the answer takes time.
    pub(super) fn ask(
        &mut self,
        chosen: Option<u32>,
        logits: &[f32],
        scratch: &mut Scratch,
    ) -> Result<Said, Failed> {
        let State::Free(hook) = std::mem::replace(&mut self.state, State::Gone) else {
            let message = "it was asked while it had not answered".to_owned();
            return Err(self.failed(&PolicyError::Host { message }));
        };
        let top = if self.top == 0 { Vec::new() } else { most_likely(logits, self.top, scratch) };
        let mut next = hook.next(Place { chosen, top });
        match poll(&mut next) {
            Poll::Ready(answer) => self.take(answer),
            Poll::Pending => {
                self.state = State::Asked { next, logits: logits.to_vec() };
                Ok(Said::Later)
            }
        }
    }

    /// Looks whether the answer has come, and gives the logits back with it.
    pub(super) fn look(&mut self) -> Result<(Said, Vec<f32>), Failed> {
        let State::Asked { next, logits } = &mut self.state else { return Ok((Said::Later, Vec::new())) };
        let Poll::Ready(answer) = poll(next) else { return Ok((Said::Later, Vec::new())) };
        let logits = std::mem::take(logits);
        self.state = State::Gone;
        Ok((self.take(answer)?, logits))
    }

    fn take(&mut self, answer: Result<(Box<dyn TokenHook>, Step), PolicyError>) -> Result<Said, Failed> {
        let (hook, step) = answer.map_err(|error| self.failed(&error))?;
        self.state = State::Free(hook);
        match step {
            Step::AsBefore => {}
            Step::Steer(steering) => self.steering = Some(steering),
            Step::Stop => return Ok(Said::Stop),
        }
        Ok(Said::Choose)
    }

    /// No token has a chance within what the hook said. The model's own fault where it left none either.
    pub(super) fn no_choice(&self) -> Option<Failed> {
        let masks = self.steering.as_ref().is_some_and(|steering| steering.mask != Mask::All);
        let problem = "it leaves no token that the model could choose".to_owned();
        masks.then(|| self.failed(&PolicyError::InvalidAnswer { problem }))
    }

    /// The hook's own words are the operator's: they may quote the conversation.
    fn failed(&self, error: &PolicyError) -> Failed {
        let (id, kind) = (&self.id, error.kind());
        tracing::debug!(adapter = %id, kind, "an adapter's component failed");
        let message = format!("the adapter `{id}` failed ({kind}), and no answer goes on without it");
        Failed::Hook(BackendError::new(ErrorKind::Adapter, message).dispatched())
    }
}

/// Whoever is asked goes on by itself, so that nobody need wake the model's thread: it looks again at its next turn.
fn poll(next: &mut NextStep) -> Poll<<NextStep as Future>::Output> {
    next.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

impl fmt::Debug for Steered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Steered");
        shown.field("id", &self.id).field("waits", &self.waits()).finish_non_exhaustive()
    }
}
