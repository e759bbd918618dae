//! Server-sent events, framed on bytes.
//!
//! A pure decoder: any split of the same bytes gives the same events. Text is decoded by whoever reads a
//! whole event, so a character that is split between two chunks is never damaged. What one event may
//! hold is limited; the stream as a whole is not.

use thiserror::Error;

/// The most bytes of one event, its unfinished line included.
pub(crate) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Whether the event calls itself an error, by `event: error` or by a field named `error`.
    pub(crate) is_error: bool,
    /// Its data lines, joined by line feeds.
    pub(crate) data: Vec<u8>,
}

/// An event that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("one event is longer than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLong;

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(crate) struct SseDecoder {
    /// The line being read, without its end.
    line: Vec<u8>,
    /// A carriage return ended the last line, so a line feed that comes next belongs to it.
    after_return: bool,
    /// The first line has been seen, so no byte order mark is expected any more.
    started: bool,
    data: Vec<u8>,
    has_data: bool,
    is_error: bool,
}

impl SseDecoder {
    /// Decodes the next bytes and hands each event that they complete to `emit`.
    ///
    /// # Errors
    /// When an event grows beyond [`EVENT_BYTES_MAX`]; the decoder is then of no more use.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        mut emit: impl FnMut(SseEvent),
    ) -> Result<(), EventTooLong> {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
            self.grow_line(&bytes[..end])?;
            self.end_line(&mut emit)?;
            let is_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_return {
                self.after_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.grow_line(bytes)
    }

    /// What is left when the stream has ended: an event without the blank line that would complete it.
    /// `None` when nothing was begun.
    pub(crate) fn into_unfinished(mut self) -> Option<Vec<u8>> {
        // By the standard an unfinished event is dropped; the caller decides what its loss means.
        let mut late = None;
        if !self.line.is_empty() && self.end_line(&mut |event| late = Some(event)).is_err() {
            return Some(Vec::new());
        }
        self.has_data.then_some(self.data)
    }

    fn grow_line(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, emit: &mut impl FnMut(SseEvent)) -> Result<(), EventTooLong> {
        let mut line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !std::mem::replace(&mut self.started, true) {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(emit);
        } else {
            let (field, value) = match text.iter().position(|&byte| byte == b':') {
                Some(colon) => (&text[..colon], &text[colon + 1..]),
                None => (text, &text[text.len()..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"data" => self.add_data(value)?,
                b"error" => {
                    self.is_error = true;
                    self.add_data(value)?;
                }
                b"event" => self.is_error |= value == b"error",
                // Comments, ids, retry times and whatever the future brings.
                _ => {}
            }
        }
        line.clear();
        self.line = line;
        Ok(())
    }

    fn add_data(&mut self, value: &[u8]) -> Result<(), EventTooLong> {
        if self.data.len() + value.len() + 1 > EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
        Ok(())
    }

    fn dispatch(&mut self, emit: &mut impl FnMut(SseEvent)) {
        let data = std::mem::take(&mut self.data);
        let is_error = std::mem::take(&mut self.is_error);
        if std::mem::take(&mut self.has_data) {
            emit(SseEvent { is_error, data });
        }
    }
}

#[cfg(test)]
mod tests;
