//! From a checked scenario file to loaded plugins: crates are built, filters serve with both halves.

use std::path::{Path, PathBuf};

use lockgate_plugin_build::{Lockfile, build_with};
use lockgate_sandbox::{Grant, PluginSpec, Report, Sandbox, World as PluginWorld};
use thiserror::Error;

use crate::chain::{Chain, PluginFile};
use crate::project::Project;
use crate::scenario::{Policy, Suite};

/// Why a scenario file cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct Unusable {
    /// `file:line:column`.
    pub place: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// A scenario file with its plugins loaded.
pub struct Loaded {
    /// The file.
    pub suite: Suite,
    /// Its plugins.
    pub chain: Chain,
    /// What was compiled or built, and made from.
    pub sources: Vec<PathBuf>,
    /// Things that are no mistakes and yet worth a word.
    pub notes: Vec<String>,
}

/// What becomes of a folder that a scenario file names, a crate or another project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crates {
    /// It is built: its commands and build scripts run as programs of this user.
    Built,
    /// It is refused: for files of somebody whose components may be run and nothing else.
    Refused,
}

/// What was read so far.
struct Sources {
    crates: Crates,
    files: Vec<PathBuf>,
}

/// Builds and loads what a scenario file names.
///
/// # Errors
/// The first plugin that cannot be built or loaded.
pub fn load(sandbox: &Sandbox, suite: Suite, crates: Crates) -> Result<Loaded, Unusable> {
    let mut sources = Sources { crates, files: Vec::new() };
    let mut around = Vec::new();
    for link in &suite.chain {
        let of_link = plugins(sandbox, link, &mut sources)?;
        if suite.policy.world == Some(PluginWorld::Router)
            && of_link.iter().any(|plugin| plugin.world == PluginWorld::Router)
        {
            let problem = "a second router: a chain has preprocessors and guards".to_owned();
            return Err(Unusable { place: link.place.clone(), problem });
        }
        around.extend(of_link.into_iter().map(|plugin| (plugin, link)));
    }
    let tested = plugins(sandbox, &suite.policy, &mut sources)?;
    // The chain is around it: its preprocessors come before, its guards behind.
    let (mut files, mut places) = (Vec::new(), Vec::new());
    let is_guard = |plugin: &PluginFile| plugin.world == PluginWorld::Guard;
    let (behind, before): (Vec<_>, Vec<_>) = around.into_iter().partition(|(plugin, _)| is_guard(plugin));
    let tested = tested.into_iter().map(|plugin| (plugin, &suite.policy));
    for (plugin, policy) in before.into_iter().chain(tested).chain(behind) {
        files.push(plugin);
        places.push(policy.place.clone());
    }
    let chain = Chain::load(sandbox, &files, suite.on_error)
        .map_err(|(place, error)| Unusable { place: places[place].clone(), problem: error.to_string() })?;
    for adapter in chain.adapters() {
        if suite.world.tuned(adapter).next().is_none() {
            let bases = adapter.description().bases.join("`, `");
            let problem = format!("it adapts `{bases}`, and no [[target]] has such an id: add one");
            return Err(Unusable { place: suite.policy.place.clone(), problem });
        }
    }
    let unused = chain.grants_unused().iter();
    let notes = unused
        .map(|(id, grant)| {
            format!("{}: `{id}` is granted `{grant}` and does not import it", suite.policy.place)
        })
        .collect();
    Ok(Loaded { suite, chain, sources: sources.files, notes })
}

/// The plugins that a policy of the file is: one, or the two halves of a filter.
fn plugins(sandbox: &Sandbox, policy: &Policy, sources: &mut Sources) -> Result<Vec<PluginFile>, Unusable> {
    let unusable = |problem: String| Unusable { place: policy.place.clone(), problem };
    let component = component(&policy.path, sources).map_err(unusable)?;
    let id = name_of(&policy.path).ok_or_else(|| unusable("its name is no text".to_owned()))?;
    let plugin = |world, settings: bool, grants: Vec<Grant>| PluginFile {
        path: component.clone(),
        world,
        spec: PluginSpec {
            id: id.clone(),
            grants,
            limits: policy.limits.clone(),
            settings: if settings { policy.settings.clone() } else { Default::default() },
            ..PluginSpec::default()
        },
    };
    if let (Some(PluginWorld::Router), Some(grants)) = (policy.world, &policy.grants) {
        return Ok(vec![plugin(PluginWorld::Router, true, grants.clone())]);
    }
    let report = sandbox.inspect(&component).map_err(|error| unusable(error.to_string()))?;
    let grants = policy.grants.clone().unwrap_or_else(|| harmless(&report));
    let halves = match policy.world {
        // Settings are for the half that is tested; the other half is there so that the filter works.
        Some(world) => {
            let other =
                if world == PluginWorld::Guard { PluginWorld::Preprocessor } else { PluginWorld::Guard };
            let is_filter = matches!(world, PluginWorld::Guard | PluginWorld::Preprocessor)
                && policy.grants.is_some()
                && report.worlds.contains(&other);
            let tested = plugin(world, true, grants.clone());
            let other = is_filter.then(|| plugin(other, false, grants));
            std::iter::once(tested).chain(other).collect()
        }
        None if report.worlds.is_empty() => {
            return Err(unusable("it exports no hook of this host's worlds".to_owned()));
        }
        None => {
            let first = report.worlds[0];
            report.worlds.iter().map(|&world| plugin(world, world == first, grants.clone())).collect()
        }
    };
    Ok(halves)
}

/// What a component imports and cannot do harm with in a simulation.
fn harmless(report: &Report) -> Vec<Grant> {
    let is_harmless = |grant: &&Grant| !matches!(grant, Grant::Cloud(_) | Grant::Inference(_));
    report.grants.iter().filter(is_harmless).cloned().collect()
}

/// The component's file: the one that is named, or what the named project or crate compiles to.
fn component(path: &Path, sources: &mut Sources) -> Result<PathBuf, String> {
    if !path.is_dir() {
        sources.files.push(path.to_owned());
        return Ok(path.to_owned());
    }
    if sources.crates == Crates::Refused {
        return Err("it names a folder, and nothing is built here: name a component".to_owned());
    }
    if let Some(project) = Project::read(path).map_err(|error| error.to_string())? {
        sources.files.extend(project.sources().map_err(|error| error.to_string())?);
        return project.build().map_err(|error| error.to_string());
    }
    let out = path.join("target");
    let built = build_with(path, &out, Lockfile::Changing).map_err(|error| error.to_string())?;
    sources.files.extend(built.sources);
    Ok(built.path)
}

/// The plugin's id: the name of its file or folder.
pub(crate) fn name_of(path: &Path) -> Option<String> {
    let full = if path.is_dir() { path.canonicalize().ok()? } else { path.to_owned() };
    Some(if full.is_dir() { full.file_name()? } else { full.file_stem()? }.to_str()?.to_owned())
}
