//! Scenario files: TOML in, a checked [`Suite`] out.
//!
//! `file` is the file's shape, `check` and `parts` the rules between its parts, [`expect`] what is judged. Every mistake
//! is told with file, line and column. Nothing here loads a component or runs anything.

mod check;
pub mod expect;
mod file;
mod parts;
mod planned;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{ChatRequest, Health, Labels};
use lockgate_gateway::{Key, OnError};
use lockgate_problems::Problems;
use lockgate_sandbox::{Grant, Limits, World as PluginWorld};

use crate::property::Property;
use crate::world::{PlannedFault, Reply, World};

pub use expect::{Expect, LimitHit, Miss};
pub use planned::PlannedLike;

/// How a chat completion's body is decoded: the server's own way, which the binary gives.
pub type Decode = dyn Fn(&[u8]) -> Result<ChatRequest, String> + Sync;

/// The end of a scenario file's name.
pub const SUFFIX: &str = ".scenario.toml";
/// Bytes of the largest scenario file that is read.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// A scenario file whose parts fit together.
#[derive(Debug)]
pub struct Suite {
    /// The file.
    pub path: PathBuf,
    /// What is tested, then what stands around it.
    pub policy: Policy,
    /// Plugins around it.
    pub chain: Vec<Policy>,
    /// What happens to a request whose router fails.
    pub on_error: OnError,
    /// The simulated world.
    pub world: Arc<World>,
    /// In the file's order.
    pub scenarios: Vec<Scenario>,
    /// In the file's order.
    pub properties: Vec<Property>,
}

/// A plugin as a scenario file names it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A component, or a crate's folder.
    pub path: PathBuf,
    /// As what it is loaded; for a link of the chain that says nothing, everything that it is.
    pub world: Option<PluginWorld>,
    /// Its own settings.
    pub settings: std::collections::BTreeMap<String, String>,
    /// What it may do; none for a link of the chain, which gets what it needs and harms nobody.
    pub grants: Option<Vec<Grant>>,
    /// What it may use.
    pub limits: Limits,
    /// `file:line:column`, for complaints about the component.
    pub place: String,
}

/// One scenario: requests in a row, all with the same state and clock.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The line that it is named in, from 1.
    pub line: usize,
    /// The requests; at least one.
    pub steps: Vec<Step>,
    /// Replies that come before the file's.
    pub own: Arc<[Reply]>,
    /// The health of targets, where it differs from the file's.
    pub health: Vec<(String, Health)>,
    /// Faults put into it.
    pub faults: Vec<PlannedFault>,
    /// What chance follows from.
    pub seed: u64,
}

/// One request and what is expected of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The request.
    pub request: ChatRequest,
    /// Labels that it brings.
    pub labels: Labels,
    /// Who asks.
    pub key: Option<Arc<Key>>,
    /// Virtual time since the answer before.
    pub wait: Duration,
    /// What must hold.
    pub expect: Expect,
}

/// Reads and checks a scenario file. Relative paths in it count from its own folder.
///
/// # Errors
/// Every mistake with its place.
pub fn load(path: &Path, decode: &Decode) -> Result<Suite, Problems> {
    parse(path, &read(path).map_err(|error| Problems::unreadable(path, &error))?, decode)
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The same from text that was read from `path`.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str, decode: &Decode) -> Result<Suite, Problems> {
    let file: file::File = toml::from_str(text).map_err(|error| Problems::from_toml(path, text, &error))?;
    check::check(path, text, file, decode)
}

#[cfg(test)]
mod tests;
