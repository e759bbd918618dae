//! The interface `draft`: the request of a preprocessor's call, to be changed.

use lockgate_api::{Label, NOTE_BYTES_MAX, PolicyError};
use wasmtime::component::Resource;

use super::bindings::preprocessor::lockgate::plugin::draft;
use super::{RequestHandle, shorten};
use crate::call::{Call, Preparation};
use crate::stop::Stop;
use crate::text::pieces::{Beside, Root, Source, message_piece_mut};

/// Labels that one call may add.
const LABELS_MAX: usize = 16;

/// The draft of a call. There is one, so its handle carries nothing.
#[allow(unreachable_pub, reason = "the generated bindings name it in their own public items")]
pub struct DraftHandle;

impl draft::Host for Call {}

impl draft::HostDraft for Call {
    fn request(&mut self, _: Resource<DraftHandle>) -> wasmtime::Result<Resource<RequestHandle>> {
        self.enter()?;
        Ok(Resource::new_own(0))
    }

    fn piece_lengths(&mut self, _: Resource<DraftHandle>) -> wasmtime::Result<Vec<u64>> {
        self.enter()?;
        Ok(self.text()?.0.piece_lengths())
    }

    fn piece_places(&mut self, _: Resource<DraftHandle>) -> wasmtime::Result<Vec<draft::Place>> {
        self.enter()?;
        let text = self.text()?.0;
        Ok(text.sources().map(|(message, source)| place(message, source, text.beside()).0).collect())
    }

    fn fixed_pieces(&mut self, _: Resource<DraftHandle>) -> wasmtime::Result<Vec<bool>> {
        self.enter()?;
        let text = self.text()?.0;
        Ok(text.sources().map(|(message, source)| place(message, source, text.beside()).1).collect())
    }

    fn replace(
        &mut self,
        _: Resource<DraftHandle>,
        piece: u32,
        start: u64,
        end: u64,
        text: String,
    ) -> wasmtime::Result<Result<(), draft::EditError>> {
        self.enter_with(text.len())?;
        self.check_time()?;
        self.replace_piece(piece as usize, (start, end), &text)
    }

    fn add_label(&mut self, _: Resource<DraftHandle>, label: String) -> wasmtime::Result<()> {
        self.enter_with(label.len())?;
        match label.parse::<Label>() {
            Ok(label) if self.preparation.labels.len() < LABELS_MAX => self.add_label(label)?,
            Ok(_) => self.preparation.problem(|| format!("more than {LABELS_MAX} labels")),
            Err(_) => {
                let withhold = self.labels().withhold_payload();
                let name = if withhold { "(withheld)".to_owned() } else { shorten(&label) };
                self.preparation.problem(|| format!("unknown label `{name}`"));
            }
        }
        Ok(())
    }

    fn set_note(&mut self, _: Resource<DraftHandle>, note: Vec<u8>) -> wasmtime::Result<()> {
        self.enter_with(note.len())?;
        if note.len() > NOTE_BYTES_MAX {
            return Err(Stop::Part { part: "the note", length: note.len(), max: NOTE_BYTES_MAX }.into());
        }
        self.preparation.note = Some(note);
        Ok(())
    }

    fn drop(&mut self, _: Resource<DraftHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl Call {
    fn replace_piece(
        &mut self,
        piece: usize,
        (start, end): (u64, u64),
        text: &str,
    ) -> wasmtime::Result<Result<(), draft::EditError>> {
        let (index, request) = self.text_mut()?;
        let Some((message, source)) = index.source(piece) else {
            return Ok(Err(draft::EditError::NoSuchPiece));
        };
        let (place, _) = place(message, source, index.beside());
        let piece = match source {
            Source::Beside(leaf) => index.beside().text_mut(request, leaf),
            source => {
                request.messages.get_mut(message).and_then(|message| message_piece_mut(message, source))
            }
        };
        let Some(piece) = piece else { return Ok(Err(draft::EditError::Fixed)) };
        let range = match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) if piece.get(start..end).is_some() => start..end,
            _ => return Ok(Err(draft::EditError::OutOfRange)),
        };
        if matches!(place, draft::Place::Stop) && text.is_empty() && range.len() == piece.len() {
            return Ok(Err(draft::EditError::Empty));
        }
        piece.replace_range(range, text);
        Ok(Ok(()))
    }
}

/// Where a piece stands, and whether it is fixed.
fn place(message: usize, source: Source, beside: &Beside) -> (draft::Place, bool) {
    // A request of more messages than that does not fit into a body.
    let message = u32::try_from(message).unwrap_or(u32::MAX);
    match source {
        Source::Content(_) => (draft::Place::Content(message), false),
        Source::Name => (draft::Place::Name(message), false),
        Source::Reasoning => (draft::Place::Reasoning(message), false),
        Source::CallArguments(_) => (draft::Place::Arguments(message), false),
        Source::Picture(_) => (draft::Place::Picture(message), true),
        Source::CallName(_) | Source::CallId(_) | Source::AnsweredCall => (draft::Place::Identifier, true),
        Source::Beside(leaf) => match beside.place(leaf) {
            Some((Root::ToolName | Root::ChosenTool | Root::FormatName, _)) | None => {
                (draft::Place::Identifier, true)
            }
            Some((Root::ToolDescription(_) | Root::FormatDescription, fixed)) => {
                (draft::Place::Description, fixed)
            }
            Some((Root::Stop(_), fixed)) => (draft::Place::Stop, fixed),
            Some((Root::ToolSchema(_) | Root::FormatSchema | Root::Extra, fixed)) => {
                (if fixed { draft::Place::Key } else { draft::Place::Value }, fixed)
            }
        },
    }
}

impl Preparation {
    fn problem(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }

    /// Whether it makes sense.
    pub(crate) fn check(self) -> Result<Self, PolicyError> {
        match self.problem {
            Some(problem) => Err(PolicyError::InvalidAnswer { problem }),
            None => Ok(self),
        }
    }
}
