//! A draft and an answer of plain data, and the host's side of a guard's verdicts.

use std::collections::BTreeSet;
use std::ops::Range;

use super::FakeRequest;
use crate::Guard;
use crate::draft::{Draft, EditError, Piece, Place};
use crate::facts::Request;
use crate::watching::{Answer, Kind, Verdict};

/// A draft whose pieces are a fake request's messages and then its text beside them.
#[derive(Clone, Debug, Default)]
pub struct FakeDraft {
    /// The request as it is now. Added labels are on it.
    pub request: FakeRequest,
    /// Numbers of pieces that cannot be replaced.
    pub fixed: BTreeSet<u32>,
    /// What was kept for the guard.
    pub note: Option<Vec<u8>>,
}

impl FakeDraft {
    /// A draft of this request.
    pub fn new(request: FakeRequest) -> Self {
        Self { request, ..Self::default() }
    }

    /// A draft of one message of the user's.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(FakeRequest::user(text))
    }

    /// The same draft with this piece fixed.
    #[must_use]
    pub fn fixed(mut self, piece: u32) -> Self {
        self.fixed.insert(piece);
        self
    }

    fn piece_mut(&mut self, piece: u32) -> Option<&mut String> {
        let piece = piece as usize;
        match self.request.messages.len() {
            messages if piece < messages => Some(&mut self.request.messages[piece].text),
            messages => self.request.more_text.get_mut(piece - messages),
        }
    }
}

impl Draft for FakeDraft {
    fn request(&self) -> impl Request + '_ {
        self.request.clone()
    }
    fn pieces(&self) -> Vec<Piece> {
        let messages = self.request.messages.iter().map(|message| message.text.len());
        let places = (0..).map(Place::Content).take(self.request.messages.len());
        let beside = self.request.more_text.iter().map(String::len);
        let all = places.zip(messages).chain(beside.map(|length| (Place::Value, length)));
        (0..)
            .zip(all)
            .map(|(number, (place, length))| Piece {
                place,
                length: length as u64,
                is_fixed: self.fixed.contains(&number),
            })
            .collect()
    }
    fn replace(&mut self, piece: u32, range: Range<u64>, text: &str) -> Result<(), EditError> {
        let is_fixed = self.fixed.contains(&piece);
        let old = self.piece_mut(piece).ok_or(EditError::NoSuchPiece)?;
        let range = range.start as usize..range.end as usize;
        if is_fixed {
            return Err(EditError::Fixed);
        }
        old.get(range.clone()).ok_or(EditError::OutOfRange)?;
        old.replace_range(range, text);
        Ok(())
    }
    fn add_label(&mut self, label: &str) {
        self.request.labels.push(label.to_owned());
    }
    fn set_note(&mut self, note: &[u8]) {
        self.note = Some(note.to_vec());
    }
}

/// An answer of plain fields.
#[derive(Clone, Debug, Default)]
pub struct FakeAnswer {
    /// Which choice.
    pub choice: u32,
    /// Labels in force.
    pub labels: Vec<String>,
    /// The key's name.
    pub key: Option<String>,
    /// The key's tenant.
    pub tenant: Option<String>,
    /// What the preprocessor kept.
    pub note: Option<Vec<u8>>,
}

impl Answer for FakeAnswer {
    fn choice(&self) -> u32 {
        self.choice
    }
    fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }
    fn key(&self) -> Option<String> {
        self.key.clone()
    }
    fn tenant(&self) -> Option<String> {
        self.tenant.clone()
    }
    fn note(&self) -> Option<Vec<u8>> {
        self.note.clone()
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// The text that was let through.
    pub text: String,
    /// Why the guard stopped it, if it did.
    pub stopped: Option<String>,
}

/// Leads one run through a guard, chunk by chunk, and does with it what the host would.
///
/// # Panics
/// When the guard holds text back at the run's end, which the host treats as its failure.
pub fn watch_run<'a>(
    guard: &mut impl Guard,
    kind: &Kind,
    chunks: impl IntoIterator<Item = &'a str>,
) -> Watched {
    let mut watched = Watched::default();
    let mut held = String::new();
    for chunk in chunks {
        let verdict = guard.on_chunk(kind, chunk);
        held.push_str(chunk);
        if !settle(verdict, &mut held, &mut watched) {
            return watched;
        }
    }
    let verdict = guard.end_run();
    assert!(!matches!(verdict, Verdict::Hold(_)), "a run has ended, and nothing may be held back of it");
    settle(verdict, &mut held, &mut watched);
    watched
}

/// Whether the run goes on.
fn settle(verdict: Verdict, held: &mut String, watched: &mut Watched) -> bool {
    match verdict {
        Verdict::Pass => watched.text.push_str(&std::mem::take(held)),
        Verdict::Replace(text) => {
            held.clear();
            watched.text.push_str(&text);
        }
        Verdict::Hold(bytes) => {
            let start = held.floor_char_boundary(held.len().saturating_sub(bytes as usize));
            watched.text.extend(held.drain(..start));
        }
        Verdict::Stop(reason) => {
            watched.stopped = Some(reason);
            return false;
        }
    }
    true
}
