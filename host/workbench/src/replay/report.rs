//! What a replay comes to, as plain figures.

use std::collections::BTreeMap;

use lockgate_gateway::record::{Decided, Line, ReviewFacts};
use serde::Serialize;

use super::account::Side;

/// Requests that moved most money, as many as are told.
const LARGEST_MAX: usize = 10;

/// A replay in figures. "Before" is what was recorded, or what the policy to compare with decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The policy's file.
    pub policy: String,
    /// The file of the policy to compare with; none for what was recorded.
    pub against: Option<String>,
    /// Lines of the log.
    pub requests: u64,
    /// Lines that were not written to their end, and are left out.
    pub torn: u64,
    /// Requests that no policy decided: the client named a target, or they were refused before.
    pub not_routed: u64,
    /// Requests whose content labels withhold, so that they cannot be decided again.
    pub content_withheld: u64,
    /// Requests that were decided again.
    pub replayed: u64,
    /// Of those, decided exactly as before: attempts, labels and reason.
    pub identical: u64,
    /// Of those, going to another target than before, or to none where it was one, or the other way round.
    pub moved: u64,
    /// Recorded answers that would be judged as they were.
    pub reviews_identical: u64,
    /// Recorded answers that would be judged differently.
    pub reviews_different: u64,
    /// Asks of models that the log has no answer to.
    pub asks_unanswered: u64,
    /// What was.
    pub before: Tally,
    /// What would be.
    pub after: Tally,
    /// From where to where, the largest first.
    pub flows: Vec<Flow>,
    /// The requests whose move changes their cost most.
    pub largest: Vec<Moved>,
    #[serde(skip)]
    by_flow: BTreeMap<(String, String), (u64, Bills)>,
}

/// USD before and now, where both are known of a request.
type Bills = Option<(f64, f64)>;

/// One side of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Requests refused.
    pub refused: u64,
    /// Requests that the policy failed at, by kind.
    pub failed: BTreeMap<String, u64>,
    /// Requests whose plan names a target that their labels forbid. The host would not have sent them there.
    pub label_violations: u64,
    /// USD, as far as tokens and prices are known.
    pub costs: Costs,
    /// Milliseconds that an answer is expected to take, the mean over the requests for which that is known.
    pub expected_ms: Option<f64>,
    #[serde(skip)]
    expected: (u64, f64),
}

/// Money, and of how many requests it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// The sum.
    pub usd: f64,
    /// Requests in it.
    pub requests: u64,
}

/// Requests that went one way before and another now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow {
    /// A target, or what became of the request instead.
    pub from: String,
    /// The same, now.
    pub to: String,
    /// How many.
    pub requests: u64,
    /// What those of them cost before whose cost is known both ways; none where it is of none.
    pub usd_before: Option<f64>,
    /// What the same ones cost now.
    pub usd_after: Option<f64>,
}

/// A request that moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Its line in the log, from 1.
    pub line: usize,
    /// Its id.
    pub request_id: String,
    /// Where it went.
    pub from: String,
    /// Where it would go.
    pub to: String,
    /// What it cost.
    pub usd_before: f64,
    /// What it would cost.
    pub usd_after: f64,
}

impl Report {
    pub(super) fn begin(policy: &str, against: Option<&str>) -> Self {
        Self { policy: policy.to_owned(), against: against.map(str::to_owned), ..Self::default() }
    }

    pub(super) fn reviews(&mut self, recorded: &[ReviewFacts], judged: &[Option<bool>]) {
        for (recorded, judged) in recorded.iter().zip(judged) {
            if recorded.accepted == *judged {
                self.reviews_identical += 1;
            } else {
                self.reviews_different += 1;
            }
        }
    }

    pub(super) fn add(&mut self, line: usize, record: &Line, before: Side, now: Side, unanswered: u64) {
        self.replayed += 1;
        self.asks_unanswered += unanswered;
        if before.decided == now.decided && before.reason == now.reason {
            self.identical += 1;
        }
        self.before.add(&before);
        self.after.add(&now);
        let (from, to) = (before.place(), now.place());
        if from == to {
            return;
        }
        self.moved += 1;
        let flow = self.by_flow.entry((from.clone(), to.clone())).or_default();
        flow.0 += 1;
        // What goes nowhere costs nothing; what is not known is left out on both sides.
        let usd = |side: &Side| if side.target.is_none() { Some(0.0) } else { side.usd };
        let (Some(usd_before), Some(usd_after)) = (usd(&before), usd(&now)) else { return };
        let known = flow.1.get_or_insert_default();
        known.0 += usd_before;
        known.1 += usd_after;
        let request_id = record.request_id.clone();
        self.largest.push(Moved { line, request_id, from, to, usd_before, usd_after });
        if self.largest.len() > 8 * LARGEST_MAX {
            self.keep_largest();
        }
    }

    fn keep_largest(&mut self) {
        let change = |moved: &Moved| (moved.usd_after - moved.usd_before).abs();
        self.largest.sort_by(|a, b| change(b).total_cmp(&change(a)).then(a.line.cmp(&b.line)));
        self.largest.truncate(LARGEST_MAX);
    }

    pub(super) fn finish(&mut self) {
        self.keep_largest();
        self.largest.retain(|moved| moved.usd_before != moved.usd_after);
        for side in [&mut self.before, &mut self.after] {
            side.expected_ms = (side.expected.0 > 0).then(|| side.expected.1 / side.expected.0 as f64);
        }
        let flows = std::mem::take(&mut self.by_flow).into_iter();
        self.flows = flows
            .map(|((from, to), (requests, usd))| Flow {
                from,
                to,
                requests,
                usd_before: usd.map(|usd| usd.0),
                usd_after: usd.map(|usd| usd.1),
            })
            .collect();
        self.flows.sort_by_key(|flow| std::cmp::Reverse(flow.requests));
    }
}

impl Tally {
    fn add(&mut self, side: &Side) {
        match &side.decided {
            Decided::Plan { .. } => {}
            Decided::Refused => self.refused += 1,
            Decided::Failed { kind } => *self.failed.entry(kind.clone()).or_default() += 1,
        }
        self.label_violations += u64::from(side.violations > 0);
        if let Some(usd) = side.usd {
            self.costs.usd += usd;
            self.costs.requests += 1;
        }
        if let Some(expected) = side.expected_ms {
            self.expected.0 += 1;
            self.expected.1 += expected;
        }
    }
}
