//! The interface `answer`: what a guard is told beforehand.

use wasmtime::component::Resource;

use super::bindings::guard::lockgate::plugin::answer;
use crate::call::Call;

/// The answer of a guard's call. There is one, so its handle carries nothing.
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct AnswerHandle;

impl answer::Host for Call {}

impl answer::HostAnswer for Call {
    fn choice(&mut self, _: Resource<AnswerHandle>) -> wasmtime::Result<u32> {
        self.enter()?;
        Ok(self.facts().choice)
    }

    fn labels(&mut self, _: Resource<AnswerHandle>) -> wasmtime::Result<Vec<String>> {
        self.enter()?;
        Ok(self.facts().labels.iter().map(ToString::to_string).collect())
    }

    fn key(&mut self, _: Resource<AnswerHandle>) -> wasmtime::Result<Option<String>> {
        self.enter()?;
        Ok(self.facts().key.as_ref().map(|key| key.name.to_string()))
    }

    fn tenant(&mut self, _: Resource<AnswerHandle>) -> wasmtime::Result<Option<String>> {
        self.enter()?;
        Ok(self.facts().key.as_ref().map(|key| key.tenant.to_string()))
    }

    fn note(&mut self, _: Resource<AnswerHandle>) -> wasmtime::Result<Option<Vec<u8>>> {
        self.enter()?;
        self.hand_over(self.facts().note.as_ref().map_or(0, |note| note.len()))?;
        Ok(self.facts().note.as_deref().map(<[u8]>::to_vec))
    }

    fn drop(&mut self, _: Resource<AnswerHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
