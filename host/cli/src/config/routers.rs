//! The rules for routers: those that are obeyed, in the file's order, and beside each its canary and its shadows.

use std::collections::HashSet;

use super::check::Checker;
use super::file::{Key, Mode, Plugin, World};
use super::{CanaryConfig, PluginConfig, RouterConfig};
use lockgate_problems::nearest;

/// The router that decides where the file configures none. `plugins/privacy-first`, carried by the binary.
pub(crate) const BUILT_IN_ROUTER: &str = "privacy-first";

impl RouterConfig {
    /// A router alone.
    pub(crate) fn of(plugin: PluginConfig) -> Self {
        Self { plugin: Some(plugin), canary: None, shadows: Vec::new() }
    }

    /// The policy that the binary carries.
    pub(crate) fn built_in() -> Self {
        Self { plugin: None, canary: None, shadows: Vec::new() }
    }

    /// By which keys and clients name it.
    pub(crate) fn id(&self) -> &str {
        self.plugin.as_ref().map_or(BUILT_IN_ROUTER, |plugin| plugin.id.as_str())
    }

    /// All components of it.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &PluginConfig> {
        let canary = self.canary.iter().map(|canary| &canary.plugin);
        self.plugin.iter().chain(canary).chain(&self.shadows)
    }
}

impl Checker<'_> {
    /// Puts the routers together; at least one comes out.
    pub(super) fn routers(&mut self, plugins: Vec<(&Plugin, PluginConfig)>) -> Vec<RouterConfig> {
        let mode = |plugin: &Plugin| plugin.mode.as_ref().map_or(Mode::Active, |mode| *mode.get_ref());
        let (active, tried): (Vec<_>, Vec<_>) =
            plugins.into_iter().partition(|(plugin, _)| mode(plugin) == Mode::Active);
        let mut routers: Vec<RouterConfig> = Vec::new();
        for (plugin, config) in active {
            if let Some(of) = &plugin.of {
                self.problem(
                    of,
                    "`of` is for a canary or a shadow: add mode = \"canary\" or mode = \"shadow\"",
                );
            }
            if let Some(share) = &plugin.share {
                self.problem(share, "`share` is for a canary: add mode = \"canary\"");
            }
            routers.push(RouterConfig::of(config));
        }
        if routers.is_empty() {
            routers.push(RouterConfig::built_in());
        }
        for (plugin, config) in tried {
            let Some(place) = self.place_of_old(plugin, &routers) else { continue };
            let router = &mut routers[place];
            if mode(plugin) == Mode::Shadow {
                if let Some(share) = &plugin.share {
                    self.problem(share, "a shadow sees every request: `share` is for a canary");
                }
                router.shadows.push(config);
                continue;
            }
            let share = plugin.share.as_ref().map(|share| *share.get_ref());
            match (share, &plugin.share) {
                (Some(share), Some(at)) if !(share > 0.0 && share <= 1.0) => {
                    self.problem(at, "`share` is more than 0 and at most 1, such as 0.05");
                }
                (None, _) => {
                    self.problem(&plugin.id, "a canary needs share = 0.05, its part of the requests")
                }
                _ => {}
            }
            if router.canary.is_some() {
                let old = router.id().to_owned();
                self.problem(&plugin.id, format!("a second canary of the router `{old}`"));
            }
            router.canary = Some(CanaryConfig { plugin: config, share: share.unwrap_or(1.0) });
        }
        routers
    }

    /// Which router a canary or shadow is tried beside: the named one, or the first.
    fn place_of_old(&mut self, plugin: &Plugin, routers: &[RouterConfig]) -> Option<usize> {
        let Some(of) = &plugin.of else { return Some(0) };
        let place = routers.iter().position(|router| router.id() == of.get_ref());
        if place.is_none() {
            self.no_router(of, routers);
        }
        place
    }

    fn no_router(&mut self, at: &toml::Spanned<String>, routers: &[RouterConfig]) {
        let known = || routers.iter().map(RouterConfig::id);
        let hint = match nearest(at.get_ref(), known()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there is {}", known().collect::<Vec<_>>().join(", ")),
        };
        self.problem(at, format!("there is no router `{}` that is obeyed: {hint}", at.get_ref()));
    }

    /// A key's router is one that is obeyed.
    pub(super) fn key_routers(&mut self, keys: &[Key], routers: &[RouterConfig]) {
        let known: HashSet<&str> = routers.iter().map(RouterConfig::id).collect();
        for router in keys.iter().filter_map(|key| key.router.as_ref()) {
            if !known.contains(router.get_ref().as_str()) {
                self.no_router(router, routers);
            }
        }
    }

    /// What is only for routers.
    pub(super) fn not_a_router(&mut self, plugin: &Plugin) {
        if *plugin.world.get_ref() == World::Router {
            return;
        }
        let problem = "only a router can be a canary or a shadow";
        match (&plugin.mode, &plugin.of, &plugin.share) {
            (Some(mode), ..) => self.problem(mode, problem),
            (_, Some(of), _) => self.problem(of, problem),
            (_, _, Some(share)) => self.problem(share, problem),
            (None, None, None) => {}
        }
    }
}
