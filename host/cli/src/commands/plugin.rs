//! `plugin check`: what a component is, what it would need, and what one call of it costs here. `plugin bindings` and
//! `plugin componentize`: what a policy in C needs beside its compiler.

mod c;
mod cost;

use std::path::Path;

use lockgate_sandbox::{Description, PluginSpec, Report, Sandbox, Weights, World};

use crate::args::PluginCommand;
use crate::assembly;
use crate::failure::Failure;
use crate::terminal;

pub(super) fn plugin(command: PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::Check { component } => check(&component),
        PluginCommand::Bindings { wit, world, out } => c::bindings(&wit, world.as_deref(), &out),
        PluginCommand::Componentize { module, out } => c::componentize(&module, &out),
    }
}

fn check(component: &Path) -> Result<(), Failure> {
    let sandbox = Sandbox::new(&assembly::sandbox_options(assembly::For::Serving))?;
    let report = sandbox.inspect(component)?;
    terminal::result(&facts(&report))?;
    if report.worlds.is_empty() {
        return Err(Failure::unusable(format!(
            "{}: it exports no hook of this host's worlds",
            component.display()
        )));
    }
    let spec = PluginSpec { id: id_of(component), grants: report.grants.clone(), ..PluginSpec::default() };
    let mut bases = Vec::new();
    for world in &report.worlds {
        // Loading finds what inspecting does not: whether every import and export has the right type.
        let cost = match world {
            World::Router => super::block_on(cost::of_router(&sandbox.load_file(component, spec.clone())?))?,
            World::Preprocessor => {
                super::block_on(cost::of_preprocessor(&sandbox.load_preprocessor(component, spec.clone())?))?
            }
            World::Guard => super::block_on(cost::of_guard(&sandbox.load_guard(component, spec.clone())?))?,
            World::Adapter => {
                let adapter = sandbox.load_adapter(component, spec.clone())?;
                terminal::result(&adapts(adapter.description()))?;
                bases.clone_from(&adapter.description().bases);
                super::block_on(cost::of_adapter(&adapter))?
            }
        };
        terminal::result(&format!("one call    {cost} ({world})"))?;
    }
    for world in &report.worlds {
        terminal::result(&block(component, &report, *world, bases.first()))?;
    }
    Ok(())
}

fn facts(report: &Report) -> String {
    let worlds: Vec<&str> = report.worlds.iter().map(|world| world.name()).collect();
    let worlds = if worlds.is_empty() { "none of this host's".to_owned() } else { worlds.join(" and ") };
    let version = report.version.as_deref().map_or(String::new(), |version| format!(" of version {version}"));
    let imports = match report.imports.as_slice() {
        [] => "none".to_owned(),
        imports => imports.join("\n            "),
    };
    format!(
        "world       {worlds}{version}\n\
         size        {} bytes, SHA-256 {}\n\
         loaded in {:.0} ms, compiled before or now\n\
         imports     {imports}",
        report.bytes,
        report.digest,
        report.compile_time.as_secs_f64() * 1e3
    )
}

/// What an adapter is.
fn adapts(description: &Description) -> String {
    let Description { bases, weights, template, system, steers, .. } = description;
    let weights = match weights {
        None => "the model's own weights".to_owned(),
        Some(Weights::Beside(name)) => format!("weights beside it: {}", name.display()),
        Some(Weights::Of(adapter)) => format!("weights of the adapter {adapter}"),
    };
    let parts = [("a template", template), ("a system message", system)];
    let own: String =
        parts.iter().filter(|(_, part)| part.is_some()).map(|(name, _)| format!(", {name}")).collect();
    let steers = match steers {
        None => "tokens as the model likes".to_owned(),
        Some(0) => "steers each token".to_owned(),
        Some(top) => format!("steers each token, seeing the {top} most likely"),
    };
    format!("adapter     of {}, {weights}{own}; {steers}", bases.join(" or "))
}

/// The block for a configuration file that loads exactly this component with exactly what it needs.
fn block(path: &Path, report: &Report, world: World, base: Option<&String>) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let grants: Vec<String> = report.grants.iter().map(|grant| text(&grant.to_string())).collect();
    let model = match (world, base) {
        (World::Adapter, Some(base)) => format!("\nmodel = {}", text(base)),
        _ => String::new(),
    };
    format!(
        "\n[[plugin]]\nid = {}\npath = {}\nworld = \"{world}\"{model}\nsha256 = \"{}\"\ngrants = [{}]",
        text(&id_of(path)),
        text(&path.display().to_string()),
        report.digest,
        grants.join(", ")
    )
}

fn id_of(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}
