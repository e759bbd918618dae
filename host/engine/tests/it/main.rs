//! The engine from outside: whole models through the public interface.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "helpers of tests are tests, which the lint cannot know"
)]

mod adapter_mutations;
mod adapters;
mod allocations;
mod attacks;
mod cards;
mod choices;
mod duplicates;
mod invariance;
mod lora;
mod made_there;
mod measures;
mod mutations;
mod one_adapted;
mod one_decode;
mod real_model;
mod reference;
mod splits;
mod support;
