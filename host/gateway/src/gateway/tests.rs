//! The gateway over scripted targets and policies, on a paused clock.

mod execution;
mod health;
mod labels;
mod policy;
mod support;
