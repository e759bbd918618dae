//! The rules for grants that name somebody to ask: that one exists, is where the grant says, and is not asked by a
//! preprocessor ahead of another, which may add a label that forbids it.

use std::str::FromStr;

use lockgate_api::Locality;
use lockgate_sandbox::Grant;
use toml::Spanned;

use super::check::Checker;
use super::file::{File, Plugin, ProviderKind, World};
use lockgate_problems::nearest;

impl Checker<'_> {
    /// Checks every grant against what the file has.
    pub(super) fn grants(&mut self, file: &File) {
        for (number, plugin) in file.plugins.iter().enumerate() {
            let mut behind = file.plugins[number + 1..].iter();
            let next = behind.find(|other| *other.world.get_ref() == World::Preprocessor);
            for grant in &plugin.grants {
                match grant.get_ref().parse::<Grant>() {
                    Ok(Grant::Inference(name)) => self.grant_of(file, grant, &name, true),
                    Ok(Grant::Cloud(name)) => {
                        self.grant_of(file, grant, &name, false);
                        self.grant_ahead(plugin, grant, &name, next);
                    }
                    Ok(Grant::State | Grant::Clock | Grant::Random | Grant::Log) => {}
                    Err(message) => self.problem(grant, message),
                }
            }
        }
    }

    fn grant_of(&mut self, file: &File, grant: &Spanned<String>, name: &str, is_for_here: bool) {
        let Some(locality) = locality(file, name) else {
            let known = file.models.iter().map(|model| model.id.get_ref().clone());
            let adapted = file.adapters.iter().map(|adapter| adapter.target_id());
            let components = file.plugins.iter().filter_map(Plugin::target_id);
            let targets = file.targets.iter().map(|target| target.id.get_ref().clone());
            let all: Vec<String> = known.chain(adapted).chain(components).chain(targets).collect();
            let hint = match nearest(name, all.iter().map(String::as_str)) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => "; add a [[model]] or a [[target]] with that id".to_owned(),
            };
            self.problem(grant, format!("there is no model or target `{name}`{hint}"));
            return;
        };
        match (is_for_here, locality == Locality::Local) {
            (true, false) => self.problem(
                grant,
                format!(
                    "`{name}` is not on this machine (its locality is {locality}): it needs \"cloud:{name}\""
                ),
            ),
            (false, true) => {
                self.problem(grant, format!("`{name}` is on this machine: it needs \"inference:{name}\""))
            }
            _ => {}
        }
    }

    fn grant_ahead(&mut self, plugin: &Plugin, grant: &Spanned<String>, name: &str, next: Option<&Plugin>) {
        if let (World::Preprocessor, Some(next)) = (plugin.world.get_ref(), next) {
            let next = next.id.get_ref();
            self.problem(
                grant,
                format!(
                    "this preprocessor could ask `{name}` before the preprocessor `{next}` adds a label that \
                     forbids it: move it behind `{next}`, or take the grant away"
                ),
            );
        }
    }
}

/// Where a target of this id is, if there is one and its provider says.
fn locality(file: &File, id: &str) -> Option<Locality> {
    let is_model = file.models.iter().any(|model| model.id.get_ref() == id);
    let is_component = file.plugins.iter().any(|plugin| plugin.target_id().as_deref() == Some(id));
    if is_model || is_component || file.adapters.iter().any(|adapter| adapter.target_id() == id) {
        return Some(Locality::Local);
    }
    let target = file.targets.iter().find(|target| target.id.get_ref() == id)?;
    let provider = file.providers.iter().find(|provider| provider.id.get_ref() == target.provider.get_ref());
    // A provider that is missing, or does not say where it is, is a mistake that is told by itself.
    let declared = provider.and_then(|provider| match provider.kind.get_ref() {
        ProviderKind::Bedrock => Some(Locality::Cloud),
        ProviderKind::OpenaiCompatible => Locality::from_str(provider.locality.as_ref()?.get_ref()).ok(),
    });
    Some(declared.unwrap_or(Locality::Cloud))
}
