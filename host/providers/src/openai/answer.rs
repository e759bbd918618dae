//! An answer's body: bytes in, events out, with the rules for its end.
//!
//! A pure state machine over server-sent events or one JSON document; servers that answer in JSON
//! although they were asked to stream are understood as well. The end of the bytes proves nothing: only
//! when every choice has finished was the answer whole.

use std::collections::VecDeque;

use lockgate_api::{ErrorKind, Event};
use serde_json::Value;

use super::chat::{ChatProblem, ChatState};
use super::wire::Chunk;
use crate::sse::{EventTooLong, SseDecoder, SseEvent};

/// The most bytes of an answer that is one JSON document.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why an answer broke off.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AnswerProblem {
    /// The server's own error object.
    Said(Value),
    /// What happened, in words about the server, and its kind.
    Broken(ErrorKind, String),
}

impl From<ChatProblem> for AnswerProblem {
    fn from(problem: ChatProblem) -> Self {
        match problem {
            ChatProblem::Said(object) => Self::Said(object),
            ChatProblem::Protocol(what) => Self::Broken(ChatProblem::PROTOCOL, what),
        }
    }
}

/// Decodes one answer.
#[derive(Debug)]
pub(super) struct AnswerDecoder {
    framing: Framing,
    chat: ChatState,
    /// The server has said that nothing follows.
    done: bool,
    /// Where the server says that it passes the request on.
    forwards_to: Option<String>,
}

#[derive(Debug)]
enum Framing {
    /// Nothing but white space yet, read as events are: it may begin the first line.
    Undecided(SseDecoder),
    Events(SseDecoder),
    Document(Vec<u8>),
}

impl AnswerDecoder {
    /// A decoder for the answer that `chat` will hold.
    pub(super) fn new(chat: ChatState) -> Self {
        Self { framing: Framing::Undecided(SseDecoder::default()), chat, done: false, forwards_to: None }
    }

    /// Whether the answer is complete and whatever follows does not matter.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Where the server said that it passes the request on to, once.
    pub(super) fn take_forwards_to(&mut self) -> Option<String> {
        self.forwards_to.take()
    }

    /// Decodes the next bytes. Events before a problem are still added.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut VecDeque<Event>) -> Result<(), AnswerProblem> {
        if let Framing::Undecided(blank) = &mut self.framing {
            self.framing = match bytes.iter().find(|byte| !b" \t\r\n".contains(byte)) {
                // What JSON calls white space completes no event, and means nothing to a document.
                None => return blank.push(bytes, drop).map_err(too_much),
                Some(b'{' | b'[') => Framing::Document(Vec::new()),
                Some(_) => Framing::Events(std::mem::take(blank)),
            };
        }
        match &mut self.framing {
            Framing::Undecided(_) => Ok(()),
            Framing::Document(document) => {
                if document.len() + bytes.len() > DOCUMENT_BYTES_MAX {
                    let what = format!("its answer is longer than {DOCUMENT_BYTES_MAX} bytes");
                    return Err(AnswerProblem::Broken(ErrorKind::Upstream, what));
                }
                document.extend_from_slice(bytes);
                Ok(())
            }
            Framing::Events(decoder) => {
                let mut complete = Vec::new();
                let pushed = decoder.push(bytes, |event| complete.push(event));
                for event in complete {
                    self.event(event, events)?;
                }
                pushed.map_err(too_much)
            }
        }
    }

    /// The bytes have ended, by themselves or because the connection broke (`broken` says how).
    pub(super) fn end(
        &mut self,
        broken: Option<&str>,
        events: &mut VecDeque<Event>,
    ) -> Result<(), AnswerProblem> {
        if self.done {
            return Ok(());
        }
        let mut half = false;
        match std::mem::replace(&mut self.framing, Framing::Undecided(SseDecoder::default())) {
            Framing::Undecided(_) => {}
            Framing::Document(document) => {
                if let Some(broken) = broken {
                    return Err(cut(format!("the connection ended in the middle of its answer ({broken})")));
                }
                let chunk = parse(&document).ok_or_else(|| not_json("its answer"))?;
                self.chunk(chunk, events)?;
                return self.finish(events);
            }
            Framing::Events(decoder) => {
                if let Some(rest) = decoder.into_unfinished() {
                    half = true;
                    if rest.trim_ascii() == b"[DONE]" {
                        return self.finish(events);
                    }
                }
            }
        }
        if self.chat.is_finished() {
            return self.finish(events);
        }
        let (finished, of) = self.chat.progress();
        let how = match (broken, half) {
            (Some(broken), true) => format!("the connection ended in the middle of an event ({broken})"),
            (Some(broken), false) => format!("the connection ended ({broken})"),
            (None, true) => "the stream ended in the middle of an event".to_owned(),
            (None, false) => "the stream ended".to_owned(),
        };
        Err(cut(if self.chat.is_started() {
            format!("{how} before the answer did: {finished} of {of} choices had finished")
        } else {
            format!("{how} before an answer began")
        }))
    }

    fn event(&mut self, event: SseEvent, events: &mut VecDeque<Event>) -> Result<(), AnswerProblem> {
        let data = event.data.trim_ascii();
        // After the server's last word, and between events to keep the connection alive.
        if self.done || data.is_empty() {
            return Ok(());
        }
        if event.is_error {
            let text = || Value::String(String::from_utf8_lossy(data).into_owned());
            return Err(AnswerProblem::Said(serde_json::from_slice(data).unwrap_or_else(|_| text())));
        }
        if data == b"[DONE]" {
            return self.finish(events);
        }
        let chunk = parse(data).ok_or_else(|| not_json("an event"))?;
        self.chunk(chunk, events)
    }

    fn chunk(&mut self, chunk: Chunk, events: &mut VecDeque<Event>) -> Result<(), AnswerProblem> {
        let named =
            [&chunk.remote_host, &chunk.remote_model].into_iter().flatten().find(|name| !name.is_empty());
        if let Some(name) = named {
            self.forwards_to = Some(name.clone());
        }
        Ok(self.chat.chunk(chunk, events)?)
    }

    fn finish(&mut self, events: &mut VecDeque<Event>) -> Result<(), AnswerProblem> {
        if !self.chat.is_finished() {
            let (finished, of) = self.chat.progress();
            if self.chat.is_short() {
                let what = format!("it cannot honour `n`: it made {finished} of {of} choices");
                return Err(AnswerProblem::Broken(ErrorKind::Unsupported { field: "n".to_owned() }, what));
            }
            return Err(cut(format!("it ended the answer after {finished} of {of} choices had finished")));
        }
        self.done = true;
        events.extend(self.chat.take_usage());
        Ok(())
    }
}

fn too_much(error: EventTooLong) -> AnswerProblem {
    AnswerProblem::Broken(ErrorKind::Upstream, format!("it sent too much: {error}"))
}

/// An object: a list would be taken for a chunk's fields in their order.
fn parse(json: &[u8]) -> Option<Chunk> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

fn cut(what: String) -> AnswerProblem {
    AnswerProblem::Broken(ErrorKind::Cut, what)
}

fn not_json(what: &str) -> AnswerProblem {
    AnswerProblem::Broken(ErrorKind::Upstream, format!("{what} is not the JSON of a chat answer"))
}

#[cfg(test)]
mod tests;
