//! The workbench: policies proven on a laptop, without model, key or network.
//!
//! [`world`] simulates targets, clock and chance from a description; [`chain`] loads components into the production
//! sandbox; [`session`] leads requests through the production gateway and tells everything that happened. On them rest
//! scenario files: [`scenario`] reads one, [`mod@bench`] loads what it names, [`mod@run`] runs it, [`property`] makes
//! requests for what is stated of all of them, [`report`] tells what came of it.
//!
//! Nothing that decides is made anew here, and nothing is sent anywhere. The same bytes in give the same bytes out. Not
//! owned here: reading requests off a wire (the binary gives a decoder), and what commands print where.
#![forbid(unsafe_code)]

pub mod bench;
pub mod chain;
pub mod evaluate;
pub mod find;
pub mod project;
pub mod property;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod session;
pub mod world;

pub use chain::{Chain, IN_ORDER, PluginFile};
pub use session::{End, Happened, Session, Setting, Simulator, sandbox, simulating};
pub use world::{SimTarget, World};
