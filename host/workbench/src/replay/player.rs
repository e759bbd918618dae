//! The recorded answers to what a policy asks beyond the facts, played back by what was asked.
//!
//! The policy that made the log asks the same in the same order and is told the same. Another one may ask something
//! else: state that it finds is then what it wrote itself while the log was replayed, and a model that it asks does not
//! answer.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lockgate_api::{HostCall, Journal};
use lockgate_gateway::record::Told;
use lockgate_sandbox::Environment;
use serde_json::Value;

/// The answers of one request.
pub(super) struct Player {
    answers: Mutex<HashMap<String, VecDeque<Value>>>,
    unanswered: AtomicU64,
}

impl Player {
    pub(super) fn new(told: &[Told]) -> Self {
        let mut answers: HashMap<String, VecDeque<Value>> = HashMap::new();
        for Told { call, answer } in told {
            answers.entry(name(call)).or_default().push_back(answer.clone());
        }
        Self { answers: Mutex::new(answers), unanswered: AtomicU64::new(0) }
    }

    /// Asks of models that the log has no answer to.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }
}

fn name(call: &HostCall) -> String {
    format!("{} {}", call.function, call.arguments)
}

impl Journal for Player {
    fn recall(&self, _: &str, call: &HostCall) -> Option<Value> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.get_mut(&name(call)).and_then(VecDeque::pop_front);
        let asks_somebody = ["inference.", "cloud."].iter().any(|door| call.function.starts_with(door));
        if answer.is_none() && asks_somebody {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn note(&self, _: &str, _: HostCall, _: Value) {}
}

/// The time of the request at hand, for what the log does not tell.
#[derive(Debug, Default)]
pub(crate) struct Moment(AtomicU64);

impl Moment {
    pub(super) fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }
}

impl Environment for Moment {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        self.now_ms()
    }

    /// The same bytes for the same moment.
    fn random(&self, bytes: &mut [u8]) -> Result<(), String> {
        let mut state = self.now_ms();
        for chunk in bytes.chunks_mut(8) {
            let number = crate::world::next(&mut state).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        Ok(())
    }
}
