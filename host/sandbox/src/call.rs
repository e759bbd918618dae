//! One call of a plugin: the facts that it may read, what it has made so far, what it has used.
//!
//! This is the data of a wasmtime store. It lives as long as the instance, which is one call of a router or
//! preprocessor and one answer's choice for a guard or adapter, and nothing of it outlives it. Where an instance is kept
//! for further calls (`warm`), it is made anew for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{
    ChatRequest, HookInput, KeyFacts, Label, Labels, PolicyError, PrepareInput, ReviewInput, Reviewed,
    RouteInput, Scope, TargetFacts, Vocabulary, WatchInput,
};
use tokio::time::Instant;
use wasmtime::component::Resource;

use crate::budget::Budget;
use crate::contract::{
    AdaptationDraft, AnswerHandle, Draft, DraftHandle, Generation, OutcomeHandle, Prompt, Refused,
    RequestHandle,
};
use crate::environment::Environment;
use crate::limits::Meter;
use crate::metrics::{Ended, WELL};
use crate::own_time::OwnTime;
use crate::powers::Powers;
use crate::slots::Slots;
use crate::state::Memory;
use crate::stop::Stop;
use crate::text::TextIndex;

/// Bytes of one log line that are kept.
const LOG_LINE_BYTES_MAX: usize = 4096;
/// Bytes of a guest's standard error that are kept: a panic message and a bit more.
const STANDARD_ERROR_BYTES_MAX: usize = 4096;
/// Calls of WASI's functions. Toolchains make a few dozen on their own, most of them while panicking.
const WASI_CALLS_MAX: u64 = 1_000;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What a call is told, whatever the plugin's world. What a world does not have is empty.
pub(crate) struct Facts {
    pub(crate) request_id: Arc<str>,
    pub(crate) labels: Arc<Labels>,
    pub(crate) key: Option<KeyFacts>,
    /// None for a guard.
    request: Option<Arc<ChatRequest>>,
    /// For a router.
    pub(crate) catalog: Arc<[TargetFacts]>,
    /// For a review.
    pub(crate) answer: Option<Arc<Reviewed>>,
    /// For a guard.
    pub(crate) choice: u32,
    /// For a guard.
    pub(crate) note: Option<Arc<[u8]>>,
    /// For an adapter, once it is attached to a model.
    pub(crate) vocabulary: Option<Arc<dyn Vocabulary>>,
    pub(crate) scope: Arc<Scope>,
}

impl Facts {
    /// What every call is told.
    fn of(request_id: Arc<str>, labels: Arc<Labels>, key: Option<KeyFacts>, scope: Arc<Scope>) -> Self {
        Self {
            request_id,
            labels,
            key,
            request: None,
            catalog: Arc::default(),
            answer: None,
            choice: 0,
            note: None,
            vocabulary: None,
            scope,
        }
    }

    pub(crate) fn of_route(input: RouteInput) -> Self {
        let RouteInput { request_id, request, labels, catalog, key, scope } = input;
        Self { request: Some(request), catalog, ..Self::of(request_id, labels, key, scope) }
    }

    pub(crate) fn of_review(input: ReviewInput) -> Self {
        let ReviewInput { request_id, request, labels, catalog, key, answer, scope } = input;
        let (request, answer) = (Some(request), Some(answer));
        Self { request, catalog, answer, ..Self::of(request_id, labels, key, scope) }
    }

    pub(crate) fn of_prepare(input: PrepareInput) -> Self {
        let PrepareInput { request_id, request, labels, key, scope } = input;
        Self { request: Some(request), ..Self::of(request_id, labels, key, scope) }
    }

    pub(crate) fn of_watch(input: WatchInput) -> Self {
        let WatchInput { request_id, choice, labels, key, note, scope } = input;
        Self { choice, note, ..Self::of(request_id, labels, key, scope) }
    }

    pub(crate) fn of_adapt(input: HookInput) -> Self {
        let HookInput { request_id, request, choice, labels, vocabulary } = input;
        // It asks nobody and remembers nothing, so it shares nothing with the request's other plugins.
        let scope = Scope::new(Arc::clone(&request_id), Arc::clone(&labels), None);
        let (request, vocabulary) = (Some(request), Some(vocabulary));
        Self { request, choice, vocabulary, ..Self::of(request_id, labels, None, scope) }
    }

    /// For an adapter that is asked what it is, before there is any request.
    pub(crate) fn of_description() -> Self {
        let (request_id, labels): (Arc<str>, Arc<Labels>) = ("none".into(), Arc::default());
        let scope = Scope::new(Arc::clone(&request_id), Arc::clone(&labels), None);
        Self::of(request_id, labels, None, scope)
    }
}

/// What a preprocessor has made of its draft beside changing the text.
#[derive(Debug, Default)]
pub(crate) struct Preparation {
    pub(crate) labels: Vec<Label>,
    pub(crate) note: Option<Vec<u8>>,
    /// The first thing wrong with it.
    pub(crate) problem: Option<String>,
}

/// The data of one call, or of the calls that one guard's instance gets.
pub(crate) struct Call {
    facts: Facts,
    powers: Arc<Powers>,
    text: Option<TextIndex>,
    /// Whether the request has changed since the index was made. The pieces stay what they are, their
    /// lengths do not.
    text_is_stale: bool,
    pub(crate) preparation: Preparation,
    pub(crate) drafts: Slots<Draft>,
    pub(crate) adaptations: Slots<AdaptationDraft>,
    pub(crate) refusals: Slots<Refused>,
    pub(crate) prompts: Slots<Prompt>,
    pub(crate) generations: Slots<Generation>,
    /// Handles of messages that the guest holds.
    pub(crate) messages_held: usize,
    pub(crate) budget: Budget,
    pub(crate) meter: Meter,
    /// What this call remembers and writes down, once it has begun to.
    memory: Option<Memory>,
    began: Instant,
    /// Of the time since, spent waiting for others.
    waited: Duration,
    own_time: OwnTime,
    host_calls: u64,
    wasi_calls: u64,
    output_bytes: usize,
    input_bytes: usize,
    log: Vec<(LogLevel, String)>,
    log_lines: usize,
    log_bytes: usize,
    log_lines_dropped: usize,
    is_drop_told: bool,
    standard_error: Vec<u8>,
    random: u64,
    /// Instructions that it was given to run.
    pub(crate) instructions_given: u64,
    /// Whether it repeats a recorded call whose time was up: then it ends so again.
    pub(crate) repeats_timeout: bool,
}

impl Call {
    pub(crate) fn new(facts: Facts, powers: Arc<Powers>, own_time: OwnTime) -> Self {
        // They are the same, unless somebody made the two apart.
        facts.scope.add_labels(facts.labels.iter().cloned());
        Self {
            text: None,
            text_is_stale: false,
            preparation: Preparation::default(),
            drafts: Slots::default(),
            adaptations: Slots::default(),
            refusals: Slots::default(),
            prompts: Slots::default(),
            generations: Slots::default(),
            messages_held: 0,
            budget: Budget::new(&powers.limits),
            meter: Meter::new(&powers.limits),
            memory: None,
            began: Instant::now(),
            waited: Duration::ZERO,
            own_time,
            host_calls: 0,
            wasi_calls: 0,
            output_bytes: 0,
            input_bytes: 0,
            log: Vec::new(),
            log_lines: 0,
            log_bytes: 0,
            log_lines_dropped: 0,
            is_drop_told: false,
            standard_error: Vec::new(),
            random: seed(&facts.request_id),
            instructions_given: 0,
            repeats_timeout: false,
            facts,
            powers,
        }
    }

    /// Begins the next call into the same instance: what it may use a call is whole again. Memory is not,
    /// nor is the number of log lines.
    pub(crate) fn begin_again(&mut self) {
        self.began = Instant::now();
        self.waited = Duration::ZERO;
        self.own_time = self.own_time.again(self.began);
        self.host_calls = 0;
        self.wasi_calls = 0;
        self.output_bytes = 0;
        self.input_bytes = 0;
        self.standard_error.clear();
        // With the budget that they were begun by.
        self.prompts.clear();
        self.generations.clear();
        self.budget = Budget::new(&self.powers.limits);
    }

    /// Begins the call of another request in a kept instance. All that a call has is its own; of the instance's stays what
    /// its memories take, and numbers of handles are not used again.
    pub(crate) fn begin_with(&mut self, facts: Facts, own_time: OwnTime) {
        let before = std::mem::replace(self, Self::new(facts, Arc::clone(&self.powers), own_time));
        self.meter = before.meter.again();
        self.drafts = before.drafts.emptied();
        self.refusals = before.refusals.emptied();
        self.prompts = before.prompts.emptied();
        self.generations = before.generations.emptied();
    }

    /// Forgets the request, of which nothing is to stay with a kept instance.
    pub(crate) fn forget(&mut self) {
        self.begin_with(Facts::of_description(), self.own_time);
    }

    /// Whether the guest holds a handle of something. One that does is not kept: what it holds belongs to this call.
    pub(crate) fn holds_handles(&self) -> bool {
        let held = [
            self.drafts.values().len(),
            self.refusals.values().len(),
            self.prompts.values().len(),
            self.generations.values().len(),
            self.messages_held,
        ];
        held.iter().any(|count| *count > 0)
    }

    /// What the call has used, now that it is over.
    pub(crate) fn ended(&self, error: Option<&PolicyError>, instructions: u64) -> Ended {
        Ended {
            end: error.map_or(WELL, PolicyError::kind),
            took: self.began.elapsed(),
            waited: self.waited,
            memory_bytes: self.meter.memory_bytes(),
            host_calls: self.host_calls,
            instructions,
        }
    }

    /// Calls of the host's functions so far.
    pub(crate) fn host_calls(&self) -> u64 {
        self.host_calls
    }

    /// Whether it has asked the host for anything.
    pub(crate) fn has_asked(&self) -> bool {
        self.host_calls > 0 || self.wasi_calls > 0
    }

    /// What it has taken of its own time so far.
    pub(crate) fn own_time(&self) -> Duration {
        self.own_time.spent(Instant::now())
    }

    /// What a token of the attached model adds to an answer.
    pub(crate) fn token_bytes(&self, token: u32) -> Vec<u8> {
        self.facts.vocabulary.as_ref().map_or_else(Vec::new, |vocabulary| vocabulary.bytes(token).to_vec())
    }

    /// The one request's handle, lent to the guest for the call.
    pub(crate) fn request_handle() -> Resource<RequestHandle> {
        Resource::new_borrow(0)
    }

    /// The one draft's handle, lent to the guest for the call.
    pub(crate) fn draft_handle() -> Resource<DraftHandle> {
        Resource::new_borrow(0)
    }

    /// The one outcome's handle, lent to the guest for the call.
    pub(crate) fn outcome_handle() -> Resource<OutcomeHandle> {
        Resource::new_borrow(0)
    }

    /// The one answer's handle, lent to the guest for the call.
    pub(crate) fn answer_handle() -> Resource<AnswerHandle> {
        Resource::new_borrow(0)
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Every label on the request by now, those that this call added included.
    pub(crate) fn labels(&self) -> Arc<Labels> {
        self.facts.scope.labels()
    }

    pub(crate) fn settings(&self) -> &BTreeMap<String, String> {
        &self.powers.settings
    }

    pub(crate) fn powers(&self) -> &Arc<Powers> {
        &self.powers
    }

    pub(crate) fn environment(&self) -> &dyn Environment {
        &*self.powers.environment
    }

    /// What this call remembers.
    pub(crate) fn memory(&mut self) -> &mut Memory {
        let (powers, facts) = (&self.powers, &self.facts);
        self.memory.get_or_insert_with(|| {
            powers.memory(facts.key.as_ref().map(|key| Arc::clone(&key.tenant)), Arc::clone(&facts.scope))
        })
    }

    /// The call is over. What it wrote down counts if it ended well.
    pub(crate) fn end_memory(&mut self, is_well: bool) {
        if let Some(memory) = self.memory.take()
            && is_well
        {
            memory.keep();
        }
    }

    /// The request as it is now. A guest without one has no handle to ask by.
    pub(crate) fn request(&self) -> wasmtime::Result<&Arc<ChatRequest>> {
        self.facts.request.as_ref().ok_or_else(no_request)
    }

    /// The request and an index over it as it is now.
    pub(crate) fn text(&mut self) -> wasmtime::Result<(&TextIndex, &ChatRequest)> {
        if std::mem::take(&mut self.text_is_stale) {
            self.text = None;
        }
        let request = self.facts.request.as_ref().ok_or_else(no_request)?;
        Ok((self.text.get_or_insert_with(|| TextIndex::new(request)), request))
    }

    /// The request, to be changed, and an index over it that knows its pieces and perhaps not their
    /// lengths. The first change copies the request.
    pub(crate) fn text_mut(&mut self) -> wasmtime::Result<(&TextIndex, &mut ChatRequest)> {
        let request = self.facts.request.as_mut().ok_or_else(no_request)?;
        let text = self.text.get_or_insert_with(|| TextIndex::new(request));
        self.text_is_stale = true;
        Ok((text, Arc::make_mut(request)))
    }

    /// Adds a draft's label, which holds at once: for what the plugin reads and for what it writes.
    pub(crate) fn add_label(&mut self, label: Label) -> Result<(), Stop> {
        self.facts.labels = Arc::new(self.facts.labels.with([label.clone()]));
        self.preparation.labels.push(label.clone());
        self.put_label(label)
    }

    /// Puts a label on the request. What it forbids must not have been asked.
    pub(crate) fn put_label(&self, label: Label) -> Result<(), Stop> {
        self.facts.scope.add_labels([label]);
        self.check_breach()
    }

    /// Ends the call when somebody was asked whom a label now forbids.
    pub(crate) fn check_breach(&self) -> Result<(), Stop> {
        match self.facts.scope.breach() {
            Some(forbidden) => Err(Stop::Breach { forbidden }),
            None => Ok(()),
        }
    }

    /// Counts one call of a host function. Each of them starts with this.
    pub(crate) fn enter(&mut self) -> Result<(), Stop> {
        self.host_calls += 1;
        let calls_max = self.powers.limits.host_calls_max;
        if self.host_calls > calls_max {
            return Err(Stop::HostCalls { calls_max });
        }
        match &self.powers.probe {
            Some(probe) => {
                probe.host_call(&self.powers.plugin).map_or(Ok(()), |fault| Err(Stop::Injected(fault)))
            }
            None => Ok(()),
        }
    }

    /// Counts one call that hands over this many bytes.
    pub(crate) fn enter_with(&mut self, bytes: usize) -> Result<(), Stop> {
        self.enter()?;
        self.output_bytes = self.output_bytes.saturating_add(bytes);
        let bytes_max = self.powers.limits.output_bytes_max;
        if self.output_bytes > bytes_max {
            return Err(Stop::Output { bytes_max });
        }
        Ok(())
    }

    /// Counts bytes that a host function gives the guest, before they are given.
    pub(crate) fn hand_over(&mut self, bytes: usize) -> Result<(), Stop> {
        self.input_bytes = self.input_bytes.saturating_add(bytes);
        let bytes_max = self.powers.limits.input_bytes_max;
        if self.input_bytes > bytes_max {
            return Err(Stop::Input { bytes_max });
        }
        Ok(())
    }

    /// Counts one call of a toolchain's own making.
    pub(crate) fn enter_wasi(&mut self) -> Result<(), Stop> {
        self.wasi_calls += 1;
        if self.wasi_calls > WASI_CALLS_MAX {
            return Err(Stop::HostCalls { calls_max: WASI_CALLS_MAX });
        }
        Ok(())
    }

    /// Time that it waited for others is not its own.
    pub(crate) fn has_waited(&mut self, waited: Duration) {
        self.waited += waited;
        self.own_time.wait(waited, Instant::now());
    }

    /// Ends the call when its time is over.
    pub(crate) fn check_time(&mut self) -> Result<(), Stop> {
        if self.own_time.look(Instant::now()) {
            return Err(Stop::Time { limit: self.powers.limits.time_max });
        }
        Ok(())
    }

    pub(crate) fn log(&mut self, level: LogLevel, message: &str) {
        let kept = &message[..message.floor_char_boundary(LOG_LINE_BYTES_MAX)];
        let limits = &self.powers.limits;
        if self.log_lines >= limits.log_lines_max || self.log_bytes + kept.len() > limits.log_bytes_max {
            self.log_lines_dropped += 1;
            return;
        }
        self.log_lines += 1;
        self.log_bytes += kept.len();
        self.log.push((level, kept.to_owned()));
    }

    /// The log lines since they were last taken, and how many more there were. Told once: a guard that goes
    /// on writing is not to flood the log in this way.
    pub(crate) fn take_log(&mut self) -> (Vec<(LogLevel, String)>, usize) {
        let lines = std::mem::take(&mut self.log);
        if self.is_drop_told {
            return (lines, 0);
        }
        self.is_drop_told = self.log_lines_dropped > 0;
        (lines, self.log_lines_dropped)
    }

    pub(crate) fn write_standard_error(&mut self, bytes: &[u8]) {
        let room = STANDARD_ERROR_BYTES_MAX.saturating_sub(self.standard_error.len());
        self.standard_error.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(crate) fn standard_error(&self) -> &[u8] {
        &self.standard_error
    }

    /// The next of the numbers that follow from the request's id (SplitMix64).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn no_request() -> wasmtime::Error {
    wasmtime::Error::msg("a handle of a request where there is none")
}

/// A number that the same request id always gives (FNV-1a).
fn seed(request_id: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    request_id.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
