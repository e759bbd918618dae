//! The seam for preprocessors and guards.

use std::cell::RefCell;
use std::ops::Range;

use super::bindings::guard::exports::lockgate::plugin::watch;
use super::bindings::guard::lockgate::plugin::answer;
use super::bindings::preprocessor::exports::lockgate::plugin::prepare;
use super::bindings::preprocessor::lockgate::plugin::draft;
use super::{Hook, Host, refuse};
use crate::draft::{EditError, Piece, Place};
use crate::watching::{Kind, Verdict};
use crate::{facts, watching};

impl<T: crate::Preprocessor> prepare::Guest for Hook<T> {
    fn prepare(draft: &draft::Draft) -> Result<(), prepare::Refusal> {
        T::prepare(&mut HostDraft(draft), &Host).map_err(refuse)
    }
}

/// The draft of the call.
struct HostDraft<'a>(&'a draft::Draft);

impl crate::Draft for HostDraft<'_> {
    fn request(&self) -> impl facts::Request + '_ {
        self.0.request()
    }
    fn pieces(&self) -> Vec<Piece> {
        let facts = self.0.piece_lengths().into_iter().zip(self.0.fixed_pieces());
        let piece = |(place, (length, is_fixed))| Piece { place: from_place(place), length, is_fixed };
        self.0.piece_places().into_iter().zip(facts).map(piece).collect()
    }
    fn replace(&mut self, piece: u32, range: Range<u64>, text: &str) -> Result<(), EditError> {
        self.0.replace(piece, range.start, range.end, text).map_err(|error| match error {
            draft::EditError::NoSuchPiece => EditError::NoSuchPiece,
            draft::EditError::Fixed => EditError::Fixed,
            draft::EditError::OutOfRange => EditError::OutOfRange,
            draft::EditError::Empty => EditError::Empty,
            draft::EditError::Other(name) => EditError::Other(name),
        })
    }
    fn add_label(&mut self, label: &str) {
        self.0.add_label(label);
    }
    fn set_note(&mut self, note: &[u8]) {
        self.0.set_note(note);
    }
}

fn from_place(place: draft::Place) -> Place {
    match place {
        draft::Place::Content(message) => Place::Content(message),
        draft::Place::Name(message) => Place::Name(message),
        draft::Place::Reasoning(message) => Place::Reasoning(message),
        draft::Place::Arguments(message) => Place::Arguments(message),
        draft::Place::Picture(message) => Place::Picture(message),
        draft::Place::Identifier => Place::Identifier,
        draft::Place::Description => Place::Description,
        draft::Place::Value => Place::Value,
        draft::Place::Key => Place::Key,
        draft::Place::Stop => Place::Stop,
        draft::Place::Other(name) => Place::Other(name),
    }
}

impl<T: crate::Guard + 'static> watch::Guest for Hook<T> {
    type Watcher = Watcher<T>;
}

/// A guard behind the handle that the host holds.
pub struct Watcher<T>(RefCell<T>);

impl<T: crate::Guard + 'static> watch::GuestWatcher for Watcher<T> {
    fn begin(answer: &answer::Answer) -> Result<watch::Watcher, watch::Refusal> {
        match T::watch(answer, &Host) {
            Ok(guard) => Ok(watch::Watcher::new(Self(RefCell::new(guard)))),
            Err(refusal) => Err(refuse(refusal)),
        }
    }
    fn on_chunk(&self, kind: watch::Kind, text: String) -> watch::Verdict {
        let kind = match kind {
            watch::Kind::Text => Kind::Text,
            watch::Kind::Reasoning => Kind::Reasoning,
            watch::Kind::Arguments(tool) => Kind::Arguments(tool),
            watch::Kind::Other(name) => Kind::Other(name),
        };
        into_verdict(self.0.borrow_mut().on_chunk(&kind, &text))
    }
    fn end_run(&self) -> watch::Verdict {
        into_verdict(self.0.borrow_mut().end_run())
    }
    fn finish(&self) -> watch::Verdict {
        into_verdict(self.0.borrow_mut().finish())
    }
}

fn into_verdict(verdict: Verdict) -> watch::Verdict {
    match verdict {
        Verdict::Pass => watch::Verdict::Pass,
        Verdict::Replace(text) => watch::Verdict::Replace(text),
        Verdict::Hold(bytes) => watch::Verdict::Hold(bytes),
        Verdict::Stop(reason) => watch::Verdict::Stop(reason),
    }
}

impl watching::Answer for answer::Answer {
    fn choice(&self) -> u32 {
        Self::choice(self)
    }
    fn labels(&self) -> Vec<String> {
        Self::labels(self)
    }
    fn key(&self) -> Option<String> {
        Self::key(self)
    }
    fn tenant(&self) -> Option<String> {
        Self::tenant(self)
    }
    fn note(&self) -> Option<Vec<u8>> {
        Self::note(self)
    }
}
