//! Replaces personal data by placeholders before a request is sent, and restores it in the answer.
//!
//! As a preprocessor it puts `[EMAIL-1]` in the place of an address, everywhere in the request, and keeps
//! what stood there as its note; as a guard it puts the address back into the answer's text, its reasoning
//! and the arguments of its tool calls, also where a placeholder comes in several chunks. The same thing has
//! the same placeholder throughout a request, so that the model can tell who is who.
//!
//! What cannot be replaced (a name that other parts refer to, a key or number in JSON, a picture) gives the
//! request the label `local-only` where it is personal, and then nothing is replaced: what stays on this
//! machine need not be. `redact` makes the placeholders, `note` carries them, `restore` undoes them. What is
//! recognised is said in the crate `lockgate-scan`.
//!
//! Settings, all optional, of the preprocessor:
//! - `keep`: kinds that are left as they are, of `email, phone, iban, card, key, token, health`;
//! - `pictures`, `personal` (default) or `ignore`.

mod json;
mod note;
mod options;
mod redact;
mod restore;

use lockgate_plugin::{
    Answer, Draft, Guard, Kind, Preprocessor, Refusal, Request as _, Settings, Verdict, Want,
};

use crate::note::Note;
use crate::options::Options;
use crate::redact::Redaction;
use crate::restore::Restorer;

/// Both halves.
pub struct Redactor {
    restorer: Restorer,
    /// Whether the answer's text is JSON.
    is_json: bool,
}

const LOCAL_ONLY: &str = "local-only";

/// The longest request that is read, in bytes: with what the host copies it must fit into memory.
const TEXT_BYTES_MAX: u64 = 16 << 20;

impl Preprocessor for Redactor {
    fn prepare(draft: &mut impl Draft, settings: &impl Settings) -> Result<(), Refusal> {
        let options = Options::read(settings)?;
        let request = draft.request();
        if request.labels().iter().any(|label| label == LOCAL_ONLY) {
            return Ok(());
        }
        let wants = request.wants();
        let length = request.length();
        if length > TEXT_BYTES_MAX {
            return Err(Refusal::new(format!(
                "the redactor reads at most {TEXT_BYTES_MAX} bytes of text, and the request has {length}"
            )));
        }
        let text = request.text(u32::MAX);
        drop(request);

        let pieces = draft.pieces();
        let redaction = Redaction::of(&text, &pieces, &options);
        let has_picture = options.pictures_are_personal && wants.contains(&Want::Images);
        if has_picture || redaction.is_beyond_reach {
            draft.add_label(LOCAL_ONLY);
            return Ok(());
        }
        if redaction.edits.is_empty() {
            return Ok(());
        }
        let note = Note { is_json: wants.contains(&Want::Json), values: redaction.values };
        let note = note.encode().ok_or_else(|| {
            Refusal::new("the request holds more personal data than the redactor can keep for its answer")
        })?;
        // From the end, since offsets shift behind a change.
        for edit in redaction.edits.into_iter().rev() {
            draft.replace(edit.piece, edit.range, &edit.text).map_err(|_| {
                Refusal::new("the redactor could not replace what is personal, and lets nothing through")
            })?;
        }
        draft.set_note(&note);
        Ok(())
    }
}

impl Guard for Redactor {
    fn watch(answer: &impl Answer, _: &impl Settings) -> Result<Self, Refusal> {
        let note = match answer.note() {
            None => Note::default(),
            Some(bytes) => Note::decode(&bytes)
                .ok_or_else(|| Refusal::new("the redactor cannot read the note of its preprocessor"))?,
        };
        Ok(Self { is_json: note.is_json, restorer: Restorer::new(note.values) })
    }

    fn on_chunk(&mut self, kind: &Kind, text: &str) -> Verdict {
        let is_json = match kind {
            Kind::Text => self.is_json,
            Kind::Reasoning | Kind::Other(_) => false,
            Kind::Arguments(_) => true,
        };
        self.restorer.chunk(text, is_json).map_or(Verdict::Pass, Verdict::Replace)
    }

    fn end_run(&mut self) -> Verdict {
        self.restorer.rest().map_or(Verdict::Pass, Verdict::Replace)
    }
}

lockgate_plugin::export_preprocessor!(Redactor);
lockgate_plugin::export_guard!(Redactor);

#[cfg(test)]
mod tests;
