//! Runs what a scenario file states: every scenario and every property, over all threads, results in the file's order.
//!
//! Nothing depends on how the work falls to threads: each scenario has a world, a clock and a seed of its own, and of a
//! property's runs the first that fails is the one that is told.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lockgate_api::{ChatRequest, Labels};
use lockgate_sandbox::Sandbox;

use crate::bench::Loaded;
use crate::property::{Case, Counterexample, Property, smallest};
use crate::scenario::{Decode, Miss, Scenario};
use crate::session::{Happened, Setting, Simulator};
use crate::world::{PlannedFault, UsedBy};

/// Runs of a property that one thread takes at a time.
const RUNS_AT_ONCE: u32 = 64;

/// What came of a scenario file.
#[derive(Debug)]
pub struct SuiteResult {
    /// In the file's order.
    pub scenarios: Vec<ScenarioResult>,
    /// In the file's order.
    pub properties: Vec<PropertyResult>,
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct ScenarioResult {
    /// What came of its requests: one or more.
    pub steps: Vec<StepResult>,
    /// Faults of the whole file that no call of this scenario came to.
    faults_left: Vec<PlannedFault>,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// What does not hold.
    pub misses: Vec<Miss>,
    /// Everything that happened.
    pub happened: Happened,
}

/// What came of a property.
#[derive(Clone, Debug)]
pub struct PropertyResult {
    /// Requests that it was stated for, where it holds for all.
    pub applied: u32,
    /// The first for which it does not hold.
    pub failure: Option<Counterexample>,
    /// The most that plugins used in its runs, where it holds.
    pub used: Vec<UsedBy>,
    /// The ends, targets and attempts that its runs reached, where it holds.
    pub reached: Reached,
}

/// What was reached in many runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Targets that were asked for.
    pub asked: Vec<String>,
    /// Targets that answered.
    pub answered: Vec<String>,
    /// The most attempts that were planned, and made.
    pub attempts: (u32, u32),
    /// Ends, by name.
    pub ends: Vec<&'static str>,
}

impl ScenarioResult {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.steps.iter().all(|step| step.misses.is_empty())
    }
}

impl PropertyResult {
    /// Whether it holds for every request, of which there must be one.
    pub fn holds(&self) -> bool {
        self.failure.is_none() && self.applied > 0
    }
}

impl SuiteResult {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.scenarios.iter().all(ScenarioResult::holds) && self.properties.iter().all(PropertyResult::holds)
    }
}

impl Reached {
    /// Adds what one request reached.
    pub fn add(&mut self, happened: &Happened) {
        for asked in &happened.asked {
            add(&mut self.asked, &asked.target);
        }
        if let Some(by) = &happened.answered_by {
            add(&mut self.answered, by);
        }
        self.attempts.0 = self.attempts.0.max(u32::try_from(happened.plan().len()).unwrap_or(u32::MAX));
        self.attempts.1 = self.attempts.1.max(happened.attempts);
        if !self.ends.contains(&happened.end.name()) {
            self.ends.push(happened.end.name());
        }
    }

    /// Adds what others reached.
    pub fn merge(&mut self, other: &Self) {
        other.asked.iter().for_each(|id| add(&mut self.asked, id));
        other.answered.iter().for_each(|id| add(&mut self.answered, id));
        self.attempts = (self.attempts.0.max(other.attempts.0), self.attempts.1.max(other.attempts.1));
        for end in &other.ends {
            if !self.ends.contains(end) {
                self.ends.push(end);
            }
        }
    }
}

fn add(all: &mut Vec<String>, id: &str) {
    if !all.iter().any(|known| known == id) {
        all.push(id.to_owned());
    }
}

/// Adds to the most that plugins used.
pub fn merge_used(all: &mut Vec<UsedBy>, more: &[UsedBy]) {
    let most = |one: (u64, u64), other: (u64, u64)| (one.0.max(other.0), one.1);
    for used in more {
        match all.iter_mut().find(|by| by.plugin == used.plugin && by.world == used.world) {
            None => all.push(used.clone()),
            Some(by) => {
                by.calls = by.calls.saturating_add(used.calls);
                by.fuel = most(by.fuel, used.fuel);
                by.memory_bytes = most(by.memory_bytes, used.memory_bytes);
                by.host_calls = most(by.host_calls, used.host_calls);
            }
        }
    }
}

/// Work for one thread.
#[derive(Clone, Copy)]
enum Job {
    Scenario(usize),
    Runs { property: usize, first: u32, end: u32 },
}

/// A property's runs so far, over all threads.
#[derive(Default)]
struct Runs {
    applied: AtomicU32,
    seen: Mutex<(Vec<UsedBy>, Reached)>,
}

/// Runs everything in the file on so many threads.
///
/// # Errors
/// The system gives no threads or timers, or a generated request is none of the API's: a fault of the generator's.
pub fn run(
    sandbox: &Sandbox,
    loaded: &Loaded,
    decode: &Decode,
    threads: usize,
) -> Result<SuiteResult, String> {
    let suite = &loaded.suite;
    let ids: Vec<String> = suite.world.targets.iter().map(|sim| sim.target.id.clone()).collect();
    let bench = Runner { sandbox, loaded, decode, ids };
    let mut jobs: Vec<Job> = (0..suite.scenarios.len()).map(Job::Scenario).collect();
    for (property, stated) in suite.properties.iter().enumerate() {
        let starts = (0..stated.runs).step_by(RUNS_AT_ONCE as usize);
        jobs.extend(starts.map(|first| {
            let end = first.saturating_add(RUNS_AT_ONCE).min(stated.runs);
            Job::Runs { property, first, end }
        }));
    }
    let next = AtomicUsize::new(0);
    let failing: Vec<AtomicU32> = suite.properties.iter().map(|_| AtomicU32::new(u32::MAX)).collect();
    let runs: Vec<Runs> = suite.properties.iter().map(|_| Runs::default()).collect();
    let work = || -> Result<Vec<(usize, ScenarioResult)>, String> {
        let simulator = Simulator::new().map_err(|error| error.to_string())?;
        let mut results = Vec::new();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match *job {
                Job::Scenario(place) => {
                    results.push((place, bench.scenario(&simulator, &suite.scenarios[place])?))
                }
                Job::Runs { property, first, end } => {
                    bench.runs(&simulator, property, first..end, &failing[property], &runs[property])?;
                }
            }
        }
        Ok(results)
    };
    let threads = threads.clamp(1, jobs.len().max(1));
    let mut scenarios = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for worker in workers {
            all.extend(worker.join().map_err(|_panic| "a thread panicked".to_owned())??);
        }
        Ok::<_, String>(all)
    })?;
    scenarios.sort_by_key(|(place, _)| *place);
    let mut scenarios: Vec<ScenarioResult> = scenarios.into_iter().map(|(_, result)| result).collect();
    judge_faults(&mut scenarios);
    let simulator = Simulator::new().map_err(|error| error.to_string())?;
    let properties = suite.properties.iter().zip(failing).zip(runs).map(|((property, failing), runs)| {
        let run = failing.into_inner();
        let failure =
            (run != u32::MAX).then(|| bench.counterexample(&simulator, property, run)).transpose()?;
        let has_failed = failure.is_some();
        let (mut used, mut reached) = runs.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        if has_failed {
            // How far other threads had come by then is chance.
            (used, reached) = Default::default();
        }
        used.sort_by(|one, other| {
            one.plugin.cmp(&other.plugin).then(one.world.name().cmp(other.world.name()))
        });
        let applied = if has_failed { 0 } else { runs.applied.into_inner() };
        Ok(PropertyResult { applied, failure, used, reached })
    });
    let properties = properties.collect::<Result<_, String>>()?;
    Ok(SuiteResult { scenarios, properties })
}

/// A fault of the whole file that no scenario comes to is told with the last one.
fn judge_faults(scenarios: &mut [ScenarioResult]) {
    let Some((last, others)) = scenarios.split_last_mut() else { return };
    let is_left = |fault: &&PlannedFault| others.iter().all(|other| other.faults_left.contains(fault));
    let misses: Vec<Miss> = last.faults_left.iter().filter(is_left).map(unreached).collect();
    if let Some(step) = last.steps.last_mut() {
        step.misses.extend(misses);
    }
}

fn unreached(fault: &PlannedFault) -> Miss {
    let of = fault.plugin.as_ref().map_or(String::new(), |plugin| format!(" of `{plugin}`"));
    Miss {
        field: "fault",
        expected: format!("{} at call {}{of} (line {})", fault.fault.name(), fault.at, fault.line),
        happened: "no plugin called the host so often".to_owned(),
    }
}

struct Runner<'a> {
    sandbox: &'a Sandbox,
    loaded: &'a Loaded,
    decode: &'a Decode,
    ids: Vec<String>,
}

impl Runner<'_> {
    fn scenario(&self, simulator: &Simulator, scenario: &Scenario) -> Result<ScenarioResult, String> {
        let Loaded { suite, chain, .. } = self.loaded;
        let setting = Setting {
            world: Arc::clone(&suite.world),
            own: Arc::clone(&scenario.own),
            health: scenario.health.clone(),
            faults: scenario.faults.clone(),
            seed: scenario.seed,
        };
        let mut session = simulator.begin(self.sandbox, chain, setting).map_err(|error| error.to_string())?;
        let mut steps = Vec::with_capacity(scenario.steps.len());
        for step in &scenario.steps {
            if !step.wait.is_zero() {
                session.wait(step.wait);
            }
            let happened = session.ask(step.request.clone(), step.labels.clone(), step.key.clone());
            let misses = step.expect.misses(&suite.world, &scenario.health, &happened);
            steps.push(StepResult { misses, happened });
        }
        let (faults_left, own): (Vec<_>, Vec<_>) =
            session.faults_left().into_iter().partition(|fault| fault.is_everywhere);
        if let Some(last) = steps.last_mut() {
            last.misses.extend(own.iter().map(unreached));
        }
        Ok(ScenarioResult { steps, faults_left })
    }

    /// Tries a part of a property's runs, those beyond one that has failed already left out.
    fn runs(
        &self,
        simulator: &Simulator,
        place: usize,
        numbers: std::ops::Range<u32>,
        failing: &AtomicU32,
        runs: &Runs,
    ) -> Result<(), String> {
        let property = &self.loaded.suite.properties[place];
        let (mut used, mut reached, mut applied) = (Vec::new(), Reached::default(), 0);
        for number in numbers {
            if number > failing.load(Ordering::Relaxed) {
                return Ok(());
            }
            let case = property.case(number, &self.ids);
            let (misses, happened) = self.case(simulator, property, &case)?;
            if property.when.holds(&case, &happened) {
                applied += 1;
                if !misses.is_empty() {
                    failing.fetch_min(number, Ordering::Relaxed);
                    return Ok(());
                }
            }
            merge_used(&mut used, &happened.used);
            reached.add(&happened);
        }
        runs.applied.fetch_add(applied, Ordering::Relaxed);
        let mut seen = runs.seen.lock().unwrap_or_else(PoisonError::into_inner);
        merge_used(&mut seen.0, &used);
        seen.1.merge(&reached);
        Ok(())
    }

    fn case(
        &self,
        simulator: &Simulator,
        property: &Property,
        case: &Case,
    ) -> Result<(Vec<Miss>, Happened), String> {
        let Loaded { suite, chain, .. } = self.loaded;
        let setting = Setting {
            world: Arc::clone(&suite.world),
            own: case.replies().into(),
            health: case.health.clone(),
            faults: property.faults.clone(),
            seed: case.seed,
        };
        let mut session = simulator.begin(self.sandbox, chain, setting).map_err(|error| error.to_string())?;
        let request: ChatRequest = (self.decode)(case.body().to_string().as_bytes()).map_err(|error| {
            format!("the property `{}` made a request that is none: {error}", property.name)
        })?;
        let labels: Labels = case.labels.iter().cloned().collect();
        let happened = session.ask(request, labels, None);
        Ok((property.expect.misses(&suite.world, &case.health, &happened), happened))
    }

    /// The request of a run that failed, made small.
    fn counterexample(
        &self,
        simulator: &Simulator,
        property: &Property,
        run: u32,
    ) -> Result<Counterexample, String> {
        let first = property.case(run, &self.ids);
        let (misses, _) = self.case(simulator, property, &first)?;
        let field = misses.first().map(|miss| miss.field);
        let case = smallest(first, |case| match self.case(simulator, property, case) {
            Ok((misses, happened)) => {
                property.when.holds(case, &happened) && misses.first().map(|miss| miss.field) == field
            }
            Err(_) => false,
        });
        let (misses, happened) = self.case(simulator, property, &case)?;
        let scenario = property.scenario_of(run, &case);
        Ok(Counterexample { run, case, misses, happened, scenario })
    }
}
