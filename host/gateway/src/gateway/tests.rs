//! The gateway over scripted targets and plugins, on a paused clock.

mod asks;
mod embeddings;
mod execution;
mod filters;
mod guards;
mod health;
mod hedges;
mod labels;
mod overrides;
mod policy;
mod preprocessors;
mod records;
mod reviews;
mod routers;
mod support;
