//! The seam for routers that review: their second hook.

use super::bindings::reviewer::exports::lockgate::plugin::review;
use super::bindings::reviewer::lockgate::plugin::outcome;
use super::bindings::router::lockgate::plugin::request;
use super::{Hook, Host};
use crate::reviewing::{Finish, Outcome, Review};

impl<T: crate::Reviewer> review::Guest for Hook<T> {
    fn review(request: &request::Request, outcome: &outcome::Outcome) -> review::Verdict {
        match T::review(request, outcome, &Host) {
            Review::Accept => review::Verdict::Accept,
            Review::Next(reason) => review::Verdict::Next(reason),
        }
    }
}

impl Outcome for outcome::Outcome {
    fn target(&self) -> String {
        Self::target(self)
    }
    fn attempt(&self) -> u32 {
        Self::attempt(self)
    }
    fn attempts_left(&self) -> u32 {
        Self::attempts_left(self)
    }
    fn choices(&self) -> u32 {
        Self::choices(self)
    }
    fn finish(&self, choice: u32) -> Option<Finish> {
        Some(match Self::finish(self, choice)? {
            outcome::Finish::Stop => Finish::Stop,
            outcome::Finish::Length => Finish::Length,
            outcome::Finish::ToolCalls => Finish::ToolCalls,
            outcome::Finish::ContentFilter => Finish::ContentFilter,
            outcome::Finish::Other(word) => Finish::Other(word),
        })
    }
    fn length(&self, choice: u32) -> u64 {
        Self::length(self, choice)
    }
    fn text(&self, choice: u32, limit: u32) -> String {
        Self::text(self, choice, limit)
    }
    fn tools(&self, choice: u32) -> Vec<String> {
        Self::tools(self, choice)
    }
    fn arguments(&self, choice: u32, call: u32, limit: u32) -> String {
        Self::arguments(self, choice, call, limit)
    }
    fn answer_tokens(&self) -> Option<u64> {
        Self::answer_tokens(self)
    }
    fn mean_log_probability(&self) -> Option<f64> {
        Self::mean_log_probability(self)
    }
    fn lowest_log_probability(&self) -> Option<f64> {
        Self::lowest_log_probability(self)
    }
    fn elapsed_ms(&self) -> u64 {
        Self::elapsed_ms(self)
    }
}
