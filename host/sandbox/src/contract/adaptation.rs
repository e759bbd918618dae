//! The interface `adaptation`: how a component describes the adapter that it is.
//!
//! Nothing of it is believed: [`AdaptationDraft::check`] says what is wrong with it, or what it comes to.

use std::path::{Component, Path, PathBuf};

use lockgate_api::{HOOK_TOP_MAX, Sampling};
use wasmtime::component::Resource;

use super::bindings::adapter::lockgate::plugin::adaptation;
use super::shorten;
use crate::call::Call;

const BASES_MAX: usize = 16;
const ID_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 64 << 10;
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 256;

/// What an adapter's component makes of its base model.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Ids of the models that it may be attached to; at least one.
    pub bases: Vec<String>,
    /// Its weights, if it has any.
    pub weights: Option<Weights>,
    /// Multiplies what the weights' own file says; finite and not 0.
    pub scale: f32,
    /// A chat template in the place of the model's own.
    pub template: Option<String>,
    /// A system message for conversations that do not begin with one.
    pub system: Option<String>,
    /// What clients leave open, and stop strings; in range.
    pub sampling: Sampling,
    /// Whether it has a word about each token, and how many of the most likely ones it wants to see then.
    pub steers: Option<usize>,
}

/// Where an adapter's weights are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// A file or folder, relative to the component's own folder and below it.
    Beside(PathBuf),
    /// Those of a configured adapter of the same model.
    Of(String),
}

/// A description as the guest builds it.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct AdaptationDraft {
    bases: Vec<String>,
    weights: Option<Result<String, String>>,
    scale: f32,
    template: Option<String>,
    system: Option<String>,
    sampling: Sampling,
    top: Option<u32>,
    /// The first thing wrong with it that would be lost otherwise.
    problem: Option<String>,
}

impl adaptation::Host for Call {}

type Own = Resource<AdaptationDraft>;

impl Call {
    /// Counts a call that hands over so many bytes, and changes the description that it is about.
    fn set(
        &mut self,
        handle: &Own,
        bytes: usize,
        set: impl FnOnce(&mut AdaptationDraft),
    ) -> wasmtime::Result<()> {
        self.enter_with(bytes)?;
        set(self.adaptations.get_mut(handle)?);
        Ok(())
    }
}

impl adaptation::HostAdaptation for Call {
    fn new(&mut self) -> wasmtime::Result<Own> {
        self.enter()?;
        self.adaptations.insert(AdaptationDraft {
            bases: Vec::new(),
            weights: None,
            scale: 1.0,
            template: None,
            system: None,
            sampling: Sampling::default(),
            top: None,
            problem: None,
        })
    }

    fn add_base(&mut self, handle: Own, id: String) -> wasmtime::Result<()> {
        self.set(&handle, id.len(), |draft| match draft.bases.len() {
            BASES_MAX.. => draft.problem(|| format!("more than {BASES_MAX} base models")),
            _ => draft.bases.push(id),
        })
    }

    fn use_weights_beside(&mut self, handle: Own, name: String) -> wasmtime::Result<()> {
        self.set(&handle, name.len(), |draft| draft.weights = Some(Ok(name)))
    }

    fn use_weights_of(&mut self, handle: Own, adapter: String) -> wasmtime::Result<()> {
        self.set(&handle, adapter.len(), |draft| draft.weights = Some(Err(adapter)))
    }

    fn set_scale(&mut self, handle: Own, scale: f32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.scale = scale)
    }

    fn set_template(&mut self, handle: Own, jinja: String) -> wasmtime::Result<()> {
        self.set(&handle, jinja.len(), |draft| draft.template = Some(jinja))
    }

    fn set_system(&mut self, handle: Own, text: String) -> wasmtime::Result<()> {
        self.set(&handle, text.len(), |draft| draft.system = Some(text))
    }

    fn add_stop(&mut self, handle: Own, text: String) -> wasmtime::Result<()> {
        self.set(&handle, text.len(), |draft| match draft.sampling.stop.len() {
            STOPS_MAX.. => draft.problem(|| format!("more than {STOPS_MAX} stop strings")),
            _ => draft.sampling.stop.push(text),
        })
    }

    fn set_temperature(&mut self, handle: Own, temperature: f32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.sampling.temperature = Some(temperature))
    }

    fn set_top_k(&mut self, handle: Own, count: u32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.sampling.top_k = Some(count))
    }

    fn set_top_p(&mut self, handle: Own, share: f32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.sampling.top_p = Some(share))
    }

    fn set_min_p(&mut self, handle: Own, share: f32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.sampling.min_p = Some(share))
    }

    fn set_repetition_penalty(&mut self, handle: Own, factor: f32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.sampling.repetition_penalty = Some(factor))
    }

    fn set_max_tokens(&mut self, handle: Own, count: u32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.sampling.max_tokens = Some(count))
    }

    fn steer_tokens(&mut self, handle: Own, top: u32) -> wasmtime::Result<()> {
        self.set(&handle, 0, |draft| draft.top = Some(top))
    }

    fn drop(&mut self, handle: Own) -> wasmtime::Result<()> {
        self.adaptations.remove(&handle).map(drop)
    }
}

impl AdaptationDraft {
    fn problem(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }

    /// The description, if every part of it makes sense.
    ///
    /// # Errors
    /// In words, the first part that does not.
    pub(crate) fn check(self) -> Result<Description, String> {
        let Self { bases, weights, scale, template, system, sampling, top, problem } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
        if bases.is_empty() {
            return Err("it names no base model".to_owned());
        }
        if let Some(base) = bases.iter().find(|base| base.is_empty() || base.len() > ID_BYTES_MAX) {
            return Err(format!("`{}` is no model's id", shorten(base)));
        }
        let weights = match weights {
            None => None,
            Some(Ok(name)) => Some(Weights::Beside(below(&name)?)),
            Some(Err(id)) if id.is_empty() || id.len() > ID_BYTES_MAX => {
                return Err(format!("`{}` is no adapter's id", shorten(&id)));
            }
            Some(Err(id)) => Some(Weights::Of(id)),
        };
        if !scale.is_finite() || scale == 0.0 {
            return Err(format!("the scale {scale} is not a finite number other than 0"));
        }
        for (part, text) in [("the template", &template), ("the system message", &system)] {
            let length = text.as_ref().map_or(0, String::len);
            if length > TEXT_BYTES_MAX {
                return Err(format!("{part} has {length} bytes, at most {TEXT_BYTES_MAX} are allowed"));
            }
        }
        check_sampling(&sampling)?;
        let steers = match top.map(|top| top as usize) {
            Some(top) if top > HOOK_TOP_MAX => {
                return Err(format!("it wants to see {top} tokens, at most {HOOK_TOP_MAX} are shown"));
            }
            top => top,
        };
        Ok(Description { bases, weights, scale, template, system, sampling, steers })
    }
}

/// A path that stays below the folder that it is relative to.
fn below(name: &str) -> Result<PathBuf, String> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['\0', '\\']) || !plain {
        return Err(format!(
            "the weights `{}` are not beside the component: a relative path of plain names is needed",
            shorten(name)
        ));
    }
    Ok(path.to_owned())
}

fn check_sampling(sampling: &Sampling) -> Result<(), String> {
    let Sampling { temperature, top_p, min_p, repetition_penalty, stop, max_tokens, .. } = sampling;
    let tiny = f32::MIN_POSITIVE;
    for (name, value, low, high, words) in [
        ("temperature", temperature, 0.0, 2.0, "between 0 and 2"),
        ("top-p", top_p, tiny, 1.0, "above 0 and at most 1"),
        ("min-p", min_p, 0.0, 1.0, "between 0 and 1"),
        ("repetition-penalty", repetition_penalty, tiny, f32::MAX, "a finite number above 0"),
    ] {
        if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
            return Err(format!("{name}: {value} is not {words}"));
        }
    }
    if *max_tokens == Some(0) {
        return Err("max-tokens: an answer has at least 1".to_owned());
    }
    match stop.iter().map(String::len).find(|length| !(1..=STOP_BYTES_MAX).contains(length)) {
        Some(length) => Err(format!("a stop string has 1 to {STOP_BYTES_MAX} bytes, not {length}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{AdaptationDraft, Description, Sampling, Weights};

    fn draft() -> AdaptationDraft {
        AdaptationDraft {
            bases: vec!["smollm2".to_owned()],
            weights: None,
            scale: 1.0,
            template: None,
            system: None,
            sampling: Sampling::default(),
            top: None,
            problem: None,
        }
    }

    fn problem(draft: AdaptationDraft) -> String {
        draft.check().expect_err("it makes no sense")
    }

    #[test]
    fn what_makes_sense_is_kept() {
        let sampling =
            Sampling { temperature: Some(0.0), stop: vec!["\n".to_owned()], ..Sampling::default() };
        let draft = AdaptationDraft {
            weights: Some(Ok("triage/adapter".to_owned())),
            sampling: sampling.clone(),
            top: Some(256),
            ..draft()
        };
        let expected = Description {
            bases: vec!["smollm2".to_owned()],
            weights: Some(Weights::Beside("triage/adapter".into())),
            scale: 1.0,
            template: None,
            system: None,
            sampling,
            steers: Some(256),
        };
        assert_eq!(draft.check(), Ok(expected));
    }

    #[test]
    fn weights_are_never_anywhere_but_beside() {
        for name in
            ["", "..", "../a", "/etc/passwd", "a/../../b", "./a", ".", "a\\b", "a\0b", &"x".repeat(300)]
        {
            let told = problem(AdaptationDraft { weights: Some(Ok(name.to_owned())), ..draft() });
            assert!(told.contains("not beside the component"), "{name:?}: {told}");
        }
        let told = problem(AdaptationDraft { weights: Some(Err(String::new())), ..draft() });
        assert!(told.contains("no adapter's id"), "{told}");
    }

    #[test]
    fn every_part_is_checked() {
        let with = |sampling| AdaptationDraft { sampling, ..draft() };
        let none = Sampling::default;
        for (draft, words) in [
            (AdaptationDraft { bases: Vec::new(), ..draft() }, "names no base model"),
            (AdaptationDraft { bases: vec!["x".repeat(200)], ..draft() }, "is no model's id"),
            (AdaptationDraft { scale: f32::NAN, ..draft() }, "the scale NaN"),
            (AdaptationDraft { scale: 0.0, ..draft() }, "the scale 0"),
            (AdaptationDraft { template: Some("x".repeat(70_000)), ..draft() }, "the template has 70000"),
            (AdaptationDraft { system: Some("x".repeat(70_000)), ..draft() }, "the system message has 70000"),
            (AdaptationDraft { top: Some(257), ..draft() }, "257 tokens"),
            (AdaptationDraft { problem: Some("first".to_owned()), ..draft() }, "first"),
            (with(Sampling { temperature: Some(2.5), ..none() }), "temperature: 2.5"),
            (with(Sampling { top_p: Some(0.0), ..none() }), "top-p: 0"),
            (with(Sampling { min_p: Some(f32::NAN), ..none() }), "min-p: NaN"),
            (with(Sampling { repetition_penalty: Some(-1.0), ..none() }), "repetition-penalty: -1"),
            (with(Sampling { max_tokens: Some(0), ..none() }), "max-tokens"),
            (with(Sampling { stop: vec![String::new()], ..none() }), "stop string"),
        ] {
            let told = problem(draft);
            assert!(told.contains(words), "{told}");
        }
    }
}
