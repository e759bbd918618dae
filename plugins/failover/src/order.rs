//! The ranking: what is healthy before what is not, then by the time that an answer would take.
//!
//! The time of a target is its median time to the first token, for each request that waits or runs there a little
//! more, and an answer at its median speed. Of the healthy targets that are at most `slack` times as slow as the
//! fastest, a session's own comes first: the one with the highest hash of session and id (rendezvous hashing), so
//! that a target that goes or comes moves only the sessions that it had or gets.

use lockgate_plugin::{Breaker, Catalog, Request, able};

use crate::options::Options;

/// Attempts of a plan.
const ATTEMPTS_MAX: usize = 8;
/// For a target that has shown nothing yet: it is tried, and not before a fast one.
const FIRST_TOKEN_MS: f64 = 1000.0;
const TOKENS_PER_SECOND: f64 = 30.0;
/// An answer of ordinary length, where the client sets no limit.
const ANSWER_TOKENS: f64 = 250.0;
/// What each request that a target is answering adds to the time of the next.
const BUSY: f64 = 0.1;

struct Candidate {
    id: String,
    /// Lower is better: what it can do, then its health.
    class: (bool, u8),
    milliseconds: f64,
    affinity: u64,
}

/// The permitted targets' ids, best first.
pub(crate) fn order(
    request: &impl Request,
    catalog: &impl Catalog,
    options: &Options,
    session: Option<&str>,
) -> Vec<String> {
    let mut candidates = candidates(request, catalog, options, session);
    let named = request.model();
    candidates.sort_by(|one, other| {
        let rank = |candidate: &Candidate| (candidate.class, candidate.id != named);
        rank(one).cmp(&rank(other)).then(one.milliseconds.total_cmp(&other.milliseconds))
    });
    if session.is_some() {
        stay(&mut candidates, options.slack);
    }
    candidates.truncate(ATTEMPTS_MAX);
    candidates.into_iter().map(|candidate| candidate.id).collect()
}

/// Puts the session's own target first, if it is about as good as the best.
fn stay(candidates: &mut Vec<Candidate>, slack: f64) {
    let Some(best) = candidates.first() else { return };
    let (class, bound) = (best.class, best.milliseconds * slack);
    let good = |candidate: &Candidate| candidate.class == class && candidate.milliseconds <= bound;
    let own = candidates.iter().enumerate().filter(|(_, candidate)| good(candidate));
    if let Some(place) = own.max_by_key(|(_, candidate)| candidate.affinity).map(|(place, _)| place) {
        let own = candidates.remove(place);
        candidates.insert(0, own);
    }
}

fn candidates(
    request: &impl Request,
    catalog: &impl Catalog,
    options: &Options,
    session: Option<&str>,
) -> Vec<Candidate> {
    let tokens = request.answer_tokens_max().map_or(ANSWER_TOKENS, |most| ANSWER_TOKENS.min(most as f64));
    let ids = catalog.ids();
    let able = able(catalog, &request.wants(), ids.len());
    let facts = catalog.permitted().into_iter().zip(catalog.breakers()).zip(able).zip(catalog.error_rates());
    let load = catalog.in_flight().into_iter().zip(catalog.queued());
    let speed = catalog.first_token_ms().into_iter().zip(catalog.tokens_per_second());
    let rows = ids.into_iter().zip(facts).zip(load.zip(speed));
    rows.filter(|((_, (((permitted, _), _), _)), _)| *permitted)
        .map(|((id, (((_, breaker), able), errors)), ((in_flight, queued), (first, speed)))| {
            let health = match breaker {
                Breaker::Open => 3,
                Breaker::HalfOpen => 2,
                Breaker::Closed if errors.is_some_and(|share| share >= options.errors_max) => 1,
                Breaker::Closed => 0,
            };
            let waiting = f64::from(in_flight) * BUSY + f64::from(queued.unwrap_or(0));
            let first = first.unwrap_or(FIRST_TOKEN_MS) * (1.0 + waiting);
            let milliseconds = first + tokens / speed.unwrap_or(TOKENS_PER_SECOND).max(0.1) * 1000.0;
            let affinity = session.map_or(0, |session| hash(session, &id));
            Candidate { id, class: (!able, health), milliseconds, affinity }
        })
        .collect()
}

/// FNV-1a over both, its bits mixed (SplitMix64's finish), since the largest of several is looked for.
fn hash(session: &str, id: &str) -> u64 {
    let bytes = session.bytes().chain([0]).chain(id.bytes());
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut mixed = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
