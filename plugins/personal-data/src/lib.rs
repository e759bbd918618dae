//! A preprocessor that labels what is personal: in whose text something personal is recognised, that request
//! gets the label `local-only` before any router sees it, also when its client names its model.
//!
//! It is the first half of `privacy-first`, for use with other routers and with named models. The whole text
//! is read (messages, tool results, tool definitions, whatever a target would receive), since a part that
//! nobody looked at leaks. Pictures cannot be read and count as personal. What is recognised is said in the
//! crate `lockgate-scan`.
//!
//! Settings, all optional:
//! - `label`, default `local-only`: what is added; `no-cloud` or `region:NAME` for another promise;
//! - `pictures`, `personal` (default) or `ignore`.

use lockgate_plugin::{Draft, Preprocessor, Refusal, Request as _, Settings, Want};
use lockgate_scan::window;

/// The preprocessor.
pub struct PersonalData;

impl Preprocessor for PersonalData {
    fn prepare(draft: &mut impl Draft, settings: &impl Settings) -> Result<(), Refusal> {
        let options = Options::read(settings)?;
        if is_personal(draft, &options) {
            draft.add_label(&options.label);
        }
        Ok(())
    }
}

fn is_personal(draft: &impl Draft, options: &Options) -> bool {
    let request = draft.request();
    if options.pictures_are_personal && request.wants().contains(&Want::Images) {
        return true;
    }
    let length = request.length();
    window::find(length, window::piece_bytes(length), |offset, limit| request.read(offset, limit)).is_some()
}

struct Options {
    label: String,
    pictures_are_personal: bool,
}

impl Options {
    /// A setting that does not exist, or has no sense, refuses every request: a filter whose operator meant
    /// something else must not let anything through.
    fn read(settings: &impl Settings) -> Result<Self, Refusal> {
        let mut options = Self { label: "local-only".to_owned(), pictures_are_personal: true };
        for (key, value) in settings.all() {
            match (key.as_str(), value.as_str()) {
                ("label", "local-only" | "no-cloud") => options.label = value,
                ("label", region) if region.starts_with("region:") => options.label = value,
                ("label", _) => return Err(unusable(&key, "local-only, no-cloud or region:NAME")),
                ("pictures", "personal") => options.pictures_are_personal = true,
                ("pictures", "ignore") => options.pictures_are_personal = false,
                ("pictures", _) => return Err(unusable(&key, "personal or ignore")),
                _ => {
                    let reason = format!(
                        "the preprocessor personal-data has no setting `{key}`: it has label, pictures"
                    );
                    return Err(Refusal::new(reason));
                }
            }
        }
        Ok(options)
    }
}

fn unusable(key: &str, expected: &str) -> Refusal {
    Refusal::new(format!("the setting `{key}` of the preprocessor personal-data must be {expected}"))
}

lockgate_plugin::export_preprocessor!(PersonalData);

#[cfg(test)]
mod tests;
