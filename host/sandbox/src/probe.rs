//! A look into plugins' calls, for whoever tests a policy: what they ask, what they use, and faults put into them.

use lockgate_api::PolicyError;

use crate::grant::World;
use crate::limits::Limits;

/// Looks on while plugins are called. Called within their calls, so it must neither wait nor panic.
pub trait Probe: Send + Sync {
    /// The plugin calls one of the host's functions. A fault ends its call in place of an answer.
    fn host_call(&self, plugin: &str) -> Option<Fault>;

    /// The plugin asks for a model or a cloud by this name, in a plan or by a call of its own. Before grants, labels and
    /// the plan's sense are looked at.
    fn asks(&self, plugin: &str, target: &str);

    /// A call of the plugin is over.
    fn ended(&self, used: &Used<'_>);
}

/// How a plugin's call is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As if it trapped.
    Trap,
    /// As if it used up a limit.
    Limit,
    /// As if it tried what it was not granted.
    Denial,
}

impl Fault {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Limit => "limit",
            Self::Denial => "denial",
        }
    }
}

/// What one call of a plugin has used.
#[derive(Clone, Copy, Debug)]
pub struct Used<'a> {
    /// The plugin's id.
    pub plugin: &'a str,
    /// As what it was called.
    pub world: World,
    /// Instructions that it ran, as WebAssembly counts them.
    pub instructions: u64,
    /// Bytes of all its memories.
    pub memory_bytes: usize,
    /// Calls of the host's functions.
    pub host_calls: u64,
    /// What it might have used.
    pub limits: &'a Limits,
    /// How it ended, unless well.
    pub error: Option<&'a PolicyError>,
    /// The lines that it wrote to the operator's log, where the request's labels let anybody read them.
    pub log: &'a [String],
}
