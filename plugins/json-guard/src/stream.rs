//! An answer's text on its way: what goes on of each chunk, and what closes it at the end.
//!
//! In repair, what stands around the value (a sentence before it, a code fence, a remark behind it) is left out, and a
//! value that breaks off is closed. What says nothing until more comes (a comma, a key) is kept back, so that it can
//! be dropped when nothing comes.

use crate::machine::{Fault, Machine};
use crate::schema::Schema;

/// Bytes of text before the value that are looked through for it.
const BEFORE_BYTES_MAX: usize = 4096;

/// One answer's text.
pub(crate) struct Stream {
    machine: Machine,
    repairs: bool,
    before_bytes: usize,
    between: String,
}

impl Stream {
    pub(crate) fn new(schema: Schema, repairs: bool) -> Self {
        Self { machine: Machine::new(schema), repairs, before_bytes: 0, between: String::new() }
    }

    /// Whether anything has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.machine.has_begun() || self.before_bytes > 0
    }

    /// What goes on of a chunk.
    ///
    /// # Errors
    /// Why the answer must not go on.
    pub(crate) fn push(&mut self, text: &str) -> Result<String, Fault> {
        let mut out = String::with_capacity(text.len());
        for character in text.chars() {
            if !self.machine.has_begun() && self.repairs && !self.machine.may_begin(character) {
                self.before_bytes += character.len_utf8();
                if self.before_bytes > BEFORE_BYTES_MAX {
                    return Err("there is no JSON in it");
                }
                continue;
            }
            let was_complete = self.machine.is_complete();
            match self.machine.push(character) {
                Ok(()) if was_complete => {
                    // Space behind the value.
                    if !self.repairs {
                        out.push(character);
                    }
                }
                Ok(()) if self.machine.is_between() => self.between.push(character),
                Ok(()) => {
                    out.push_str(&std::mem::take(&mut self.between));
                    out.push(character);
                }
                Err(_) if was_complete && self.repairs => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(out)
    }

    /// What completes the answer now that nothing more comes.
    ///
    /// # Errors
    /// Why it cannot be completed.
    pub(crate) fn finish(&mut self) -> Result<String, Fault> {
        if self.machine.is_complete() {
            return Ok(String::new());
        }
        if !self.machine.has_begun() {
            return Err("there is no JSON in it");
        }
        let closing = self.machine.closing()?;
        if !self.repairs && !closing.is_empty() {
            return Err("it breaks off");
        }
        Ok(closing)
    }
}
