//! The interface `plan`, and the check that turns a guest's draft into a plan of the host's.

use std::time::Duration;

use lockgate_api::{Label, Overrides, Plan, PlannedAttempt, PolicyError, TargetFacts};
use wasmtime::component::Resource;

use super::bindings::router::lockgate::plugin::plan;
use super::shorten;
use crate::call::Call;
use crate::stop::Stop;

const ATTEMPTS_MAX: usize = 16;
const LABELS_MAX: usize = 16;
/// Bytes of any reason that a plugin gives: of a plan, a refusal, a stop, a verdict.
pub(crate) const REASON_BYTES_MAX: usize = 4096;

/// A plan as the guest builds it. Nothing of it is believed.
#[derive(Debug, Default)]
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct Draft {
    attempts: Vec<PlannedAttempt>,
    labels: Vec<String>,
    reason: String,
    /// The first thing wrong with it that would be lost otherwise.
    problem: Option<String>,
}

/// A refusal as the guest states it.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct Refused {
    pub(crate) reason: String,
}

impl plan::Host for Call {}

impl plan::HostPlan for Call {
    fn new(&mut self) -> wasmtime::Result<Resource<Draft>> {
        self.enter()?;
        self.drafts.insert(Draft::default())
    }

    fn add_attempt(&mut self, draft: Resource<Draft>, target: String) -> wasmtime::Result<u32> {
        self.add_attempts(draft, vec![target])
    }

    fn add_attempts(&mut self, draft: Resource<Draft>, targets: Vec<String>) -> wasmtime::Result<u32> {
        self.enter_with(targets.iter().map(String::len).sum())?;
        let draft = self.drafts.get_mut(&draft)?;
        let number = u32::try_from(draft.attempts.len())?;
        if targets.len() > ATTEMPTS_MAX - draft.attempts.len() {
            draft.problem(|| format!("more than {ATTEMPTS_MAX} attempts"));
        } else {
            draft.attempts.extend(targets.into_iter().map(PlannedAttempt::on));
        }
        Ok(number)
    }

    fn set_timeout_ms(
        &mut self,
        draft: Resource<Draft>,
        attempt: u32,
        timeout_ms: u64,
    ) -> wasmtime::Result<()> {
        self.change(&draft, attempt, "a timeout", |attempt| {
            attempt.timeout = Some(Duration::from_millis(timeout_ms));
        })
    }

    fn set_hedge_after_ms(
        &mut self,
        draft: Resource<Draft>,
        attempt: u32,
        hedge_after_ms: u64,
    ) -> wasmtime::Result<()> {
        self.change(&draft, attempt, "a hedge", |attempt| {
            attempt.hedge_after = Some(Duration::from_millis(hedge_after_ms));
        })
    }

    fn review_attempt(&mut self, draft: Resource<Draft>, attempt: u32) -> wasmtime::Result<()> {
        self.change(&draft, attempt, "a review", |attempt| attempt.review = true)
    }

    fn set_temperature(
        &mut self,
        draft: Resource<Draft>,
        attempt: u32,
        temperature: f32,
    ) -> wasmtime::Result<()> {
        self.sample(&draft, attempt, |sampling| sampling.temperature = Some(temperature))
    }

    fn set_top_p(&mut self, draft: Resource<Draft>, attempt: u32, share: f32) -> wasmtime::Result<()> {
        self.sample(&draft, attempt, |sampling| sampling.top_p = Some(share))
    }

    fn set_top_k(&mut self, draft: Resource<Draft>, attempt: u32, count: u32) -> wasmtime::Result<()> {
        self.sample(&draft, attempt, |sampling| sampling.top_k = Some(count))
    }

    fn set_seed(&mut self, draft: Resource<Draft>, attempt: u32, seed: u64) -> wasmtime::Result<()> {
        self.sample(&draft, attempt, |sampling| sampling.seed = Some(seed))
    }

    fn set_max_tokens(&mut self, draft: Resource<Draft>, attempt: u32, tokens: u32) -> wasmtime::Result<()> {
        self.sample(&draft, attempt, |sampling| sampling.max_tokens = Some(tokens))
    }

    fn add_label(&mut self, draft: Resource<Draft>, label: String) -> wasmtime::Result<()> {
        self.enter_with(label.len())?;
        let draft = self.drafts.get_mut(&draft)?;
        if draft.labels.len() < LABELS_MAX {
            let known = label.parse::<Label>();
            draft.labels.push(label);
            // It holds at once, also if this plan comes to nothing: the plugin has seen why.
            if let Ok(known) = known {
                self.put_label(known)?;
            }
        } else {
            draft.problem(|| format!("more than {LABELS_MAX} labels"));
        }
        Ok(())
    }

    fn set_reason(&mut self, draft: Resource<Draft>, reason: String) -> wasmtime::Result<()> {
        self.enter_with(reason.len())?;
        check_reason("the plan's reason", &reason)?;
        self.drafts.get_mut(&draft)?.reason = reason;
        Ok(())
    }

    fn drop(&mut self, draft: Resource<Draft>) -> wasmtime::Result<()> {
        self.drafts.remove(&draft).map(drop)
    }
}

impl plan::HostRefusal for Call {
    fn new(&mut self, reason: String) -> wasmtime::Result<Resource<Refused>> {
        self.enter_with(reason.len())?;
        check_reason("the refusal's reason", &reason)?;
        self.refusals.insert(Refused { reason })
    }

    fn drop(&mut self, refusal: Resource<Refused>) -> wasmtime::Result<()> {
        self.refusals.remove(&refusal).map(drop)
    }
}

impl Call {
    /// Changes an attempt of a plan; `what` names the change should there be no such attempt.
    fn change(
        &mut self,
        draft: &Resource<Draft>,
        attempt: u32,
        what: &str,
        change: impl FnOnce(&mut PlannedAttempt),
    ) -> wasmtime::Result<()> {
        self.enter()?;
        let draft = self.drafts.get_mut(draft)?;
        match draft.attempts.get_mut(attempt as usize) {
            Some(proposed) => change(proposed),
            None => draft.problem(|| format!("{what} for attempt {attempt}, which does not exist")),
        }
        Ok(())
    }

    fn sample(
        &mut self,
        draft: &Resource<Draft>,
        attempt: u32,
        change: impl FnOnce(&mut Overrides),
    ) -> wasmtime::Result<()> {
        self.change(draft, attempt, "a sampling parameter", |attempt| change(&mut attempt.sampling))
    }
}

fn check_reason(part: &'static str, reason: &str) -> Result<(), Stop> {
    if reason.len() > REASON_BYTES_MAX {
        return Err(Stop::Part { part, length: reason.len(), max: REASON_BYTES_MAX });
    }
    Ok(())
}

impl Draft {
    fn problem(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }

    /// The targets that it names, whatever becomes of it.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &str> {
        self.attempts.iter().map(|attempt| attempt.target.as_str())
    }

    /// The plan, if every part of it makes sense. The guest's own words are kept out of the error when
    /// `withhold` is set.
    pub(crate) fn check(
        self,
        catalog: &[TargetFacts],
        can_review: bool,
        withhold: bool,
    ) -> Result<Plan, PolicyError> {
        let quote = |text: &str| if withhold { "(withheld)".to_owned() } else { shorten(text) };
        let invalid = |problem: String| PolicyError::InvalidPlan { problem };
        if let Some(problem) = self.problem {
            return Err(invalid(problem));
        }
        if self.attempts.is_empty() {
            return Err(invalid("it names no target".to_owned()));
        }
        let mut attempts: Vec<PlannedAttempt> = Vec::with_capacity(self.attempts.len());
        for attempt in self.attempts {
            let target = &attempt.target;
            if attempt.review && !can_review {
                return Err(invalid(
                    "it wants an answer reviewed, and the component has no `review`".to_owned(),
                ));
            }
            if !catalog.iter().any(|facts| facts.target.id == *target) {
                return Err(invalid(format!("unknown target `{}`", quote(target))));
            }
            if attempts.iter().any(|known| known.target == *target) {
                return Err(invalid(format!("target `{target}` twice")));
            }
            attempts.push(attempt);
        }
        let mut add_labels = Vec::with_capacity(self.labels.len());
        for label in &self.labels {
            let unknown = |_| invalid(format!("unknown label `{}`", quote(label)));
            add_labels.push(label.parse::<Label>().map_err(unknown)?);
        }
        let plan = Plan { attempts, add_labels, reason: self.reason };
        plan.problem().map_or(Ok(plan), |problem| Err(invalid(problem)))
    }
}
