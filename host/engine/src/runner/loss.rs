//! [`Loss`]: that a card is lost which the operator insists on, told to whoever owns the process. Decides nothing: what
//! ran has failed by then, and what follows is the owner's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A future of one line: which model can be computed no more, and why. Clones are told the same; the first word counts.
#[derive(Clone, Debug, Default)]
pub struct Loss(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    told: Option<String>,
    waiting: Vec<Waker>,
}

impl Loss {
    pub(super) fn tell(&self, line: String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.told.get_or_insert(line);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl PartialEq for Loss {
    /// Whether both are told the same.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Future for Loss {
    type Output = String;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.told {
            Some(line) => Poll::Ready(line.clone()),
            None => {
                if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
