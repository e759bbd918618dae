//! The rules between a scenario file's parts: what is named exists, words are known, numbers make sense. All mistakes
//! are reported at once.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lockgate_api::{ChatRequest, Labels, Message, Role};
use lockgate_gateway::{Key, OnError};
use lockgate_problems::{Problems, nearest};
use lockgate_sandbox::{Fault, Grant, Limits, World as PluginWorld};
use serde::Deserialize as _;
use toml::Spanned;

use super::file::{self, File};
use super::{Decode, Policy, Scenario, Step, Suite};
use crate::world::{PlannedFault, World, tuned_id};

pub(super) fn check(path: &Path, text: &str, file: File, decode: &Decode) -> Result<Suite, Problems> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let ids = file.targets.iter().map(|target| target.id.get_ref().clone()).collect();
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place).collect();
    let problems = Problems::none(path);
    let mut checker = Checker { text, line_ends: ends, folder, problems, ids, plugins: Vec::new(), decode };
    let policy = checker.policy(&file);
    if policy.world == Some(PluginWorld::Adapter)
        && let Some(name) = crate::bench::name_of(&policy.path)
    {
        // Which of them there are the component says when it is loaded.
        let tuned: Vec<String> = checker.ids.iter().map(|base| tuned_id(base, &name)).collect();
        checker.ids.extend(tuned);
    }
    let chain: Vec<Policy> = file.chain.iter().filter_map(|link| checker.link(link)).collect();
    let plugins = std::iter::once(&policy).chain(&chain);
    checker.plugins = plugins.filter_map(|plugin| crate::bench::name_of(&plugin.path)).collect();
    let on_error = checker.on_error(file.on_error.as_ref());
    let targets = checker.targets(&file.targets);
    let replies = file.replies.iter().map(|reply| checker.reply(reply)).collect();
    let world = Arc::new(World { targets, replies });
    let names: Vec<&str> = file.scenarios.iter().map(|scenario| scenario.name.get_ref().as_str()).collect();
    for (place, scenario) in file.scenarios.iter().enumerate() {
        if names[..place].contains(&names[place]) {
            checker.problem(&scenario.name, format!("a second scenario `{}`", names[place]));
        }
    }
    for (place, property) in file.properties.iter().enumerate() {
        let name = property.name.get_ref();
        if file.properties[..place].iter().any(|other| other.name.get_ref() == name) {
            checker.problem(&property.name, format!("a second property `{name}`"));
        }
    }
    for fault in &file.faults {
        if let Some(named) = &fault.scenario
            && !names.contains(&named.get_ref().as_str())
        {
            checker.unknown(named, "scenario", names.iter().copied());
        }
    }
    let mut scenarios = Vec::with_capacity(file.scenarios.len());
    for scenario in &file.scenarios {
        scenarios.extend(checker.scenario(scenario, &file.faults));
    }
    let properties =
        file.properties.iter().filter_map(|property| checker.property(property, &file.faults)).collect();
    if scenarios.is_empty() && file.properties.is_empty() && checker.problems.is_empty() {
        checker.at(0..0, "it has no [[scenario]] and no [[property]]");
    }
    let suite = Suite { path: path.to_owned(), policy, chain, on_error, world, scenarios, properties };
    if checker.problems.is_empty() { Ok(suite) } else { Err(checker.problems) }
}

pub(super) struct Checker<'a> {
    text: &'a str,
    line_ends: Vec<usize>,
    folder: PathBuf,
    problems: Problems,
    /// Of targets.
    pub(super) ids: HashSet<String>,
    /// Of the policy and the chain around it.
    plugins: Vec<String>,
    decode: &'a Decode,
}

impl Checker<'_> {
    pub(super) fn problem<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.at(at.span(), message);
    }

    fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.add(self.text, span, message);
    }

    /// A mistake of something without a place of its own.
    pub(super) fn unplaced(&mut self, message: impl Into<String>) {
        self.at(0..0, message);
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, span: Range<usize>) -> usize {
        self.line_ends.partition_point(|&end| end < span.start) + 1
    }

    /// A name that is none.
    pub(super) fn unknown<'n>(
        &mut self,
        at: &Spanned<String>,
        what: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let name = at.get_ref().clone();
        let hint = match nearest(&name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "there is none".to_owned(),
            None => format!("use {}", known.join(", ")),
        };
        self.problem(at, format!("unknown {what} `{name}`: {hint}"));
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(
        &mut self,
        at: &Spanned<String>,
        what: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let found = words.iter().find(|(word, _)| word == at.get_ref()).map(|(_, value)| *value);
        if found.is_none() {
            self.unknown(at, what, words.iter().map(|(word, _)| *word));
        }
        found
    }

    pub(super) fn parsed<T: FromStr<Err: ToString>>(&mut self, at: &Spanned<String>) -> Option<T> {
        at.get_ref().parse().map_err(|error: T::Err| self.problem(at, error.to_string())).ok()
    }

    /// A target's id that exists.
    pub(super) fn target_id(&mut self, at: &Spanned<String>) -> Option<String> {
        if self.ids.contains(at.get_ref()) {
            return Some(at.get_ref().clone());
        }
        let mut known: Vec<String> = self.ids.iter().cloned().collect();
        known.sort();
        self.unknown(at, "target", known.iter().map(String::as_str));
        None
    }

    /// One text or several.
    pub(super) fn texts(&mut self, value: Option<&Spanned<toml::Value>>) -> Vec<String> {
        let Some(value) = value else { return Vec::new() };
        let texts = match value.get_ref() {
            toml::Value::String(text) => Some(vec![text.clone()]),
            toml::Value::Array(items) => {
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        texts.unwrap_or_else(|| {
            self.problem(value, "needs a text or a list of texts");
            Vec::new()
        })
    }

    pub(super) fn labels(&mut self, labels: &[Spanned<String>]) -> Labels {
        labels.iter().filter_map(|label| self.parsed(label)).collect()
    }

    fn policy(&mut self, file: &File) -> Policy {
        let world = match file.world.as_ref() {
            None => Some(PluginWorld::Router),
            Some(world) => {
                let all = PluginWorld::ALL.map(|world| (world.name(), world));
                self.word(world, "world", &all)
            }
        };
        let limits = self.limits(&file.limits, &file.policy);
        let grants = file.grants.iter().filter_map(|grant| self.grant(grant)).collect();
        Policy {
            path: self.folder.join(file.policy.get_ref()),
            world,
            settings: file.settings.clone(),
            grants: Some(grants),
            limits,
            place: self.problems.place_of(self.text, file.policy.span()),
        }
    }

    fn grant(&mut self, at: &Spanned<String>) -> Option<Grant> {
        let grant = self.parsed(at)?;
        if let Grant::Inference(id) | Grant::Cloud(id) = &grant
            && !self.ids.contains(id)
        {
            let mut known: Vec<String> = self.ids.iter().cloned().collect();
            known.sort();
            let hint = match nearest(id, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add a [[target]] with that id".to_owned(),
            };
            self.problem(at, format!("there is no target `{id}`: {hint}"));
        }
        Some(grant)
    }

    fn limits(&mut self, set: &file::Limits, at: &Spanned<PathBuf>) -> Limits {
        let defaults = Limits::default();
        let zero = [
            ("memory_mib", set.memory_mib),
            ("time_ms", set.time_ms),
            ("host_calls", set.host_calls),
            ("output_kib", set.output_kib),
            ("input_kib", set.input_kib),
            ("handles", set.handles),
            ("log_kib", set.log_kib),
            ("state_kib", set.state_kib),
        ];
        for (name, _) in zero.iter().filter(|(_, limit)| *limit == Some(0)) {
            self.problem(at, format!("limits.{name} is 0, which lets the plugin do nothing"));
        }
        if set.usd.is_some_and(|usd| !(usd.is_finite() && usd >= 0.0)) {
            self.problem(at, "limits.usd is an amount of USD, not negative");
        }
        let scaled = |value: Option<u32>, shift: u32, default: usize| {
            value.map_or(default, |value| (value as usize).saturating_mul(1 << shift))
        };
        let time = |value: Option<u32>, default| value.map_or(default, |ms| Duration::from_millis(ms.into()));
        Limits {
            memory_bytes_max: scaled(set.memory_mib, 20, defaults.memory_bytes_max),
            output_bytes_max: scaled(set.output_kib, 10, defaults.output_bytes_max),
            input_bytes_max: scaled(set.input_kib, 10, defaults.input_bytes_max),
            log_bytes_max: scaled(set.log_kib, 10, defaults.log_bytes_max),
            state_bytes_max: scaled(set.state_kib, 10, defaults.state_bytes_max),
            handles_max: scaled(set.handles, 0, defaults.handles_max),
            time_max: time(set.time_ms, defaults.time_max),
            wait_max: time(set.wait_ms, defaults.wait_max),
            host_calls_max: set.host_calls.map_or(defaults.host_calls_max, u64::from),
            tokens_max: set.tokens.unwrap_or(defaults.tokens_max),
            // Saturates at the type's bounds; nothing else was let through.
            nano_usd_max: set.usd.map_or(defaults.nano_usd_max, |usd| (usd * 1e9).round() as u64),
            ..defaults
        }
    }

    fn link(&mut self, value: &Spanned<toml::Value>) -> Option<Policy> {
        let link = match value.get_ref() {
            toml::Value::String(path) => {
                file::Link { path: path.into(), world: None, settings: Default::default(), grants: None }
            }
            table @ toml::Value::Table(_) => match file::Link::deserialize(table.clone()) {
                Ok(link) => link,
                Err(error) => {
                    self.problem(value, lockgate_problems::with_nearest_name(error.message()));
                    return None;
                }
            },
            _ => {
                self.problem(
                    value,
                    "a link of the chain is a component's path, or { path = …, settings = { … } }",
                );
                return None;
            }
        };
        let world = link.world.as_deref().map(PluginWorld::from_str).transpose();
        let grants = link.grants.map(|grants| grants.iter().map(|grant| grant.parse::<Grant>()).collect());
        let (world, grants) = match (world, grants.transpose()) {
            (Ok(world), Ok(grants)) => (world, grants),
            (Err(error), _) | (_, Err(error)) => {
                self.problem(value, error);
                return None;
            }
        };
        Some(Policy {
            path: self.folder.join(link.path),
            world,
            settings: link.settings,
            grants,
            limits: Limits::default(),
            place: self.problems.place_of(self.text, value.span()),
        })
    }

    fn on_error(&mut self, on_error: Option<&Spanned<String>>) -> OnError {
        let words = [("refuse", OnError::Refuse), ("first-target", OnError::FirstTarget)];
        on_error.and_then(|word| self.word(word, "value of on_error", &words)).unwrap_or_default()
    }

    /// The faults of the file, or of a scenario's own, that are put into this scenario; into a property's runs where
    /// there is none.
    pub(super) fn faults(
        &mut self,
        faults: &[file::Fault],
        scenario: Option<&str>,
        is_of_file: bool,
    ) -> Vec<PlannedFault> {
        let words = [("trap", Fault::Trap), ("limit", Fault::Limit), ("denial", Fault::Denial)];
        let is_here = |fault: &&file::Fault| {
            fault.scenario.as_ref().is_none_or(|named| Some(named.get_ref().as_str()) == scenario)
        };
        let mut planned = Vec::new();
        for fault in faults.iter().filter(is_here) {
            if *fault.at.get_ref() == 0 {
                self.problem(&fault.at, "calls of the host count from 1");
            }
            // Those of a scenario's own are not among them.
            let is_everywhere = is_of_file && fault.scenario.is_none();
            if let Some(kind) = self.word(&fault.kind, "fault", &words) {
                let plugin = fault.plugin.as_ref();
                if let Some(plugin) = plugin.filter(|plugin| !self.plugins.contains(plugin.get_ref())) {
                    let known = self.plugins.clone();
                    self.unknown(plugin, "plugin", known.iter().map(String::as_str));
                }
                planned.push(PlannedFault {
                    plugin: plugin.map(|plugin| plugin.get_ref().clone()),
                    at: *fault.at.get_ref(),
                    fault: kind,
                    line: self.line(fault.kind.span()),
                    is_everywhere,
                });
            }
        }
        planned
    }

    fn scenario(&mut self, scenario: &file::Scenario, faults: &[file::Fault]) -> Option<Scenario> {
        let name = scenario.name.get_ref().clone();
        let file::Scenario { request, prompt, labels, key, expect, .. } = scenario;
        let mut steps = vec![Step {
            request: self.request(&scenario.name, request.as_ref(), prompt.as_ref())?,
            labels: self.labels(labels),
            key: key.as_ref().map(key_of),
            wait: Duration::ZERO,
            expect: self.expect(expect),
        }];
        for step in &scenario.then {
            steps.push(Step {
                request: self.request(&scenario.name, step.request.as_ref(), step.prompt.as_ref())?,
                labels: self.labels(&step.labels),
                key: step.key.as_ref().map(key_of),
                wait: Duration::from_millis(step.wait_ms),
                expect: self.expect(&step.expect),
            });
        }
        let mut health = Vec::with_capacity(scenario.health.len());
        for (id, stated) in &scenario.health {
            let stated = self.health(stated);
            health.extend(self.target_id(id).map(|id| (id, stated)));
        }
        let mut planned = self.faults(faults, Some(&name), true);
        planned.extend(self.faults(&scenario.faults, Some(&name), false));
        Some(Scenario {
            line: self.line(scenario.name.span()),
            steps,
            own: scenario.replies.iter().map(|reply| self.reply(reply)).collect(),
            health,
            faults: planned,
            seed: scenario.seed.unwrap_or(0),
            name,
        })
    }

    /// A body of OpenAI's API, or a prompt alone.
    fn request(
        &mut self,
        name: &Spanned<String>,
        request: Option<&Spanned<toml::Value>>,
        prompt: Option<&Spanned<String>>,
    ) -> Option<ChatRequest> {
        let request = match (request, prompt) {
            (Some(request), None) => request,
            (None, Some(prompt)) => {
                let message = Message::text(Role::User, prompt.get_ref().clone());
                return Some(ChatRequest { stream: false, ..ChatRequest::new("auto", vec![message]) });
            }
            (Some(_), Some(prompt)) => {
                self.problem(prompt, "a scenario has a `request` or a `prompt`, not both");
                return None;
            }
            (None, None) => {
                self.problem(name, "it needs a `request`, the body of a chat completion, or a `prompt`");
                return None;
            }
        };
        let mut body = super::parts::json(request.get_ref());
        if let serde_json::Value::Object(fields) = &mut body
            && !fields.contains_key("model")
        {
            fields.insert("model".to_owned(), "auto".into());
        }
        match (self.decode)(body.to_string().as_bytes()) {
            Ok(request) => Some(request),
            Err(message) => {
                self.problem(request, format!("no chat completion: {message}"));
                None
            }
        }
    }
}

fn key_of(key: &file::Key) -> Arc<Key> {
    let tenant = key.tenant.as_deref().unwrap_or(&key.name).into();
    Arc::new(Key { name: key.name.as_str().into(), tenant, labels: Labels::none(), router: None })
}
