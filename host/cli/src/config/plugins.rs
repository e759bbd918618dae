//! The rules for `[[plugin]]` entries: routers (`routers` tells them apart), preprocessors and guards in the file's order,
//! adapters of models that exist, and one component for two entries only where they are two halves of one plugin.

use std::str::FromStr;

use lockgate_sandbox::Pin;

use toml::Spanned;

use super::check::Checker;
use super::file::{File, OnError, Plugin, World};
use super::{ComponentConfig, PluginConfig, RouterConfig};

/// The most calls that one instance serves: what it leaks ends some day.
const REUSE_MAX: u32 = 1_000_000;

/// By what they do.
pub(super) struct Plugins {
    pub(super) routers: Vec<RouterConfig>,
    pub(super) preprocessors: Vec<PluginConfig>,
    pub(super) guards: Vec<PluginConfig>,
    pub(super) components: Vec<ComponentConfig>,
}

impl Checker<'_> {
    /// Checks every entry by itself and against those before it.
    pub(super) fn plugins(&mut self, file: &File) -> Plugins {
        let (mut routers, mut preprocessors, mut guards) = (Vec::new(), Vec::new(), Vec::new());
        let mut components = Vec::new();
        for (number, plugin) in file.plugins.iter().enumerate() {
            let config = self.plugin(plugin);
            self.plugin_id(plugin, &file.plugins[..number]);
            self.not_a_router(plugin);
            let model = self.plugin_model(plugin, file);
            match plugin.world.get_ref() {
                World::Router => routers.push((plugin, config)),
                World::Preprocessor => preprocessors.push(config),
                World::Guard => guards.push(config),
                World::Adapter => components.extend(model.map(|model| ComponentConfig {
                    plugin: config,
                    model: model.get_ref().clone(),
                    place: self.place_of(&plugin.path),
                    model_place: self.place_of(model),
                })),
            }
        }
        Plugins { routers: self.routers(routers), preprocessors, guards, components }
    }

    /// The model of an adapter, which no other plugin has.
    fn plugin_model<'a>(&mut self, plugin: &'a Plugin, file: &File) -> Option<&'a Spanned<String>> {
        match (plugin.world.get_ref(), &plugin.model) {
            (World::Adapter, Some(model)) => self.model_of(model, file),
            (World::Adapter, None) => self.problem(
                &plugin.id,
                "an adapter needs model = \"…\", the id of the [[model]] that it is attached to",
            ),
            (_, Some(model)) => self.problem(model, "`model` is for an adapter: the other worlds have none"),
            (_, None) => {}
        }
        plugin.model.as_ref()
    }

    /// Adapters are targets, whose ids are unique. Behind models, adapters and targets.
    pub(super) fn component_ids(&mut self, file: &File) {
        for plugin in &file.plugins {
            if let Some(id) = plugin.target_id() {
                self.adapter_id(&plugin.id, id);
            }
        }
    }

    /// An id may come twice: for a preprocessor and a guard, in either order, that are one component.
    fn plugin_id(&mut self, plugin: &Plugin, before: &[Plugin]) {
        let worlds = |other: &&Plugin| (*other.world.get_ref(), *plugin.world.get_ref());
        let same: Vec<&Plugin> =
            before.iter().filter(|other| other.id.get_ref() == plugin.id.get_ref()).collect();
        let id = plugin.id.get_ref();
        if id == "direct" {
            self.problem(&plugin.id, "`direct` stands for no policy in answers and cannot be an id");
        }
        match same.as_slice() {
            [] => {}
            [other]
                if matches!(
                    worlds(other),
                    (World::Preprocessor, World::Guard) | (World::Guard, World::Preprocessor)
                ) =>
            {
                if other.path.get_ref() != plugin.path.get_ref() {
                    self.problem(
                        &plugin.path,
                        format!("a preprocessor and a guard `{id}` are two halves of one plugin: their path must be the same"),
                    );
                }
            }
            _ => self.problem(
                &plugin.id,
                format!("a second plugin `{id}`: only a preprocessor and a guard, of the same path, may share an id"),
            ),
        }
    }

    /// A value whose type knows its form.
    fn parsed<T: FromStr<Err = String>>(&mut self, text: Option<&Spanned<String>>) -> Option<T> {
        let text = text?;
        text.get_ref().parse().map_err(|message: String| self.problem(text, message)).ok()
    }

    fn plugin(&mut self, plugin: &Plugin) -> PluginConfig {
        self.id_form(&plugin.id);
        let path = self.folder.join(plugin.path.get_ref());
        if !path.is_file() {
            self.problem(&plugin.path, format!("there is no component {}", path.display()));
        }
        let on_error = plugin.on_error.as_ref().map_or(OnError::default(), |on_error| *on_error.get_ref());
        if let (World::Preprocessor | World::Guard | World::Adapter, Some(spanned), OnError::FirstTarget) =
            (plugin.world.get_ref(), &plugin.on_error, on_error)
        {
            self.problem(
                spanned,
                "a preprocessor, guard or adapter that fails always refuses: `first-target` is for the router",
            );
        }
        let reuse = self.reuse(plugin);
        let limits = plugin.limits;
        let zero = [
            ("memory_mib", limits.memory_mib),
            ("time_ms", limits.time_ms),
            ("generation_ms", limits.generation_ms),
            ("host_calls", limits.host_calls),
            ("output_kib", limits.output_kib),
            ("input_kib", limits.input_kib),
            ("handles", limits.handles),
            ("log_kib", limits.log_kib),
            ("state_kib", limits.state_kib),
        ];
        for (name, _) in zero.iter().filter(|(_, limit)| *limit == Some(0)) {
            self.problem(&plugin.id, format!("limits.{name} is 0, which lets the plugin do nothing"));
        }
        if limits.usd.is_some_and(|usd| !(usd.is_finite() && usd >= 0.0)) {
            self.problem(&plugin.id, "limits.usd is an amount of USD, not negative");
        }
        PluginConfig {
            id: plugin.id.get_ref().clone(),
            path,
            pin: Pin {
                digest: self.parsed(plugin.sha256.as_ref()),
                signer: self.parsed(plugin.signer.as_ref()),
            },
            grants: plugin.grants.iter().map(|grant| grant.get_ref().clone()).collect(),
            on_error,
            limits,
            reuse,
            settings: plugin.settings.clone(),
            place: self.place_of(&plugin.path),
        }
    }

    /// Calls that one instance serves.
    fn reuse(&mut self, plugin: &Plugin) -> u32 {
        let Some(spanned) = &plugin.reuse else { return 1 };
        let reuse = *spanned.get_ref();
        match plugin.world.get_ref() {
            World::Router | World::Preprocessor if (1..=REUSE_MAX).contains(&reuse) => {}
            World::Router | World::Preprocessor => self.problem(
                spanned,
                format!("`reuse` is the calls that one instance serves: from 1, a fresh one each time, to {REUSE_MAX}"),
            ),
            World::Guard | World::Adapter => self.problem(
                spanned,
                "`reuse` is for routers and preprocessors: a guard or adapter has an instance of its own for each answer",
            ),
        }
        reuse
    }
}
