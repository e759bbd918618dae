//! Properties: what must hold for every request, tried on generated ones.
//!
//! [`generate`] makes a request from a seed, `shrink` makes one that breaks a property smaller, `print` writes it as a
//! scenario. Everything follows from the property's seed: the same file gives the same requests on every machine.

pub mod generate;
mod print;
mod shrink;
mod words;

use lockgate_api::Labels;

use crate::scenario::{Expect, Miss};
use crate::session::Happened;
use crate::world::PlannedFault;

pub use generate::{Case, Generators};
pub(crate) use shrink::smallest;

/// Runs of a property that says nothing.
pub const RUNS_DEFAULT: u32 = 1000;
/// The most runs of one property.
pub const RUNS_MAX: u32 = 10_000_000;

/// What a generated request can have, as conditions name it.
pub const TRAITS: &[&str] = &["personal", "long", "tools", "labels", "turns", "system", "health", "failures"];

/// One property.
#[derive(Clone, Debug)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// The line that it is named in, from 1.
    pub line: usize,
    /// How many requests are tried.
    pub runs: u32,
    /// What they follow from.
    pub seed: u64,
    /// What they are made of.
    pub generators: Generators,
    /// For which it is stated.
    pub when: When,
    /// What must hold.
    pub expect: Expect,
    /// Faults put into every run.
    pub faults: Vec<PlannedFault>,
}

/// For which requests a property is stated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    /// All of these are on the request in the end, whoever put them there.
    pub labels: Labels,
    /// Each of these is a part of what the client says.
    pub contains: Vec<String>,
    /// None of these is.
    pub lacks: Vec<String>,
    /// It was generated with all of these.
    pub has: Vec<String>,
    /// It was generated with none of these.
    pub has_not: Vec<String>,
}

impl When {
    /// Whether the property is stated for this request.
    pub(crate) fn holds(&self, case: &Case, happened: &Happened) -> bool {
        let said = |part: &String| case.says(part);
        self.labels.are_all_in(&happened.labels)
            && self.contains.iter().all(said)
            && !self.lacks.iter().any(said)
            && self.has.iter().all(|name| case.has(name))
            && !self.has_not.iter().any(|name| case.has(name))
    }
}

/// A request for which a property does not hold.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// Which run found it, from 0.
    pub run: u32,
    /// It, as small as was found.
    pub case: Case,
    /// What does not hold.
    pub misses: Vec<Miss>,
    /// What happened.
    pub happened: Happened,
    /// A `[[scenario]]` that fails in the same way.
    pub scenario: String,
}

impl Property {
    /// The request of a run.
    pub fn case(&self, run: u32, targets: &[String]) -> Case {
        Case::generate(&self.generators, seed_of(self.seed, run), targets)
    }

    /// The request as a scenario to paste.
    pub(crate) fn scenario_of(&self, run: u32, case: &Case) -> String {
        print::scenario(&format!("{}, run {run}", self.name), case, &self.expect)
    }
}

/// The seed of one run. Within what TOML's integers hold.
fn seed_of(seed: u64, run: u32) -> u64 {
    let mut state = seed ^ (u64::from(run) << 32 | u64::from(run));
    crate::world::next(&mut state) >> 1
}

#[cfg(test)]
mod tests;
