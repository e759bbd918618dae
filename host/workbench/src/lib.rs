//! The workbench: policies proven on a laptop, without model, key or network.
//!
//! [`world`] simulates targets, clock and chance from a description; [`chain`] loads components into the production
//! sandbox; [`session`] leads requests through the production gateway and tells everything that happened. Nothing that
//! decides is made anew here, and nothing is sent anywhere. The same bytes in give the same bytes out.
//!
//! Not owned here: reading requests off a wire (the binary gives a decoder), and what commands print where.
#![forbid(unsafe_code)]

pub mod chain;
pub mod evaluate;
pub mod replay;
pub mod session;
pub mod world;

pub use chain::{Chain, IN_ORDER, PluginFile};
pub use session::{End, Happened, Session, Setting, Simulator, sandbox, simulating};
pub use world::{SimTarget, World};
