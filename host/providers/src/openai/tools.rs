//! Tool calls of one choice, put together from fragments.
//!
//! By OpenAI's protocol a call's first fragment carries index, id and name, and later ones the index
//! alone. Servers deviate: the index is missing, or 0 for every call; the id is empty, repeated, or missing
//! altogether; a call comes whole in one fragment. Calls are told apart here and numbered densely, from 0,
//! in the order in which they began. A call without an id gets one, since its result must name it.

use thiserror::Error;

/// The most calls of one choice.
const CALLS_MAX: usize = 512;
/// The most bytes of arguments that wait for their call's name.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// What a server sent of a call. Empty strings count as absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fragment<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
}

/// What to pass on: `id` and `name` in a call's first piece only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) index: u32,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: String,
}

/// A call that cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ToolProblem {
    #[error("more than {CALLS_MAX} tool calls")]
    TooMany,
    #[error("a tool call whose name does not come")]
    NoName,
}

/// The calls of one choice so far.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<Call>,
}

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    /// Arguments that came before the name.
    held: String,
    arguments: ObjectScanner,
}

impl ToolCalls {
    /// Whether there is any call.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Adds a fragment. `None` when there is nothing to pass on yet. `make_id` is asked for an id when
    /// the server gave none.
    pub(super) fn add(
        &mut self,
        fragment: Fragment<'_>,
        make_id: impl FnOnce(u32) -> String,
    ) -> Result<Option<Piece>, ToolProblem> {
        let place = match self.place(&fragment) {
            Some(place) => place,
            None if fragment.id.is_empty() && fragment.name.is_empty() && fragment.arguments.is_empty() => {
                return Ok(None);
            }
            None if self.calls.len() == CALLS_MAX => return Err(ToolProblem::TooMany),
            None => {
                self.calls.push(Call { index: fragment.index, ..Call::default() });
                self.calls.len() - 1
            }
        };
        let index = u32::try_from(place).map_err(|_| ToolProblem::TooMany)?;
        let call = &mut self.calls[place];
        call.arguments.scan(fragment.arguments);
        if !call.name.is_empty() {
            let arguments = fragment.arguments.to_owned();
            return Ok((!arguments.is_empty()).then_some(Piece { index, id: None, name: None, arguments }));
        }
        if call.id.is_empty() {
            fragment.id.clone_into(&mut call.id);
        }
        if call.held.len() + fragment.arguments.len() > HELD_BYTES_MAX {
            return Err(ToolProblem::NoName);
        }
        call.held.push_str(fragment.arguments);
        if fragment.name.is_empty() {
            return Ok(None);
        }
        fragment.name.clone_into(&mut call.name);
        if call.id.is_empty() {
            call.id = make_id(index);
        }
        Ok(Some(Piece {
            index,
            id: Some(call.id.clone()),
            name: Some(call.name.clone()),
            arguments: std::mem::take(&mut call.held),
        }))
    }

    /// Checks that every call could be passed on.
    pub(super) fn finish(&self) -> Result<(), ToolProblem> {
        if self.calls.iter().any(|call| call.name.is_empty()) { Err(ToolProblem::NoName) } else { Ok(()) }
    }

    /// The call that a fragment continues; `None` when it begins a new one.
    fn place(&self, fragment: &Fragment<'_>) -> Option<usize> {
        let same_index =
            |call: &Call| fragment.index.is_none() || call.index.is_none() || call.index == fragment.index;
        if !fragment.id.is_empty()
            && let Some(place) =
                self.calls.iter().rposition(|call| call.id == fragment.id && same_index(call))
        {
            // A last fragment may repeat everything but carry no arguments.
            let begins = !fragment.arguments.is_empty() && self.calls[place].is_followed_by(fragment);
            return (!begins).then_some(place);
        }
        let place = match fragment.index {
            Some(_) => self.calls.iter().rposition(|call| call.index == fragment.index)?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = &self.calls[place];
        let begins = if fragment.id.is_empty() || call.id.is_empty() {
            call.is_followed_by(fragment)
        } else {
            // Another id: another call, unless the server invents an id for every fragment.
            !fragment.name.is_empty()
        };
        (!begins).then_some(place)
    }
}

impl Call {
    /// Whether a fragment that carries a name begins the next call rather than repeating this one's.
    fn is_followed_by(&self, fragment: &Fragment<'_>) -> bool {
        !fragment.name.is_empty()
            && !self.name.is_empty()
            && (self.name != fragment.name || self.arguments.complete)
    }
}

/// Notices when a JSON object has been closed.
#[derive(Debug, Default)]
struct ObjectScanner {
    depth: u32,
    in_string: bool,
    escaped: bool,
    complete: bool,
}

impl ObjectScanner {
    fn scan(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.complete |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
