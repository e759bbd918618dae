//! The guest crate: write a Lockgate plugin in Rust, test it natively, compile it to a component.
//!
//! There are four kinds: a [`Router`] decides where a request goes (and, as a [`Reviewer`], whether an answer
//! was good enough), a [`Preprocessor`] changes it before
//! that, a [`Guard`] watches the answer. One component may be both of the latter, and then the guard reads
//! the note that the preprocessor kept. An [`Adapter`] is a model of its own, made of one on the host's machine.
//!
//! A policy is a type that implements [`Router`] over three traits, [`Request`], [`Catalog`] and
//! [`Settings`]. Compiled for `wasm32-wasip2`, [`export_router!`] ties them to the host's interfaces; in a
//! native test the same code runs against the plain data of [`testing`]. This crate decides nothing: what
//! each fact means and costs is said in the package `lockgate:plugin` (the folder `wit`).
//!
//! A complete router, its crate being of the type `cdylib` and `rlib`:
//!
//! ```
//! use lockgate_plugin::{Catalog, Locality, Plan, Refusal, Request, Router, Settings, targets};
//!
//! /// Short prompts go to this machine, long ones anywhere that is permitted.
//! struct ByLength;
//!
//! impl Router for ByLength {
//!     fn route(
//!         request: &impl Request,
//!         catalog: &impl Catalog,
//!         settings: &impl Settings,
//!     ) -> Result<Plan, Refusal> {
//!         let tokens_max = settings.number("tokens_max")?.unwrap_or(500.0);
//!         let short = request.estimate_tokens() as f64 <= tokens_max;
//!         let mut permitted: Vec<_> = targets(catalog).into_iter().filter(|t| t.permitted).collect();
//!         permitted.sort_by_key(|target| (target.locality == Locality::Local) != short);
//!         if permitted.is_empty() {
//!             return Err(Refusal::new("no target is permitted"));
//!         }
//!         let reason = if short { "a short prompt" } else { "a long prompt" };
//!         Ok(permitted.iter().fold(Plan::because(reason), |plan, target| plan.then(&target.id)))
//!     }
//! }
//!
//! lockgate_plugin::export_router!(ByLength);
//!
//! // And its test, without WebAssembly:
//! use lockgate_plugin::testing::{FakeCatalog, FakeRequest, FakeSettings, FakeTarget};
//!
//! let catalog = FakeCatalog::new([FakeTarget::cloud("claude"), FakeTarget::local("qwen")]);
//! let plan = ByLength::route(&FakeRequest::user("Hello"), &catalog, &FakeSettings::none()).unwrap();
//! assert_eq!(plan.targets(), ["qwen", "claude"]);
//! ```
//!
//! A complete guard:
//!
//! ```
//! use lockgate_plugin::{Answer, Guard, Kind, Refusal, Settings, Verdict};
//!
//! /// Stops an answer that says a word, also one that comes in parts.
//! struct NeverSay {
//!     word: String,
//!     end: String,
//! }
//!
//! impl Guard for NeverSay {
//!     fn watch(_: &impl Answer, settings: &impl Settings) -> Result<Self, Refusal> {
//!         let word = settings.get("word").filter(|word| !word.is_empty());
//!         let word = word.ok_or_else(|| Refusal::new("the guard needs the setting `word`"))?;
//!         Ok(Self { word, end: String::new() })
//!     }
//!
//!     fn on_chunk(&mut self, _: &Kind, text: &str) -> Verdict {
//!         self.end.push_str(text);
//!         if self.end.contains(&self.word) {
//!             return Verdict::Stop("the word was said".to_owned());
//!         }
//!         // As much as may be the beginning of the word stays here.
//!         let kept = self.end.ceil_char_boundary(self.end.len().saturating_sub(self.word.len() - 1));
//!         self.end.drain(..kept);
//!         Verdict::Hold(self.end.len() as u32)
//!     }
//! }
//!
//! lockgate_plugin::export_guard!(NeverSay);
//!
//! // And its test:
//! use lockgate_plugin::testing::{FakeAnswer, FakeSettings, watch_run};
//!
//! let settings = FakeSettings::none().with("word", "secret");
//! let mut guard = NeverSay::watch(&FakeAnswer::default(), &settings).unwrap();
//! let watched = watch_run(&mut guard, &Kind::Text, ["this is a sec", "ret"]);
//! assert_eq!((watched.text.as_str(), watched.stopped.is_some()), ("this is ", true));
//! ```
//!
//! A complete preprocessor:
//!
//! ```
//! use lockgate_plugin::{Draft, Place, Preprocessor, Refusal, Request as _, Settings};
//!
//! /// What mentions the project's name stays off the clouds, and so does a request with pictures.
//! struct Project;
//!
//! impl Preprocessor for Project {
//!     fn prepare(draft: &mut impl Draft, settings: &impl Settings) -> Result<(), Refusal> {
//!         let name = settings.get("name").unwrap_or_else(|| "zeppelin".to_owned());
//!         let mentions = draft.request().text(1 << 20).contains(&name);
//!         if mentions || draft.pieces().iter().any(|piece| matches!(piece.place, Place::Picture(_))) {
//!             draft.add_label("no-cloud");
//!         }
//!         Ok(())
//!     }
//! }
//!
//! lockgate_plugin::export_preprocessor!(Project);
//!
//! // And its test:
//! use lockgate_plugin::testing::{FakeDraft, FakeSettings};
//!
//! let mut draft = FakeDraft::user("How is zeppelin doing?");
//! Project::prepare(&mut draft, &FakeSettings::none()).unwrap();
//! assert_eq!(draft.request.labels, ["no-cloud"]);
//! ```
//!
//! A complete adapter:
//!
//! ```
//! use lockgate_plugin::{Adaptation, Adapter, Candidate, Chosen, Refusal, Request, Settings, Step, Vocabulary};
//!
//! /// Says `yes` or `no`, whichever the model thinks likelier.
//! struct YesOrNo {
//!     words: Vec<Vec<u32>>,
//!     ends: Vec<u32>,
//!     said: Vec<u32>,
//! }
//!
//! impl Adapter for YesOrNo {
//!     fn describe(_: &impl Settings) -> Adaptation {
//!         Adaptation::of("smollm2").system("Answer yes or no.").temperature(0.0).steering(0)
//!     }
//!
//!     fn steer(
//!         _: &impl Request,
//!         _: u32,
//!         vocabulary: &impl Vocabulary,
//!         _: &impl Settings,
//!     ) -> Result<Self, Refusal> {
//!         let words = ["yes", "no"].iter().filter_map(|word| vocabulary.tokens(word)).collect();
//!         Ok(Self { words, ends: vocabulary.ends(), said: Vec::new() })
//!     }
//!
//!     fn next(&mut self, chosen: Option<&Chosen>, _: &[Candidate], _: &impl Vocabulary) -> Step {
//!         self.said.extend(chosen.map(|chosen| chosen.token));
//!         let open = self.words.iter().filter_map(|word| word.strip_prefix(&*self.said)).flat_map(|rest| rest.first());
//!         let open: Vec<u32> = open.copied().collect();
//!         Step::only(if open.is_empty() { self.ends.clone() } else { open })
//!     }
//! }
//!
//! lockgate_plugin::export_adapter!(YesOrNo);
//!
//! // And its test:
//! use lockgate_plugin::testing::{FakeRequest, FakeSettings, FakeVocabulary, steer};
//!
//! let vocabulary = FakeVocabulary::new(["ye", "s", "maybe"]);
//! let request = FakeRequest::user("Is it?");
//! let mut adapter = YesOrNo::steer(&request, 0, &vocabulary, &FakeSettings::none()).unwrap();
//! let model = |_: &[u8]| vocabulary.tokens("maybe n").unwrap();
//! let generated = steer(&mut adapter, &vocabulary, 0, 10, model);
//! assert_eq!((generated.text.as_slice(), generated.ended), (b"no".as_slice(), true));
//! ```
#![deny(missing_docs)]

mod adapting;
mod answer;
mod asking;
pub mod clock;
mod draft;
mod facts;
pub mod log;
pub mod random;
mod reviewing;
pub mod state;
pub mod testing;
mod types;
mod watching;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;

pub use adapting::{Adaptation, Candidate, Chosen, Mask, Steering, Step, Vocabulary, Weights};
pub use answer::{Attempt, Plan, Refusal};
pub use asking::{AskError, Event, Generation, Likelihood, Prompt, cloud, inference};
pub use draft::{Draft, EditError, Piece, Place};
pub use facts::{Catalog, Message, Request, Settings, Target, able, targets};
pub use reviewing::{Finish, Outcome, Review};
pub use types::{Breaker, Locality, Price, Role, Want};
pub use watching::{Answer, Kind, Verdict};

/// Decides where a request goes.
pub trait Router {
    /// The targets to try, in order, or why the request must not be answered.
    ///
    /// Runs in a fresh instance for each request, or in one that the operator has kept (`reuse`) for the same tenant and
    /// labels: what must not be remembered is not to be left in memory, and what must be is for [`state`].
    ///
    /// # Errors
    /// The refusal, whose reason the client reads.
    fn route(
        request: &impl Request,
        catalog: &impl Catalog,
        settings: &impl Settings,
    ) -> Result<Plan, Refusal>;
}

/// A router that also judges answers before the client sees any of them: a cheap target first, a better one when
/// its answer is not good enough.
pub trait Reviewer: Router {
    /// What becomes of the answer to an attempt of [`Plan::then_reviewed`].
    ///
    /// Runs in a fresh instance. A failure refuses the request.
    fn review(request: &impl Request, outcome: &impl Outcome, settings: &impl Settings) -> Review;
}

/// Prepares a request before any router sees it.
pub trait Preprocessor {
    /// Changes the draft, adds labels to it, or refuses it.
    ///
    /// Runs in a fresh instance for each request, or in one that was kept, as for [`Router::route`]. A failure refuses
    /// the request.
    ///
    /// # Errors
    /// The refusal, whose reason the client reads.
    fn prepare(draft: &mut impl Draft, settings: &impl Settings) -> Result<(), Refusal>;
}

/// Watches one choice of an answer, in an instance that lives as long as the answer does.
pub trait Guard: Sized {
    /// Begins to watch, before the request is sent.
    ///
    /// # Errors
    /// The refusal, whose reason the client reads.
    fn watch(answer: &impl Answer, settings: &impl Settings) -> Result<Self, Refusal>;

    /// The next chunk of a run (chunks of one kind without another between them), or the first of a new one.
    fn on_chunk(&mut self, kind: &Kind, text: &str) -> Verdict;

    /// The run is over: what is held back must be decided about. Lets it through unless overridden.
    fn end_run(&mut self) -> Verdict {
        Verdict::Pass
    }

    /// The choice is over. [`Verdict::Replace`] adds text to the answer. Adds nothing unless overridden.
    fn finish(&mut self) -> Verdict {
        Verdict::Pass
    }
}

/// A model of its own, made of one on the host's machine: other weights, template and sampling, and a word about each
/// token. The type itself steers one choice of one answer, in an instance that lives as long as that choice does.
pub trait Adapter: Sized {
    /// What the adapter is. Called when the component is loaded.
    fn describe(settings: &impl Settings) -> Adaptation;

    /// Begins to steer, before the model is asked. Called only where [`Adaptation::steering`] is set.
    ///
    /// # Errors
    /// The refusal, whose reason the client reads.
    fn steer(
        request: &impl Request,
        choice: u32,
        vocabulary: &impl Vocabulary,
        settings: &impl Settings,
    ) -> Result<Self, Refusal>;

    /// What holds for the next token. `chosen` is the one before it, none at the answer's beginning; `top` the most
    /// likely ones, most likely first. Changes nothing unless overridden. A failure ends the answer with an error.
    fn next(&mut self, _chosen: Option<&Chosen>, _top: &[Candidate], _vocabulary: &impl Vocabulary) -> Step {
        Step::AsBefore
    }
}

/// Makes a type that implements [`Router`] the component's policy. Once a crate; natively it only checks
/// that the type is one.
#[macro_export]
macro_rules! export_router {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::guest::Hook<$policy>;
    $crate::guest::bindings::router::export!(Exported with_types_in $crate::guest::bindings::router);
        };
        const _: () = {
            const fn is_router<T: $crate::Router>() {}
            is_router::<$policy>()
        };
    };
}

/// Makes a type that implements [`Reviewer`] the component's policy. In the place of [`export_router!`].
#[macro_export]
macro_rules! export_reviewer {
    ($policy:ty) => {
        $crate::export_router!($policy);
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::guest::Hook<$policy>;
            $crate::guest::bindings::reviewer::export!(
                Exported with_types_in $crate::guest::bindings::reviewer
            );
        };
        const _: () = {
            const fn is_reviewer<T: $crate::Reviewer>() {}
            is_reviewer::<$policy>()
        };
    };
}

/// Makes a type that implements [`Preprocessor`] the component's. Once a crate; natively it only checks that
/// the type is one.
#[macro_export]
macro_rules! export_preprocessor {
    ($preprocessor:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::guest::Hook<$preprocessor>;
            $crate::guest::bindings::preprocessor::export!(
                Exported with_types_in $crate::guest::bindings::preprocessor
            );
        };
        const _: () = {
            const fn is_preprocessor<T: $crate::Preprocessor>() {}
            is_preprocessor::<$preprocessor>()
        };
    };
}

/// Makes a type that implements [`Guard`] the component's. Once a crate; natively it only checks that the
/// type is one.
#[macro_export]
macro_rules! export_guard {
    ($guard:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::guest::Hook<$guard>;
    $crate::guest::bindings::guard::export!(Exported with_types_in $crate::guest::bindings::guard);
        };
        const _: () = {
            const fn is_guard<T: $crate::Guard>() {}
            is_guard::<$guard>()
        };
    };
}

/// Makes a type that implements [`Adapter`] the component's. Once a crate; natively it only checks that the type is one.
#[macro_export]
macro_rules! export_adapter {
    ($adapter:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::guest::Hook<$adapter>;
    $crate::guest::bindings::adapter::export!(Exported with_types_in $crate::guest::bindings::adapter);
        };
        const _: () = {
            const fn is_adapter<T: $crate::Adapter>() {}
            is_adapter::<$adapter>()
        };
    };
}

#[cfg(test)]
mod tests;
