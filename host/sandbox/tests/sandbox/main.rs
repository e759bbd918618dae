//! The sandbox, called with real components: what loads, what a plugin sees, and what hostile ones can do.

mod adapter;
mod ahead;
mod behaviour;
mod frozen;
mod guard;
mod hostile;
mod loading;
mod powers;
mod preprocessor;
mod privacy_first;
mod redactor;
mod reuse;
mod stopped;
mod support;
