//! What happens in a scenario, written down as it happens: what plugins ask for, what reaches targets, what plugins use.
//!
//! Also puts the scenario's faults into plugins' calls, since it is what sees them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockgate_api::{Plan, PolicyError, Price};
use lockgate_sandbox::{Fault, Probe, Used, World as PluginWorld};

/// What somebody is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To answer.
    Answer,
    /// To say how likely continuations are.
    Choose,
    /// To embed texts.
    Embed,
    /// To count a prompt's tokens.
    Count,
}

impl Kind {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Choose => "choose",
            Self::Embed => "embed",
            Self::Count => "count-tokens",
        }
    }
}

/// A target that a plan or a plugin's own call asked for, whatever the host made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The plugin.
    pub plugin: String,
    /// The target's id, as the plugin wrote it.
    pub target: String,
}

/// Something that reached a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The target's id.
    pub target: String,
    /// What it was asked to do.
    pub kind: Kind,
    /// Everything that it read.
    pub text: String,
    /// Tokens of that, as the target counts.
    pub prompt_tokens: u64,
    /// Tokens that it wrote.
    pub completion_tokens: u64,
    /// What it costs; none where the target has no price.
    pub usd: Option<f64>,
    /// How it ended: `ok`, or the error's word; `abandoned` where nobody read to its end.
    pub end: &'static str,
}

/// The most that calls of one plugin used of each limit.
#[derive(Clone, Debug, PartialEq)]
pub struct UsedBy {
    /// Its id.
    pub plugin: String,
    /// As what it was called.
    pub world: PluginWorld,
    /// Calls of it.
    pub calls: u32,
    /// The most fuel of one call, and what it might have used.
    pub fuel: (u64, u64),
    /// The same of bytes of memory.
    pub memory_bytes: (u64, u64),
    /// The same of calls of the host.
    pub host_calls: (u64, u64),
}

/// A fault to put into a plugin's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// Whose; of any plugin where there is none.
    pub plugin: Option<String>,
    /// At which of its calls of the host in the scenario, from 1.
    pub at: u64,
    /// Which.
    pub fault: Fault,
    /// The line of its file, from 1.
    pub line: usize,
    /// Whether it is put into every scenario of its file.
    pub is_everywhere: bool,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Journal {
    faults: Vec<PlannedFault>,
    /// Which of them were put in.
    reached: Vec<AtomicBool>,
    log: Mutex<Log>,
}

/// The journal's pages.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// What the router answered last.
    pub decision: Option<Result<Plan, PolicyError>>,
    /// Whom plans and plugins asked for, in order.
    pub asked: Vec<Asked>,
    /// What reached targets, in order.
    pub sent: Vec<Sent>,
    /// By plugin and world.
    pub used: Vec<UsedBy>,
    /// Failures of plugins: whose, and which.
    pub failures: Vec<(String, PolicyError)>,
    /// Questions that no reply of the scenario is for.
    pub unmatched: Vec<String>,
    /// Lines that plugins wrote to the log.
    pub lines: Vec<String>,
    /// Calls of the host so far, by plugin.
    host_calls: Vec<(String, u64)>,
    /// How often each reply has answered.
    served: Vec<u32>,
}

impl Journal {
    /// An empty journal that puts these faults in.
    pub fn new(faults: Vec<PlannedFault>) -> Self {
        let reached = faults.iter().map(|_| AtomicBool::new(false)).collect();
        Self { faults, reached, log: Mutex::default() }
    }

    /// Everything since it was last taken. Counts of calls and replies go on.
    pub fn take(&self) -> Log {
        let mut log = self.lock();
        let Log { host_calls, served, .. } = &*log;
        let rest = Log { host_calls: host_calls.clone(), served: served.clone(), ..Log::default() };
        std::mem::replace(&mut log, rest)
    }

    /// The faults that no call has come to so far.
    pub fn faults_left(&self) -> impl Iterator<Item = &PlannedFault> {
        let left =
            self.faults.iter().zip(&self.reached).filter(|(_, reached)| !reached.load(Ordering::Relaxed));
        left.map(|(fault, _)| fault)
    }

    /// The router has decided.
    pub fn decided(&self, router: &str, decision: &Result<Plan, PolicyError>) {
        let mut log = self.lock();
        for attempt in decision.iter().flat_map(|plan| &plan.attempts) {
            let asked = Asked { plugin: router.to_owned(), target: attempt.target.clone() };
            // A component's were written down when it named them.
            if !log.asked.contains(&asked) {
                log.asked.push(asked);
            }
        }
        log.decision = Some(decision.clone());
    }

    /// Something reaches a target. Returns its number for [`Journal::ended`].
    pub(crate) fn sends(&self, sent: Sent) -> usize {
        let mut log = self.lock();
        log.sent.push(sent);
        log.sent.len() - 1
    }

    /// What was sent has come to its end, or to where it is cut.
    pub(crate) fn ended(
        &self,
        number: usize,
        end: &'static str,
        completion_tokens: u64,
        price: Option<Price>,
    ) {
        let mut log = self.lock();
        let Some(sent) = log.sent.get_mut(number) else { return };
        sent.end = end;
        sent.completion_tokens = completion_tokens;
        sent.usd = price.map(|price| {
            (sent.prompt_tokens as f64 * price.input + completion_tokens as f64 * price.output) / 1e6
        });
    }

    /// The first reply of those that may still answer for which `is_it` holds; it counts as given.
    pub(crate) fn serve<'a, R>(
        &self,
        replies: impl Iterator<Item = &'a R>,
        is_it: impl Fn(&R) -> bool,
        times: impl Fn(&R) -> Option<u32>,
    ) -> Option<&'a R> {
        let mut log = self.lock();
        for (place, reply) in replies.enumerate() {
            let served = log.served.get(place).copied().unwrap_or(0);
            if times(reply).is_some_and(|times| served >= times) || !is_it(reply) {
                continue;
            }
            if times(reply).is_some() {
                if log.served.len() <= place {
                    log.served.resize(place + 1, 0);
                }
                log.served[place] = served + 1;
            }
            return Some(reply);
        }
        None
    }

    /// Nothing answers this.
    pub(crate) fn no_reply(&self, what: String) {
        self.lock().unmatched.push(what);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // Whole entries are pushed; a panic between two loses the later one.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe for Journal {
    fn host_call(&self, plugin: &str) -> Option<Fault> {
        if self.faults.is_empty() {
            return None;
        }
        let mut log = self.lock();
        let place = log.host_calls.iter().position(|(id, _)| id == plugin).unwrap_or_else(|| {
            log.host_calls.push((plugin.to_owned(), 0));
            log.host_calls.len() - 1
        });
        let count = &mut log.host_calls[place].1;
        *count += 1;
        let now = *count;
        let hits = |planned: &&PlannedFault| {
            planned.at == now && planned.plugin.as_deref().is_none_or(|id| id == plugin)
        };
        let place = self.faults.iter().position(|planned| hits(&planned))?;
        self.reached[place].store(true, Ordering::Relaxed);
        Some(self.faults[place].fault)
    }

    fn asks(&self, plugin: &str, target: &str) {
        self.lock().asked.push(Asked { plugin: plugin.to_owned(), target: target.to_owned() });
    }

    fn ended(&self, used: &Used<'_>) {
        let mut log = self.lock();
        let limits = used.limits;
        let fuel = (used.instructions, limits.fuel_max());
        let memory_bytes = (used.memory_bytes as u64, limits.memory_bytes_max as u64);
        let host_calls = (used.host_calls, limits.host_calls_max);
        let known = log.used.iter_mut().find(|by| by.plugin == used.plugin && by.world == used.world);
        match known {
            Some(by) => {
                by.calls += 1;
                by.fuel.0 = by.fuel.0.max(fuel.0);
                by.memory_bytes.0 = by.memory_bytes.0.max(memory_bytes.0);
                by.host_calls.0 = by.host_calls.0.max(host_calls.0);
            }
            None => log.used.push(UsedBy {
                plugin: used.plugin.to_owned(),
                world: used.world,
                calls: 1,
                fuel,
                memory_bytes,
                host_calls,
            }),
        }
        if let Some(error) = used.error.filter(|error| !matches!(error, PolicyError::Refused { .. })) {
            log.failures.push((used.plugin.to_owned(), error.clone()));
        }
        log.lines.extend(used.log.iter().map(|line| format!("{}: {line}", used.plugin)));
    }
}
