//! Makes a request that breaks a property smaller, for as long as it breaks it in the same way.
//!
//! Greedy and without chance: of the simpler requests the first that still fails is taken, and so on until none does.

use lockgate_api::Health;

use super::generate::{Case, Piece};

/// Runs that shrinking may take.
const TRIES_MAX: u32 = 2_000;

/// The smallest request found for which `fails` still holds.
pub(crate) fn smallest(case: Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case;
    let mut tries = 0;
    'smaller: loop {
        for simpler in simpler(&best) {
            tries += 1;
            if tries > TRIES_MAX {
                return best;
            }
            if fails(&simpler) {
                best = simpler;
                continue 'smaller;
            }
        }
        return best;
    }
}

/// Requests that are simpler by one step, the greatest steps first.
fn simpler(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut changed = |change: &dyn Fn(&mut Case)| {
        let mut other = case.clone();
        change(&mut other);
        if other != *case {
            all.push(other);
        }
    };
    // Everything beside the last turn and what is in it.
    let last = case.turns.len().saturating_sub(1);
    changed(&|case| drop(case.turns.drain(..last)));
    changed(&|case| case.tools.clear());
    changed(&|case| case.labels.clear());
    changed(&|case| case.health.clear());
    changed(&|case| case.failures.clear());
    for place in 0..case.turns.len().saturating_sub(1) {
        changed(&|case| drop(case.turns.remove(place)));
    }
    for place in 0..case.labels.len() {
        changed(&|case| drop(case.labels.remove(place)));
    }
    for place in 0..case.tools.len() {
        changed(&|case| {
            case.tools.remove(place);
        });
    }
    for place in 0..case.health.len() {
        changed(&|case| drop(case.health.remove(place)));
        changed(&|case| {
            let health = &mut case.health[place].1;
            *health = Health { breaker: health.breaker, ..Health::default() };
        });
    }
    for place in 0..case.failures.len() {
        changed(&|case| drop(case.failures.remove(place)));
        changed(&|case| case.failures[place].times = Some(1));
    }
    for (turn, pieces) in case.turns.iter().enumerate().map(|(turn, it)| (turn, &it.pieces)) {
        for place in 0..pieces.len() {
            if pieces.len() > 1 {
                changed(&|case| drop(case.turns[turn].pieces.remove(place)));
            }
            for piece in shorter(&pieces[place]) {
                changed(&|case| case.turns[turn].pieces[place] = piece.clone());
            }
        }
    }
    // Last: the last turn may have to be the one before it.
    if last > 0 {
        changed(&|case| {
            case.turns.truncate(last);
            case.turns.retain(|turn| turn.role == "user");
        });
    }
    all.retain(|case| case.turns.last().is_some_and(|turn| turn.role == "user"));
    all
}

/// Shorter versions of a sentence. What is personal in it stays whole.
fn shorter(piece: &Piece) -> Vec<Piece> {
    let mut all = Vec::new();
    let times = piece.times;
    for fewer in [1, times / 2, times / 4 * 3, times / 8 * 7, times.saturating_sub(1)] {
        if fewer >= 1 && fewer < times {
            all.push(Piece { times: fewer, ..piece.clone() });
        }
    }
    if let Some(datum) = &piece.datum {
        if *datum != piece.text {
            all.push(Piece { text: datum.clone(), ..piece.clone() });
        }
        return all;
    }
    let words: Vec<&str> = piece.text.split(' ').collect();
    if words.len() > 1 {
        let half = words.len() / 2;
        for part in [&words[..1], &words[..half], &words[half..], &words[1..], &words[..words.len() - 1]] {
            all.push(Piece { text: part.join(" "), ..piece.clone() });
        }
    } else if times == 1 && piece.text != "Hi" {
        all.push(Piece { text: "Hi".to_owned(), ..piece.clone() });
    }
    all
}
