//! The interface `outcome`: the answer that a review judges.

use lockgate_api::{FinishReason, Reviewed, ReviewedChoice};
use wasmtime::component::Resource;

use super::bindings::reviewer::lockgate::plugin::outcome;
use crate::call::Call;

/// The outcome of a review's call. There is one, so its handle carries nothing.
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct OutcomeHandle;

impl Call {
    fn answer(&mut self) -> wasmtime::Result<&Reviewed> {
        self.enter()?;
        let missing = || wasmtime::Error::msg("a handle of an outcome where there is none");
        self.facts().answer.as_deref().ok_or_else(missing)
    }

    fn chosen(&mut self, choice: u32) -> wasmtime::Result<Option<&ReviewedChoice>> {
        Ok(self.answer()?.choices.get(choice as usize))
    }
}

/// At most `limit` bytes from the start.
fn start_of(text: &str, limit: u32) -> String {
    text[..text.floor_char_boundary(limit as usize)].to_owned()
}

impl outcome::Host for Call {}

impl outcome::HostOutcome for Call {
    fn target(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<String> {
        Ok(self.answer()?.target.id.clone())
    }

    fn attempt(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<u32> {
        Ok(self.answer()?.attempt)
    }

    fn attempts_left(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<u32> {
        Ok(self.answer()?.attempts_left)
    }

    fn choices(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.answer()?.choices.len())?)
    }

    fn finish(
        &mut self,
        _: Resource<OutcomeHandle>,
        choice: u32,
    ) -> wasmtime::Result<Option<outcome::Finish>> {
        let finish = self.chosen(choice)?.and_then(|choice| choice.finish.as_ref());
        Ok(finish.map(|finish| match finish {
            FinishReason::Stop => outcome::Finish::Stop,
            FinishReason::Length => outcome::Finish::Length,
            FinishReason::ToolCalls => outcome::Finish::ToolCalls,
            FinishReason::ContentFilter => outcome::Finish::ContentFilter,
            FinishReason::Other(word) => outcome::Finish::Other(word.clone()),
        }))
    }

    fn length(&mut self, _: Resource<OutcomeHandle>, choice: u32) -> wasmtime::Result<u64> {
        Ok(self.chosen(choice)?.map_or(0, |choice| choice.text.len() as u64))
    }

    fn text(&mut self, _: Resource<OutcomeHandle>, choice: u32, limit: u32) -> wasmtime::Result<String> {
        Ok(self.chosen(choice)?.map_or_else(String::new, |choice| start_of(&choice.text, limit)))
    }

    fn tools(&mut self, _: Resource<OutcomeHandle>, choice: u32) -> wasmtime::Result<Vec<String>> {
        let calls = self.chosen(choice)?.map_or(&[][..], |choice| &choice.tool_calls);
        Ok(calls.iter().map(|(name, _)| name.clone()).collect())
    }

    fn arguments(
        &mut self,
        _: Resource<OutcomeHandle>,
        choice: u32,
        call: u32,
        limit: u32,
    ) -> wasmtime::Result<String> {
        let call = self.chosen(choice)?.and_then(|choice| choice.tool_calls.get(call as usize));
        Ok(call.map_or_else(String::new, |(_, arguments)| start_of(arguments, limit)))
    }

    fn answer_tokens(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<Option<u64>> {
        Ok(self.answer()?.output_tokens)
    }

    fn mean_log_probability(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<Option<f64>> {
        Ok(self.answer()?.mean_log_probability)
    }

    fn lowest_log_probability(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<Option<f64>> {
        Ok(self.answer()?.lowest_log_probability)
    }

    fn elapsed_ms(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.answer()?.elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn drop(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
