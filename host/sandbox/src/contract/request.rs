//! The interface `request`.

use lockgate_api::{ChatRequest, Message, Part, ResponseFormat, Role, ToolChoice};
use wasmtime::component::Resource;

use super::bindings::router::lockgate::plugin::{request, types};
use crate::call::Call;

/// The request of a call. There is one, so its handle carries nothing.
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct RequestHandle;

/// A message of it; the handle's number is the message's.
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct MessageHandle;

impl types::Host for Call {}

impl request::Host for Call {}

impl request::HostRequest for Call {
    fn model(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        self.enter()?;
        Ok(self.request()?.model.clone())
    }

    fn key(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        self.enter()?;
        Ok(self.facts().key.as_ref().map(|key| key.name.to_string()))
    }

    fn tenant(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        self.enter()?;
        Ok(self.facts().key.as_ref().map(|key| key.tenant.to_string()))
    }

    fn labels(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<String>> {
        self.enter()?;
        Ok(self.facts().labels.iter().map(ToString::to_string).collect())
    }

    fn wants(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<types::Want>> {
        self.enter()?;
        Ok(wants(self.request()?))
    }

    fn tools(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<String>> {
        self.enter()?;
        Ok(self.request()?.tools.iter().map(|tool| tool.name.clone()).collect())
    }

    fn answer_schema(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        self.enter()?;
        Ok(match &self.request()?.response_format {
            ResponseFormat::JsonSchema { schema, .. } => Some(schema.to_string()),
            ResponseFormat::Text | ResponseFormat::JsonObject => None,
        })
    }

    fn answer_tokens_max(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<u64>> {
        self.enter()?;
        Ok(self.request()?.sampling.max_tokens.map(u64::from))
    }

    fn estimate_tokens(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<u64> {
        self.enter()?;
        Ok((self.text()?.0.length() as u64).div_ceil(4))
    }

    fn message_count(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<u32> {
        self.enter()?;
        Ok(u32::try_from(self.request()?.messages.len())?)
    }

    fn message(
        &mut self,
        _: Resource<RequestHandle>,
        index: u32,
    ) -> wasmtime::Result<Option<Resource<MessageHandle>>> {
        self.enter()?;
        let exists = (index as usize) < self.request()?.messages.len();
        self.messages_held += usize::from(exists);
        Ok(exists.then(|| Resource::new_own(index)))
    }

    fn length(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<u64> {
        self.enter()?;
        Ok(self.text()?.0.length() as u64)
    }

    fn text(&mut self, _: Resource<RequestHandle>, limit: u32) -> wasmtime::Result<String> {
        self.enter()?;
        let (text, request) = self.text()?;
        let text = text.text(request, limit);
        self.hand_over(text.len())?;
        Ok(text)
    }

    fn read(&mut self, _: Resource<RequestHandle>, offset: u64, limit: u32) -> wasmtime::Result<String> {
        self.enter()?;
        let (text, request) = self.text()?;
        let text = text.read(request, offset, limit);
        self.hand_over(text.len())?;
        Ok(text)
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl request::HostMessage for Call {
    fn role(&mut self, handle: Resource<MessageHandle>) -> wasmtime::Result<types::Role> {
        self.enter()?;
        Ok(match self.message_of(&handle)?.role {
            Role::System => types::Role::System,
            Role::Developer => types::Role::Developer,
            Role::User => types::Role::User,
            Role::Assistant => types::Role::Assistant,
            Role::Tool => types::Role::Tool,
        })
    }

    fn length(&mut self, handle: Resource<MessageHandle>) -> wasmtime::Result<u64> {
        self.enter()?;
        Ok(self.text()?.0.message_length(number(&handle)).unwrap_or_default() as u64)
    }

    fn text(&mut self, handle: Resource<MessageHandle>, limit: u32) -> wasmtime::Result<String> {
        self.enter()?;
        let (text, request) = self.text()?;
        let text = text.message_text(request, number(&handle), limit).unwrap_or_default();
        self.hand_over(text.len())?;
        Ok(text)
    }

    fn drop(&mut self, _: Resource<MessageHandle>) -> wasmtime::Result<()> {
        self.messages_held = self.messages_held.saturating_sub(1);
        Ok(())
    }
}

impl Call {
    fn message_of(&self, handle: &Resource<MessageHandle>) -> wasmtime::Result<&Message> {
        let message = self.request()?.messages.get(number(handle));
        message.ok_or_else(|| wasmtime::Error::msg("a handle of a message that does not exist"))
    }
}

fn number(handle: &Resource<MessageHandle>) -> usize {
    handle.rep() as usize
}

fn wants(request: &ChatRequest) -> Vec<types::Want> {
    let is_image = |part: &Part| matches!(part, Part::Image(_));
    let tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
    let images = request.messages.iter().any(|message| message.content.iter().any(is_image));
    [
        (types::Want::Tools, tools),
        (types::Want::Images, images),
        (types::Want::Json, request.response_format != ResponseFormat::Text),
        (types::Want::Logprobs, request.logprobs.is_some()),
        (types::Want::Choices, request.choices > 1),
    ]
    .into_iter()
    .filter_map(|(want, wanted)| wanted.then_some(want))
    .collect()
}
