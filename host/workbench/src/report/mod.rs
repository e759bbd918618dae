//! What came of scenario files, for people and for programs. Virtual time only, so that two runs give the same bytes.

mod coverage;
mod json;
mod junit;
mod text;

use crate::bench::Loaded;
use crate::run::SuiteResult;
use crate::world::UsedBy;

pub use coverage::coverage;
pub use json::json;
pub use junit::junit;
pub use text::{file, summary};

/// What came of one file.
pub struct FileResult {
    /// The file, as it was named.
    pub path: String,
    /// Its results; or why it could not be run, each line with its place.
    pub outcome: Result<(Loaded, SuiteResult), String>,
}

/// Counts over all files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Scenarios that hold, and all of them.
    pub scenarios: (usize, usize),
    /// Properties that hold, and all of them.
    pub properties: (usize, usize),
    /// Files that could not be run.
    pub unusable: usize,
}

impl Counts {
    /// Those of these files.
    pub fn of(files: &[FileResult]) -> Self {
        let mut counts = Self::default();
        for file in files {
            let Ok((_, result)) = &file.outcome else {
                counts.unusable += 1;
                continue;
            };
            counts.scenarios.0 += result.scenarios.iter().filter(|scenario| scenario.holds()).count();
            counts.scenarios.1 += result.scenarios.len();
            counts.properties.0 += result.properties.iter().filter(|property| property.holds()).count();
            counts.properties.1 += result.properties.len();
        }
        counts
    }

    /// 0 when everything holds, 1 when something does not, 2 when something could not be run or there is nothing.
    pub fn exit_code(&self) -> u8 {
        let nothing = self.scenarios.1 + self.properties.1 == 0;
        match self.unusable > 0 || nothing {
            true => 2,
            false => u8::from(self.scenarios.0 < self.scenarios.1 || self.properties.0 < self.properties.1),
        }
    }
}

/// A share of a limit in percent.
fn percent((used, most): (u64, u64)) -> f64 {
    if most == 0 { 0.0 } else { used as f64 / most as f64 * 100.0 }
}

/// The largest share of each limit: fuel, memory, host calls.
fn shares(used: &[UsedBy]) -> [f64; 3] {
    let most = |part: fn(&UsedBy) -> (u64, u64)| used.iter().map(part).map(percent).fold(0.0, f64::max);
    [most(|by| by.fuel), most(|by| by.memory_bytes), most(|by| by.host_calls)]
}

/// Why a property without a counterexample does not hold.
const NEVER_STATED: &str = "no generated request meets its `when`: it was stated for none";
