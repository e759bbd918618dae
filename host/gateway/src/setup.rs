//! What a gateway is made from, and what is wrong with it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{Backend, Labels, Target, Timeouts};
use thiserror::Error;

use crate::breaker::BreakerPolicy;
use crate::limiter::Limits;
use crate::metrics::Metrics;
use crate::record::RequestLog;

/// The model name that asks the router.
pub const AUTO: &str = "auto";
/// What stands in the place of a policy's id when the client named the target.
pub const DIRECT: &str = "direct";
/// The longest that any timer may be.
pub const TIMER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A target and what answers for it.
#[derive(Clone)]
pub struct GatewayTarget {
    /// What policies see.
    pub target: Arc<Target>,
    /// What answers.
    pub backend: Arc<dyn Backend>,
}

/// What happens to a request whose policy failed. A refusal is not a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes to the first permitted target of locality `local`, or is refused where there is none.
    FirstTarget,
}

/// What a target's id as the model name means. A name that no target has is unknown in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Named {
    /// That target answers; no policy is asked.
    #[default]
    Direct,
    /// A wish: the router sees it in the request and decides.
    Route,
    /// Only `auto` is allowed.
    Refuse,
}

/// The gateway's rules.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// For models that clients name.
    pub named: Named,
    /// Labels that every request bears.
    pub labels: Labels,
    /// Every attempt's timers; a plan may shorten the total.
    pub timeouts: Timeouts,
    /// The longest that a policy may take, waiting for an instance included. The sandbox has tighter
    /// limits of its own; this one holds for any router.
    pub policy_timeout: Duration,
    /// How many requests at once.
    pub limits: Limits,
    /// Every target's breaker.
    pub breaker: BreakerPolicy,
    /// What is counted where.
    pub metrics: Metrics,
    /// Where requests are taken down, if they are.
    pub record: Option<Arc<RequestLog>>,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            named: Named::default(),
            labels: Labels::none(),
            timeouts: Timeouts::default(),
            policy_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            breaker: BreakerPolicy::default(),
            metrics: Metrics::default(),
            record: None,
        }
    }
}

/// Why a gateway cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SetupError {
    /// Two targets of one id.
    #[error("two targets or models have the id `{0}`: ids are unique over both")]
    DuplicateId(String),
    /// Two plugins of one id.
    #[error(
        "two plugins have the id `{0}`: only a preprocessor and a guard may, as two halves of one plugin"
    )]
    DuplicatePlugin(String),
    /// An id that cannot be a model's name.
    #[error(
        "the id `{0}` cannot name a target: use 1 to 128 visible ASCII characters without comma, other than \
         `auto` and `direct`, and not beginning with `auto:`"
    )]
    InvalidId(String),
    /// A timer or limit out of bounds.
    #[error("{name} must be {bounds}")]
    OutOfBounds {
        /// Which.
        name: &'static str,
        /// What it may be.
        bounds: &'static str,
    },
}

/// Whether a model's name asks a router: `auto`, or `auto:` and a router's id.
fn is_for_routers(name: &str) -> bool {
    name.strip_prefix(AUTO).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Checks ids and limits.
pub(crate) fn check(targets: &[GatewayTarget], options: &GatewayOptions) -> Result<(), SetupError> {
    let mut seen = HashSet::new();
    for GatewayTarget { target, .. } in targets {
        let id = target.id.as_str();
        // Ids stand in headers and in lists.
        let plain = id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if id.is_empty() || id.len() > 128 || !plain || id == DIRECT || is_for_routers(id) {
            return Err(SetupError::InvalidId(id.to_owned()));
        }
        if !seen.insert(id) {
            return Err(SetupError::DuplicateId(id.to_owned()));
        }
    }
    let Timeouts { connect, first_event, idle, total } = options.timeouts;
    for (name, timer) in [
        ("the connect timeout", connect),
        ("the first-event timeout", first_event),
        ("the idle timeout", idle),
        ("the total timeout", total),
        ("the policy timeout", options.policy_timeout),
        ("the wait for a place", options.limits.wait),
        ("the breaker's first opening", options.breaker.open_first),
        ("the breaker's longest opening", options.breaker.open_most),
    ] {
        if timer.is_zero() || timer > TIMER_MAX {
            return Err(SetupError::OutOfBounds { name, bounds: "more than 0 and at most 24 hours" });
        }
    }
    if options.limits.concurrent == 0 {
        return Err(SetupError::OutOfBounds {
            name: "the number of concurrent requests",
            bounds: "at least 1",
        });
    }
    if options.breaker.failures_to_open == 0 {
        return Err(SetupError::OutOfBounds {
            name: "the failures that open a breaker",
            bounds: "at least 1",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
