//! The component's imports and exports, generated from the folder `wit`: one module a world. What worlds
//! share is generated once, for the router. `tests/bindings.rs` keeps them fresh.

pub mod adapter;
pub mod guard;
pub mod preprocessor;
pub mod reviewer;
pub mod router;
