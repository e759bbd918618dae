//! Keeps an answer that was to be JSON to its schema, while it streams: repairs what can be repaired, stops what
//! cannot.
//!
//! A filter in two halves. The preprocessor keeps the schema that the client asked for; the guard reads the answer's
//! text against it. `schema` compiles what can be checked early, `machine` and `token` read a value character by
//! character, `stream` says what goes on of each chunk. Reasoning and tool calls pass untouched.

mod machine;
mod schema;
mod stream;
mod token;

use lockgate_plugin::{
    Answer, Draft, Guard, Kind, Preprocessor, Refusal, Request as _, Settings, Verdict, Want,
};

use crate::schema::Schema;
use crate::stream::Stream;

/// Bytes that the host keeps for the second half.
const NOTE_BYTES_MAX: usize = 65536;

/// Both halves.
pub struct JsonGuard {
    /// None where no JSON was asked for.
    stream: Option<Stream>,
    calls_tools: bool,
}

impl Preprocessor for JsonGuard {
    fn prepare(draft: &mut impl Draft, settings: &impl Settings) -> Result<(), Refusal> {
        if let Some((key, _)) = settings.all().first() {
            return Err(Refusal::unknown_setting(key, "none for its first half"));
        }
        let schema = {
            let request = draft.request();
            match request.answer_schema() {
                Some(schema) => schema,
                None if request.wants().contains(&Want::Json) => "true".to_owned(),
                None => return Ok(()),
            }
        };
        if schema.len() > NOTE_BYTES_MAX {
            return Err(Refusal::new(format!(
                "a schema of more than {NOTE_BYTES_MAX} bytes cannot be guarded"
            )));
        }
        draft.set_note(schema.as_bytes());
        Ok(())
    }
}

impl Guard for JsonGuard {
    fn watch(answer: &impl Answer, settings: &impl Settings) -> Result<Self, Refusal> {
        let (mut repairs, mut schema) = (true, None);
        for (key, value) in settings.all() {
            match (key.as_str(), value.as_str()) {
                ("mode", "repair") => repairs = true,
                ("mode", "stop") => repairs = false,
                ("mode", _) => return Err(Refusal::unusable_setting("mode", "repair or stop")),
                ("schema", text) => schema = Some(text.to_owned()),
                _ => return Err(Refusal::unknown_setting(&key, "mode, schema")),
            }
        }
        let noted = answer.note().map(|note| String::from_utf8_lossy(&note).into_owned());
        let stream = match noted.or(schema) {
            None => None,
            Some(text) => Some(Stream::new(Schema::compile(&text).map_err(Refusal::new)?, repairs)),
        };
        Ok(Self { stream, calls_tools: false })
    }

    fn on_chunk(&mut self, kind: &Kind, text: &str) -> Verdict {
        self.calls_tools |= matches!(kind, Kind::Arguments(_));
        match (kind, &mut self.stream) {
            (Kind::Text, Some(stream)) => match stream.push(text) {
                Ok(out) if out == text => Verdict::Pass,
                Ok(out) => Verdict::Replace(out),
                Err(fault) => Verdict::Stop(fault.to_owned()),
            },
            _ => Verdict::Pass,
        }
    }

    fn finish(&mut self) -> Verdict {
        match &mut self.stream {
            // A call of a tool is an answer of its own.
            Some(stream) if stream.has_begun() || !self.calls_tools => match stream.finish() {
                Ok(rest) if rest.is_empty() => Verdict::Pass,
                Ok(rest) => Verdict::Replace(rest),
                Err(fault) => Verdict::Stop(fault.to_owned()),
            },
            _ => Verdict::Pass,
        }
    }
}

lockgate_plugin::export_preprocessor!(JsonGuard);
lockgate_plugin::export_guard!(JsonGuard);

#[cfg(test)]
mod tests;
