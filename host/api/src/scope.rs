//! What the plugins of one request share: its labels as they accumulate, whom they may ask and have asked, and
//! what is to happen when the labels are settled, or the request ends.
//!
//! One request has one [`Scope`], which the gateway makes and every plugin's input carries. Labels are added to it
//! the moment that a plugin names them, and each ask of a plugin's own takes its [`Permit`] from
//! [`Scope::permit`], which checks and records under one lock: so no ask slips between a label and its check, and a
//! label that comes later finds every ask that it forbids ([`Scope::breach`]). Nothing here decides what a breach
//! means; the gateway refuses the request.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::Journal;
use crate::labels::{Forbidden, Label, Labels, Permit, permit};
use crate::services::Services;
use crate::target::{Locality, Target};

/// What is done once with the labels that a request ends up with.
type OnSettled = Box<dyn FnOnce(&Arc<Labels>) + Send>;

/// What the plugins of one request share.
pub struct Scope {
    number: u64,
    request_id: Arc<str>,
    services: Option<Arc<dyn Services>>,
    journal: Option<Arc<dyn Journal>>,
    state: Mutex<State>,
}

struct State {
    labels: Arc<Labels>,
    /// Whoever was asked, as the check saw it.
    asked: Vec<Target>,
    is_settled: bool,
    on_settled: Vec<OnSettled>,
    on_end: Vec<OnSettled>,
}

impl Scope {
    /// The scope of a request that bears `labels` from the start and whose plugins may ask `services`.
    pub fn new(request_id: Arc<str>, labels: Arc<Labels>, services: Option<Arc<dyn Services>>) -> Arc<Self> {
        Self::recorded(request_id, labels, services, None)
    }

    /// The same, with what its plugins are told kept in, or taken from, a journal.
    pub fn recorded(
        request_id: Arc<str>,
        labels: Arc<Labels>,
        services: Option<Arc<dyn Services>>,
        journal: Option<Arc<dyn Journal>>,
    ) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let state = State {
            labels,
            asked: Vec::new(),
            is_settled: false,
            on_settled: Vec::new(),
            on_end: Vec::new(),
        };
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { number, request_id, services, journal, state: Mutex::new(state) })
    }

    /// A scope of its own for a call that must leave no trace: the labels of now, nobody to ask, and nothing that
    /// it writes is ever settled.
    pub fn shadow(&self) -> Arc<Self> {
        Self::new(Arc::clone(&self.request_id), self.labels(), None)
    }

    /// Different for each scope of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The request's id.
    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// Whom plugins may ask; none in a shadow.
    pub fn services(&self) -> Option<&Arc<dyn Services>> {
        self.services.as_ref()
    }

    /// Where what plugins are told is kept or taken from; none in a shadow.
    pub fn journal(&self) -> Option<&Arc<dyn Journal>> {
        self.journal.as_ref()
    }

    /// Every label on the request by now.
    pub fn labels(&self) -> Arc<Labels> {
        Arc::clone(&self.lock().labels)
    }

    /// Puts labels on the request, at once and for good, and returns all of them. Ask [`Scope::breach`] then.
    pub fn add_labels(&self, more: impl IntoIterator<Item = Label>) -> Arc<Labels> {
        let mut state = self.lock();
        let all = state.labels.with(more);
        if all != *state.labels {
            state.labels = Arc::new(all);
        }
        Arc::clone(&state.labels)
    }

    /// Leave for one ask of a plugin's own, by the labels of this moment. Taken at the send. Before the labels are
    /// settled it does not allow a server nearer than a cloud to pass the text on: a label that comes later could
    /// not call it back.
    ///
    /// # Errors
    /// [`Forbidden`] names the label against it.
    pub fn permit(&self, target: &Target) -> Result<Permit, Forbidden> {
        let mut state = self.lock();
        let leave = permit(&state.labels, target)?;
        state.record(target.clone());
        let may_forward = state.is_settled || target.locality == Locality::Cloud;
        Ok(if may_forward { leave } else { leave.without_forwarding() })
    }

    /// A server that was asked has passed the text on to nobody knows where, so that it counts as a cloud.
    pub fn forwarded(&self, target: &Target) {
        self.lock().record(Target { locality: Locality::Cloud, region: None, ..target.clone() });
    }

    /// The request itself is sent to this target now: a label that comes later may forbid that, too.
    pub fn sent(&self, target: &Target) {
        self.lock().record(target.clone());
    }

    /// The first ask, or send, that a label now forbids. The request must not go on then.
    pub fn breach(&self) -> Option<Forbidden> {
        let state = self.lock();
        state.asked.iter().find_map(|target| permit(&state.labels, target).err())
    }

    /// Whether the labels are settled.
    pub fn is_settled(&self) -> bool {
        self.lock().is_settled
    }

    /// Says that no label is to come: what waits for that is done now, in its order.
    pub fn settle(&self) {
        let (labels, waiting) = {
            let mut state = self.lock();
            state.is_settled = true;
            (Arc::clone(&state.labels), std::mem::take(&mut state.on_settled))
        };
        for act in waiting {
            act(&labels);
        }
        self.end();
    }

    /// Says that the request ends, settled or not. Dropping the last of it says so, too.
    pub fn end(&self) {
        let (labels, waiting) = {
            let mut state = self.lock();
            (Arc::clone(&state.labels), std::mem::take(&mut state.on_end))
        };
        for act in waiting {
            act(&labels);
        }
    }

    /// Does something with the last labels of the request, also of one that ends before they are settled: now, where
    /// they are settled, else then. For what is only told, such as a plugin's words in the log.
    pub fn when_over(&self, act: impl FnOnce(&Arc<Labels>) + Send + 'static) {
        let labels = {
            let mut state = self.lock();
            if !state.is_settled {
                state.on_end.push(Box::new(act));
                return;
            }
            Arc::clone(&state.labels)
        };
        act(&labels);
    }

    /// Does something with the settled labels: now, where they are settled, else then; never when they never are.
    pub fn when_settled(&self, act: impl FnOnce(&Arc<Labels>) + Send + 'static) {
        let labels = {
            let mut state = self.lock();
            if !state.is_settled {
                state.on_settled.push(Box::new(act));
                return;
            }
            Arc::clone(&state.labels)
        };
        act(&labels);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is an assignment or a push; a panic between two leaves more labels or asks, never fewer.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn record(&mut self, target: Target) {
        if !self.asked.contains(&target) {
            self.asked.push(target);
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        formatter
            .debug_struct("Scope")
            .field("request_id", &self.request_id)
            .field("labels", &state.labels)
            .field("asked", &state.asked.len())
            .field("is_settled", &state.is_settled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
