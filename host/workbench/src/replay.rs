//! Yesterday's requests decided again: by the policy that decided them, or by another.
//!
//! Each line of a request log has what its policy saw. The policy is run on that in the production sandbox, with the
//! recorded answers to what it asked; nothing is sent anywhere. Where a request would go follows from the
//! gateway's own rules. Requests whose content the log withholds cannot be decided again, and are counted.
//!
//! Not owned here: the log's form (`lockgate_gateway::record`), and printing (`cli`).

mod account;
mod player;
mod report;

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{
    BreakerState, Plan, PolicyError, ReviewInput, ReviewVerdict, RouteInput, Router as _, Scope, Target,
};
use lockgate_gateway::record::{Content, Decided, Line, Routing, VERSION};
use lockgate_gateway::selection::steps_of;
use lockgate_sandbox::{Grant, Limits, LoadError, PluginSpec, RouterPlugin, Sandbox};
use thiserror::Error;

use account::Side;
use player::Player;

pub(crate) use player::Moment;
pub use report::{Costs, Flow, Moved, Report, Tally};

/// What one call may use, as the time that stands for so much fuel: more than a server allows, since there the time
/// counts.
const CALL_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes of one line; a request is at most some megabytes.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Why a log cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error("line {line}: {source}")]
    Read {
        /// Which, from 1.
        line: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A line is none of a request log.
    #[error("line {line}: {problem}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The policy cannot be loaded.
    #[error("{policy}: {source}")]
    Load {
        /// The component's file.
        policy: String,
        /// Why.
        source: Box<LoadError>,
    },
    /// The log grants a policy what does not exist.
    #[error("line {line}: the grant `{grant}` of policy `{policy}` is none")]
    Grant {
        /// Which, from 1.
        line: usize,
        /// Whose.
        policy: String,
        /// What.
        grant: String,
    },
    /// There is no runtime to run it in.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
}

/// A policy to decide the log's requests.
pub struct Candidate {
    /// For people: the path.
    pub name: String,
    sandbox: Sandbox,
    bytes: Vec<u8>,
    /// Settings that take the place of the recorded ones of these names.
    settings: Vec<(String, String)>,
    /// For each configuration that the log has of a policy, the component so configured.
    loaded: Vec<(lockgate_gateway::record::PolicyFacts, RouterPlugin)>,
    moment: Arc<Moment>,
}

impl Candidate {
    /// The component of this file. It is loaded with the settings and grants of each recorded policy.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(sandbox: &Sandbox, path: &Path, settings: &[(String, String)]) -> std::io::Result<Self> {
        let moment = Arc::new(Moment::default());
        let sandbox = sandbox.in_environment(Arc::clone(&moment) as _);
        Ok(Self {
            name: path.display().to_string(),
            sandbox,
            bytes: std::fs::read(path)?,
            settings: settings.to_vec(),
            loaded: Vec::new(),
            moment,
        })
    }

    /// The component with the configuration that decided this line.
    fn configured(&mut self, line: usize, routing: &Routing) -> Result<&RouterPlugin, ReplayError> {
        let place = match self.loaded.iter().position(|(facts, _)| *facts == routing.facts) {
            Some(place) => place,
            None => {
                let grants = routing.facts.grants.iter().map(|text| {
                    text.parse::<Grant>().map_err(|_| ReplayError::Grant {
                        line,
                        policy: routing.policy.clone(),
                        grant: text.clone(),
                    })
                });
                let mut settings = routing.facts.settings.clone();
                settings.extend(self.settings.iter().cloned());
                let spec = PluginSpec {
                    id: routing.policy.clone(),
                    grants: grants.collect::<Result<_, _>>()?,
                    settings,
                    limits: Limits { time_max: CALL_TIME_MAX, ..Limits::default() },
                    ..PluginSpec::default()
                };
                let loaded = self.sandbox.load(&self.bytes, spec);
                let loaded = loaded.map_err(|source| ReplayError::Load {
                    policy: self.name.clone(),
                    source: Box::new(source),
                })?;
                self.loaded.push((routing.facts.clone(), loaded));
                self.loaded.len() - 1
            }
        };
        Ok(&self.loaded[place].1)
    }

    /// Decides one recorded request.
    async fn decide(
        &mut self,
        line: usize,
        record: &Line,
        routing: &Routing,
        content: &Content,
    ) -> Result<Again, ReplayError> {
        self.moment.set(record.at_ms);
        let router = self.configured(line, routing)?;
        let player = Arc::new(Player::new(&content.told));
        let request_id: Arc<str> = record.request_id.as_str().into();
        let labels = Arc::new(routing.labels.clone());
        let journal = Some(Arc::clone(&player) as _);
        let scope = Scope::recorded(Arc::clone(&request_id), Arc::clone(&labels), None, journal);
        let input = RouteInput {
            request_id,
            request: Arc::new(content.request.clone()),
            labels,
            catalog: routing.catalog.clone().into(),
            key: record.key.clone(),
            scope: Arc::clone(&scope),
        };
        let plan = router.route(input.clone()).await;
        if let Ok(plan) = &plan {
            scope.add_labels(plan.add_labels.iter().cloned());
        }
        if matches!(plan, Ok(_) | Err(PolicyError::Refused { .. })) {
            scope.settle();
        }
        let mut judged = Vec::new();
        if Decided::of(&plan) == routing.decided {
            for answer in &content.reviewed {
                let RouteInput { request_id, request, catalog, key, scope, .. } = input.clone();
                let labels = scope.labels();
                let answer = Arc::new(answer.clone());
                let input = ReviewInput { request_id, request, labels, catalog, key, scope, answer };
                let verdict = router.review(input).await;
                judged.push(verdict.map(|verdict| verdict == ReviewVerdict::Accept).ok());
            }
        }
        Ok(Again { plan, judged, unanswered: player.unanswered() })
    }
}

/// A decision made again.
struct Again {
    plan: Result<Plan, PolicyError>,
    /// Whether each recorded answer would be accepted, where the plan is the recorded one; none where that failed.
    judged: Vec<Option<bool>>,
    /// Asks that the log has no answer to.
    unanswered: u64,
}

/// Decides every request of the log by `candidate`, and by `against` where there is one; else beside what was
/// recorded.
///
/// # Errors
/// [`ReplayError`], with the log's line.
pub fn replay(
    log: impl BufRead,
    candidate: &mut Candidate,
    mut against: Option<&mut Candidate>,
) -> Result<Report, ReplayError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(ReplayError::Start)?;
    let mut report = Report::begin(&candidate.name, against.as_deref().map(|against| against.name.as_str()));
    let mut log = log;
    let mut text = String::new();
    for number in 1.. {
        let record = match next_line(&mut log, &mut text, number)? {
            Next::End => break,
            Next::Torn => {
                report.torn += 1;
                continue;
            }
            Next::Line(record) => record,
        };
        report.requests += 1;
        let Some(routing) = &record.routing else {
            report.not_routed += 1;
            continue;
        };
        let Some(content) = &record.content else {
            report.content_withheld += 1;
            continue;
        };
        let again = runtime.block_on(candidate.decide(number, &record, routing, content))?;
        let now = Side::of(&again.plan, routing, &record);
        let before = match &mut against {
            None => Side::recorded(&record, routing, content),
            Some(against) => {
                let old = runtime.block_on(against.decide(number, &record, routing, content))?;
                Side::of(&old.plan, routing, &record)
            }
        };
        if against.is_none() && before == now {
            report.reviews(&routing.reviews, &again.judged);
        }
        report.add(number, &record, before, now, again.unanswered);
    }
    report.finish();
    Ok(report)
}

/// What comes next in a log.
enum Next {
    Line(Box<Line>),
    /// The beginning of a line: who wrote it was stopped, or has not come to its end yet.
    Torn,
    End,
}

fn next_line(log: &mut impl BufRead, text: &mut String, number: usize) -> Result<Next, ReplayError> {
    text.clear();
    let read = std::io::Read::take(&mut *log, LINE_BYTES_MAX).read_line(text);
    if read.map_err(|source| ReplayError::Read { line: number, source })? == 0 {
        return Ok(Next::End);
    }
    // Without its end, which in the middle of a string would be an error of its own.
    let line: Box<Line> = match serde_json::from_str(text.trim_end()) {
        Ok(line) => line,
        Err(error) if error.is_eof() && text.starts_with('{') => return Ok(Next::Torn),
        Err(error) => {
            let problem = format!("it is no line of a request log: {error}");
            return Err(ReplayError::Line { line: number, problem });
        }
    };
    if line.version != VERSION {
        let problem = format!("its form has the version {}, and {VERSION} can be read", line.version);
        return Err(ReplayError::Line { line: number, problem });
    }
    Ok(Next::Line(line))
}

/// The targets that a plan comes to, in order, and whether their answers are to be judged: those that its labels permit
/// and whose breakers let it through, by the gateway's rules.
fn targets_of(plan: &Plan, routing: &Routing) -> Vec<(Arc<Target>, bool)> {
    let labels = routing.labels.with(plan.add_labels.iter().cloned());
    let targets: Vec<_> = routing.catalog.iter().map(|facts| Arc::clone(&facts.target)).collect();
    let steps = steps_of(plan, &labels, targets.iter()).unwrap_or_default();
    let open = steps.iter().filter(|step| routing.catalog[step.target].health.breaker != BreakerState::Open);
    open.map(|step| (Arc::clone(&targets[step.target]), step.review)).collect()
}

#[cfg(test)]
mod tests;
