//! Which import needs which grant: the one table that decides what a component may link to.

use std::fmt;
use std::str::FromStr;

/// The worlds that a component can be loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Decides where a request goes.
    Router,
    /// Changes a request before it is routed.
    Preprocessor,
    /// Watches an answer.
    Guard,
    /// Makes a model of its own out of one of this machine's.
    Adapter,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Router, Self::Preprocessor, Self::Guard, Self::Adapter];

    /// The name in configuration and in `wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Preprocessor => "preprocessor",
            Self::Guard => "guard",
            Self::Adapter => "adapter",
        }
    }

    /// The interface that a component of this world exports.
    pub(crate) fn hook(self) -> &'static str {
        match self {
            Self::Router => "route",
            Self::Preprocessor => "prepare",
            Self::Guard => "watch",
            Self::Adapter => "adapt",
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for World {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|world| world.name() == name).ok_or_else(|| {
            format!("unknown world `{name}`: this version has router, preprocessor, guard and adapter")
        })
    }
}

/// A power that an operator gives a plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Asking this cloud target.
    Cloud(String),
    /// Asking this model of the host's own.
    Inference(String),
    /// Keeping state between calls.
    State,
    /// Reading the time.
    Clock,
    /// Drawing random numbers.
    Random,
    /// Writing to the operator's log.
    Log,
}

impl Grant {
    /// Whether both open the same interface. Whom a grant of `cloud` or `inference` names is asked at each call.
    pub(crate) fn is_of_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cloud(target) => write!(formatter, "cloud:{target}"),
            Self::Inference(model) => write!(formatter, "inference:{model}"),
            Self::State => formatter.write_str("state"),
            Self::Clock => formatter.write_str("clock"),
            Self::Random => formatter.write_str("random"),
            Self::Log => formatter.write_str("log"),
        }
    }
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match (name, name.split_once(':')) {
            (_, Some(("cloud", target))) if !target.is_empty() => Ok(Self::Cloud(target.to_owned())),
            (_, Some(("inference", model))) if !model.is_empty() => Ok(Self::Inference(model.to_owned())),
            ("state", _) => Ok(Self::State),
            ("clock", _) => Ok(Self::Clock),
            ("random", _) => Ok(Self::Random),
            ("log", _) => Ok(Self::Log),
            _ => Err(format!(
                "unknown grant `{name}`: use cloud:TARGET, inference:MODEL, state, clock, random or log"
            )),
        }
    }
}

/// What a component may do with one of its imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Every component of the world has it.
    Free,
    /// It needs a grant of this kind.
    Needs(Grant),
    /// A toolchain's import, answered with nothing.
    Closed,
    /// Nobody has it.
    Unknown,
}

/// The package that this host speaks.
pub(crate) const PACKAGE: &str = "lockgate:plugin";
/// The version of it, up to what may differ.
pub(crate) const VERSION: &str = "0.1";

/// The interface and version in an import's name, where it belongs to our package.
pub(crate) fn own_interface(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

/// Whether a version is one that this host speaks.
pub(crate) fn speaks(version: &str) -> bool {
    version.strip_prefix(VERSION).is_some_and(|patch| patch.starts_with('.') && !patch.contains('-'))
}

pub(crate) fn access(world: World, import: &str) -> Access {
    if import.starts_with("wasi:") {
        return Access::Closed;
    }
    let Some((interface, version)) = own_interface(import) else { return Access::Unknown };
    if !speaks(version) {
        return Access::Unknown;
    }
    match (world, interface) {
        (World::Router, "types" | "request" | "catalog" | "plan" | "outcome" | "settings") => Access::Free,
        (World::Adapter, "types" | "request" | "plan" | "settings" | "adaptation" | "vocabulary") => {
            Access::Free
        }
        // The model does not wait for its adapter, so that an adapter has nothing to wait for; and of the request's
        // plugins it is none, so that it has nothing to remember.
        (World::Adapter, "generation" | "inference" | "cloud" | "state") => Access::Unknown,
        // What asks are made of; whom it may ask decides an import of its own.
        (_, "generation") => Access::Free,
        // A filter is one component for both: each half imports what the other uses.
        (
            World::Preprocessor | World::Guard,
            "types" | "request" | "draft" | "answer" | "plan" | "settings",
        ) => Access::Free,
        (_, "log") => Access::Needs(Grant::Log),
        (_, "state") => Access::Needs(Grant::State),
        (_, "clock") => Access::Needs(Grant::Clock),
        (_, "random") => Access::Needs(Grant::Random),
        (_, "inference") => Access::Needs(Grant::Inference("MODEL".to_owned())),
        (_, "cloud") => Access::Needs(Grant::Cloud("TARGET".to_owned())),
        _ => Access::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Grant, World, access};

    #[test]
    fn every_import_has_one_answer() {
        for (import, expected) in [
            ("lockgate:plugin/request@0.1.0", Access::Free),
            ("lockgate:plugin/catalog@0.1.7", Access::Free),
            ("lockgate:plugin/log@0.1.0", Access::Needs(Grant::Log)),
            ("lockgate:plugin/log@0.2.0", Access::Unknown),
            ("lockgate:plugin/log@0.1.0-rc1", Access::Unknown),
            ("lockgate:plugin/log@0.10.0", Access::Unknown),
            ("lockgate:plugin/log", Access::Unknown),
            ("lockgate:plugin/cloud@0.1.0", Access::Needs(Grant::Cloud("TARGET".to_owned()))),
            ("lockgate:plugin/generation@0.1.0", Access::Free),
            ("lockgate:plugin/fog@0.1.0", Access::Unknown),
            ("lockgate:other/request@0.1.0", Access::Unknown),
            ("wasi:cli/environment@0.2.6", Access::Closed),
            ("my:own/thing@1.0.0", Access::Unknown),
        ] {
            assert_eq!(access(World::Router, import), expected, "{import}");
        }
    }

    #[test]
    fn each_world_has_its_own_imports() {
        for (world, interface, expected) in [
            (World::Router, "draft", Access::Unknown),
            (World::Router, "answer", Access::Unknown),
            (World::Preprocessor, "draft", Access::Free),
            (World::Preprocessor, "answer", Access::Free),
            (World::Preprocessor, "catalog", Access::Unknown),
            (World::Guard, "answer", Access::Free),
            (World::Guard, "draft", Access::Free),
            (World::Guard, "catalog", Access::Unknown),
            (World::Guard, "inference", Access::Needs(Grant::Inference("MODEL".to_owned()))),
            (World::Guard, "log", Access::Needs(Grant::Log)),
            (World::Guard, "state", Access::Needs(Grant::State)),
            (World::Preprocessor, "clock", Access::Needs(Grant::Clock)),
            (World::Router, "random", Access::Needs(Grant::Random)),
            (World::Preprocessor, "log", Access::Needs(Grant::Log)),
            (World::Adapter, "vocabulary", Access::Free),
            (World::Adapter, "adaptation", Access::Free),
            (World::Adapter, "log", Access::Needs(Grant::Log)),
            (World::Adapter, "clock", Access::Needs(Grant::Clock)),
            (World::Adapter, "generation", Access::Unknown),
            (World::Adapter, "inference", Access::Unknown),
            (World::Adapter, "cloud", Access::Unknown),
            (World::Adapter, "state", Access::Unknown),
            (World::Adapter, "draft", Access::Unknown),
            (World::Guard, "vocabulary", Access::Unknown),
        ] {
            let import = format!("lockgate:plugin/{interface}@0.1.0");
            assert_eq!(access(world, &import), expected, "{world}: {interface}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for world in World::ALL {
            assert_eq!(world.name().parse(), Ok(world));
        }
        for name in ["cloud:claude", "inference:qwen", "state", "clock", "random", "log"] {
            assert_eq!(name.parse::<Grant>().expect("it is a grant").to_string(), name);
        }
        for name in ["cloud:", "cloud", "network", "log:all", ""] {
            assert!(name.parse::<Grant>().is_err(), "{name}");
        }
        assert!("agent".parse::<World>().is_err());
    }
}
