//! What a preprocessor is given: a request that it may change.
//!
//! A trait, so that a preprocessor runs unchanged against the host and against the plain data of `testing`.
//! Its methods mirror the interface `draft`, where meaning and cost are written down.

use std::ops::Range;

use crate::facts::Request;

/// A request being prepared.
pub trait Draft {
    /// The request with the changes made so far.
    fn request(&self) -> impl Request + '_;
    /// The pieces of its text, in order. In [`Request::text`] a line end of one byte stands between two.
    /// Costs three calls of the host.
    fn pieces(&self) -> Vec<Piece>;
    /// Replaces a range of bytes of one piece. Change a piece from its end to its beginning: offsets behind
    /// a change shift.
    ///
    /// # Errors
    /// [`EditError`]; nothing has changed then.
    fn replace(&mut self, piece: u32, range: Range<u64>, text: &str) -> Result<(), EditError>;
    /// Adds a label, for good.
    fn add_label(&mut self, label: &str);
    /// Keeps at most 65536 bytes for the plugin's own guard.
    fn set_note(&mut self, note: &[u8]);
}

/// A piece of a request's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands.
    pub place: Place,
    /// Its bytes as it is now.
    pub length: u64,
    /// Whether it can be read and not replaced.
    pub is_fixed: bool,
}

/// Where a piece of text stands. Numbers are those of messages, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The content of a message.
    Content(u32),
    /// The name of a message's author.
    Name(u32),
    /// Earlier reasoning.
    Reasoning(u32),
    /// The arguments of a tool call: JSON text.
    Arguments(u32),
    /// The address of a picture.
    Picture(u32),
    /// A name or id that other parts refer to.
    Identifier,
    /// What a tool or schema is for.
    Description,
    /// A string in JSON.
    Value,
    /// A key or number in JSON.
    Key,
    /// A text at which the answer stops.
    Stop,
    /// A place that this crate does not know.
    Other(String),
}

/// Why a piece was not replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is no such piece.
    NoSuchPiece,
    /// It cannot be replaced.
    Fixed,
    /// The range does not lie in it.
    OutOfRange,
    /// It must not become empty.
    Empty,
    /// A reason that this crate does not know.
    Other(String),
}
