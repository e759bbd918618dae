//! The package `lockgate:plugin@0.1`, host side: the generated types and the functions behind them.
//!
//! Each file here answers one interface from a [`Call`]'s facts and translates types, no more. What a call
//! may use is counted where every function passes, in [`Call::enter`]; grants were checked when the
//! component was loaded, by what it was linked to.

mod catalog;
mod plan;
mod request;
mod rest;

use wasmtime::component::{HasSelf, Linker};

use crate::call::Call;
use crate::grant::Grant;

#[allow(unreachable_pub, reason = "the generated bindings name them in their own public items")]
pub use {
    plan::{Draft, Refused},
    request::{MessageHandle, RequestHandle},
};

pub(crate) mod bindings {
    #![allow(missing_docs, reason = "generated from the folder wit, which documents each item")]

    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "router",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "lockgate:plugin/request.request": crate::contract::RequestHandle,
            "lockgate:plugin/request.message": crate::contract::MessageHandle,
            "lockgate:plugin/plan.plan": crate::contract::Draft,
            "lockgate:plugin/plan.refusal": crate::contract::Refused,
        },
    });
}

/// Defines what every router has, and what this one is granted beyond that.
pub(crate) fn link(linker: &mut Linker<Call>, grants: &[Grant]) -> wasmtime::Result<()> {
    use bindings::lockgate::plugin as own;
    own::types::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    own::request::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    own::catalog::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    own::plan::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    own::settings::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    if grants.contains(&Grant::Log) {
        own::log::add_to_linker::<_, HasSelf<Call>>(linker, |call| call)?;
    }
    Ok(())
}
