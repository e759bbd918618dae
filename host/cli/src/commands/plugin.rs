//! `plugin check`: what a component is, what it would need, and what one call of it costs here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_api::{
    ChatRequest, Health, Labels, Locality, Message, PolicyError, Role, RouteInput, Router as _, Scope,
    Target, TargetFacts,
};
use lockgate_sandbox::{PluginSpec, Report, RouterPlugin, Sandbox, World};

use crate::args::PluginCommand;
use crate::assembly;
use crate::failure::Failure;
use crate::terminal;

/// Bytes of the prompt of the calls that are timed.
const PROMPT_BYTES: usize = 4 << 10;
/// Calls before those that are timed.
const WARM_UP_CALLS: usize = 50;
const CALLS: usize = 1000;
/// What all timed calls may take together.
const TIME_MAX: Duration = Duration::from_secs(5);
const SENTENCE: &str = "The committee met on Tuesday and asked whether the new library could open earlier. ";

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
        match world {
            World::Router => {
                let router = sandbox.load_file(&component, spec.clone())?;
                terminal::result(&format!("one call    {}", super::block_on(cost(&router))?))?;
            }
            World::Preprocessor => drop(sandbox.load_preprocessor(&component, spec.clone())?),
            World::Guard => drop(sandbox.load_guard(&component, spec.clone())?),
        }
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

/// The times of many calls, each with a fresh instance, in words.
async fn cost(router: &RouterPlugin) -> String {
    let input = input();
    let mut times = Vec::with_capacity(CALLS);
    let began = Instant::now();
    for call in 0..WARM_UP_CALLS + CALLS {
        // Labels and writes of one call are not the next one's.
        let input = RouteInput { scope: input.scope.shadow(), ..input.clone() };
        let start = Instant::now();
        match router.route(input).await {
            Ok(_) | Err(PolicyError::Refused { .. }) => {}
            Err(error) => return format!("failed on a plain request: {error}"),
        }
        if call >= WARM_UP_CALLS {
            times.push(start.elapsed());
        }
        if began.elapsed() > TIME_MAX && !times.is_empty() {
            break;
        }
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    format!(
        "{:.1} µs median, {:.1} µs at the 99th percentile, of {} calls with a prompt of {PROMPT_BYTES} bytes",
        at(0.5),
        at(0.99),
        times.len()
    )
}

/// A plain request in a small world: a model here and one in a cloud.
fn input() -> RouteInput {
    let prompt: String = SENTENCE.chars().cycle().take(PROMPT_BYTES).collect();
    let target = |id: &str, locality| TargetFacts {
        target: Arc::new(Target {
            id: id.to_owned(),
            model: id.to_owned(),
            locality,
            region: None,
            context_tokens: Some(8192),
            price: None,
            tools: true,
            images: false,
        }),
        health: Health::default(),
        permitted: true,
    };
    RouteInput {
        request_id: "check".into(),
        request: Arc::new(ChatRequest::new("auto", vec![Message::text(Role::User, prompt)])),
        labels: Arc::new(Labels::none()),
        catalog: [target("here", Locality::Local), target("cloud", Locality::Cloud)].into(),
        key: None,
        scope: Scope::new("check".into(), Arc::new(Labels::none()), None),
    }
}
