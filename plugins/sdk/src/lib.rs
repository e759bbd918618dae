//! The guest crate: write a Lockgate policy in Rust, test it natively, compile it to a component.
//!
//! A policy is a type that implements [`Router`] over three traits, [`Request`], [`Catalog`] and
//! [`Settings`]. Compiled for `wasm32-wasip2`, [`export_router!`] ties them to the host's interfaces; in a
//! native test the same code runs against the plain data of [`testing`]. This crate decides nothing: what
//! each fact means and costs is said in the package `lockgate:plugin` (the folder `wit`).
//!
//! A complete policy, its crate being of the type `cdylib` and `rlib`:
//!
//! ```
//! use lockgate_plugin::{Catalog, Locality, Plan, Refusal, Request, Router, Settings, targets};
//!
//! /// Short prompts go to this machine, long ones anywhere that is permitted.
//! struct ByLength;
//!
//! impl Router for ByLength {
//!     fn route(
//!         request: &dyn Request,
//!         catalog: &dyn Catalog,
//!         settings: &dyn Settings,
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
#![deny(missing_docs)]

mod answer;
mod facts;
pub mod log;
pub mod testing;
mod types;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;

pub use answer::{Attempt, Plan, Refusal};
pub use facts::{Catalog, Message, Request, Settings, Target, targets};
pub use types::{Breaker, Locality, Price, Role, Want};

/// Decides where a request goes.
pub trait Router {
    /// The targets to try, in order, or why the request must not be answered.
    ///
    /// Runs in a fresh instance for each request: what it leaves in memory is gone before the next one.
    ///
    /// # Errors
    /// The refusal, whose reason the client reads.
    fn route(request: &dyn Request, catalog: &dyn Catalog, settings: &dyn Settings) -> Result<Plan, Refusal>;
}

/// Makes a type that implements [`Router`] the component's policy. Once a crate; natively it only checks
/// that the type is one.
#[macro_export]
macro_rules! export_router {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::guest::Hook<$policy>;
    $crate::guest::export!(Exported with_types_in $crate::guest::bindings);
        };
        const _: () = {
            const fn is_router<T: $crate::Router>() {}
            is_router::<$policy>()
        };
    };
}

#[cfg(test)]
mod tests;
