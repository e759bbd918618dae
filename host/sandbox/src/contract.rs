//! The package `lockgate:plugin@0.1`, host side: the generated types and the functions behind them.
//!
//! Each file here answers one interface from a [`Call`]'s facts and translates types, no more. What a call
//! may use is counted where every function passes, in [`Call::enter`]; grants were checked when the
//! component was loaded, by what it was linked to, and those that name somebody are checked at each call in
//! `asking`.

mod adaptation;
mod ambient;
mod answer;
mod asking;
mod catalog;
mod draft;
mod generation;
mod outcome;
mod plan;
mod recorded;
mod request;
mod rest;
mod state;
mod vocabulary;

use wasmtime::component::{HasSelf, Linker};

use crate::call::Call;
use crate::grant::{Grant, World};

pub(crate) use plan::REASON_BYTES_MAX;
pub(crate) use recorded::digest;
#[allow(unreachable_pub, reason = "the generated bindings name them in their own public items")]
pub use {
    adaptation::{AdaptationDraft, Description, Weights},
    answer::AnswerHandle,
    draft::DraftHandle,
    generation::{Generation, Prompt},
    outcome::OutcomeHandle,
    plan::{Draft, Refused},
    request::{MessageHandle, RequestHandle},
};

/// One module a world. What worlds share is generated once, for the router.
pub(crate) mod bindings {
    #![allow(missing_docs, reason = "generated from the folder wit, which documents each item")]

    pub(crate) mod router {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: "router",
            imports: {
                default: trappable,
                "lockgate:plugin/generation.[method]generation.next": async | trappable,
                "lockgate:plugin/inference.generate": async | trappable,
                "lockgate:plugin/inference.choose": async | trappable,
                "lockgate:plugin/inference.embed": async | trappable,
                "lockgate:plugin/inference.count-tokens": async | trappable,
                "lockgate:plugin/cloud.generate": async | trappable,
                "lockgate:plugin/cloud.embed": async | trappable,
            },
            exports: { default: async },
            additional_derives: [serde::Serialize, serde::Deserialize],
            with: {
                "lockgate:plugin/generation.prompt": crate::contract::Prompt,
                "lockgate:plugin/generation.generation": crate::contract::Generation,
                "lockgate:plugin/request.request": crate::contract::RequestHandle,
                "lockgate:plugin/request.message": crate::contract::MessageHandle,
                "lockgate:plugin/plan.plan": crate::contract::Draft,
                "lockgate:plugin/plan.refusal": crate::contract::Refused,
            },
        });
    }

    pub(crate) mod reviewer {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: "reviewer",
            imports: { default: trappable },
            exports: { default: async },
            with: {
                "lockgate:plugin/types": super::router::lockgate::plugin::types,
                "lockgate:plugin/request": super::router::lockgate::plugin::request,
                "lockgate:plugin/catalog": super::router::lockgate::plugin::catalog,
                "lockgate:plugin/settings": super::router::lockgate::plugin::settings,
                "lockgate:plugin/log": super::router::lockgate::plugin::log,
                "lockgate:plugin/state": super::router::lockgate::plugin::state,
                "lockgate:plugin/clock": super::router::lockgate::plugin::clock,
                "lockgate:plugin/random": super::router::lockgate::plugin::random,
                "lockgate:plugin/generation": super::router::lockgate::plugin::generation,
                "lockgate:plugin/inference": super::router::lockgate::plugin::inference,
                "lockgate:plugin/cloud": super::router::lockgate::plugin::cloud,
                "lockgate:plugin/outcome.outcome": crate::contract::OutcomeHandle,
            },
        });
    }

    pub(crate) mod preprocessor {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: "preprocessor",
            imports: { default: trappable },
            exports: { default: async },
            with: {
                "lockgate:plugin/types": super::router::lockgate::plugin::types,
                "lockgate:plugin/request": super::router::lockgate::plugin::request,
                "lockgate:plugin/plan": super::router::lockgate::plugin::plan,
                "lockgate:plugin/settings": super::router::lockgate::plugin::settings,
                "lockgate:plugin/log": super::router::lockgate::plugin::log,
                "lockgate:plugin/state": super::router::lockgate::plugin::state,
                "lockgate:plugin/clock": super::router::lockgate::plugin::clock,
                "lockgate:plugin/random": super::router::lockgate::plugin::random,
                "lockgate:plugin/generation": super::router::lockgate::plugin::generation,
                "lockgate:plugin/inference": super::router::lockgate::plugin::inference,
                "lockgate:plugin/cloud": super::router::lockgate::plugin::cloud,
                "lockgate:plugin/draft.draft": crate::contract::DraftHandle,
            },
        });
    }

    pub(crate) mod adapter {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: "adapter",
            imports: { default: trappable },
            exports: { default: async },
            with: {
                "lockgate:plugin/types": super::router::lockgate::plugin::types,
                "lockgate:plugin/request": super::router::lockgate::plugin::request,
                "lockgate:plugin/plan": super::router::lockgate::plugin::plan,
                "lockgate:plugin/settings": super::router::lockgate::plugin::settings,
                "lockgate:plugin/log": super::router::lockgate::plugin::log,
                "lockgate:plugin/clock": super::router::lockgate::plugin::clock,
                "lockgate:plugin/random": super::router::lockgate::plugin::random,
                "lockgate:plugin/adaptation.adaptation": crate::contract::AdaptationDraft,
            },
        });
    }

    pub(crate) mod guard {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: "guard",
            imports: { default: trappable },
            exports: { default: async },
            with: {
                "lockgate:plugin/types": super::router::lockgate::plugin::types,
                "lockgate:plugin/request": super::router::lockgate::plugin::request,
                "lockgate:plugin/plan": super::router::lockgate::plugin::plan,
                "lockgate:plugin/settings": super::router::lockgate::plugin::settings,
                "lockgate:plugin/log": super::router::lockgate::plugin::log,
                "lockgate:plugin/state": super::router::lockgate::plugin::state,
                "lockgate:plugin/clock": super::router::lockgate::plugin::clock,
                "lockgate:plugin/random": super::router::lockgate::plugin::random,
                "lockgate:plugin/generation": super::router::lockgate::plugin::generation,
                "lockgate:plugin/inference": super::router::lockgate::plugin::inference,
                "lockgate:plugin/cloud": super::router::lockgate::plugin::cloud,
                "lockgate:plugin/answer.answer": crate::contract::AnswerHandle,
            },
        });
    }
}

/// Defines what every component of the world has, and what this one is granted beyond that. The two halves
/// of a filter are linked alike: each loads a component that imports what the other half uses.
pub(crate) fn link(linker: &mut Linker<Call>, world: World, grants: &[Grant]) -> wasmtime::Result<()> {
    use bindings::adapter::lockgate::plugin as adapter;
    use bindings::guard::lockgate::plugin as guard;
    use bindings::preprocessor::lockgate::plugin as preprocessor;
    use bindings::reviewer::lockgate::plugin as reviewer;
    use bindings::router::lockgate::plugin as own;
    own::types::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    own::request::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    own::plan::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    own::settings::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    match world {
        World::Router => {
            own::catalog::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
            reviewer::outcome::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
        }
        World::Preprocessor | World::Guard => {
            preprocessor::draft::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
            guard::answer::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
        }
        World::Adapter => {
            adapter::adaptation::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
            adapter::vocabulary::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
        }
    }
    // An adapter has no import that waits, and was not loaded if it wants one.
    if world != World::Adapter {
        own::generation::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    }
    let has = |kind: Grant| grants.iter().any(|grant| grant.is_of_kind(&kind));
    if has(Grant::Inference(String::new())) {
        own::inference::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    }
    if has(Grant::Cloud(String::new())) {
        own::cloud::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    }
    for grant in grants {
        match grant {
            Grant::Log => own::log::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?,
            Grant::State => own::state::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?,
            Grant::Clock => own::clock::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?,
            Grant::Random => own::random::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?,
            // More than one may be of this kind.
            Grant::Cloud(_) | Grant::Inference(_) => {}
        }
    }
    Ok(())
}

/// A name of the guest's own making may be anything: enough of it to recognise, on one line.
fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
