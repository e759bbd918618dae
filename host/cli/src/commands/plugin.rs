//! `plugin check`: what a component is, what it would need, and what one call of it costs here.

mod cost;

use std::path::Path;

use lockgate_sandbox::{PluginSpec, Report, Sandbox, World};

use crate::args::PluginCommand;
use crate::assembly;
use crate::failure::Failure;
use crate::terminal;

pub(super) fn plugin(command: PluginCommand) -> Result<(), Failure> {
    let PluginCommand::Check { component } = command;
    let sandbox = Sandbox::new(&assembly::sandbox_options())?;
    let report = sandbox.inspect(&component)?;
    terminal::result(&facts(&report))?;
    if report.worlds.is_empty() {
        return Err(Failure::unusable(format!(
            "{}: it exports no hook of this host's worlds",
            component.display()
        )));
    }
    let spec = PluginSpec { id: id_of(&component), grants: report.grants.clone(), ..PluginSpec::default() };
    for world in &report.worlds {
        // Loading finds what inspecting does not: whether every import and export has the right type.
        let cost = match world {
            World::Router => super::block_on(cost::of_router(&sandbox.load_file(&component, spec.clone())?))?,
            World::Preprocessor => {
                super::block_on(cost::of_preprocessor(&sandbox.load_preprocessor(&component, spec.clone())?))?
            }
            World::Guard => super::block_on(cost::of_guard(&sandbox.load_guard(&component, spec.clone())?))?,
        };
        terminal::result(&format!("one call    {cost} ({world})"))?;
    }
    for world in &report.worlds {
        terminal::result(&block(&component, &report, *world))?;
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

/// The block for a configuration file that loads exactly this component with exactly what it needs.
fn block(path: &Path, report: &Report, world: World) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let grants: Vec<String> = report.grants.iter().map(|grant| text(&grant.to_string())).collect();
    format!(
        "\n[[plugin]]\nid = {}\npath = {}\nworld = \"{world}\"\nsha256 = \"{}\"\ngrants = [{}]",
        text(&id_of(path)),
        text(&path.display().to_string()),
        report.digest,
        grants.join(", ")
    )
}

fn id_of(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}
