//! Bytes to whole characters: an incomplete one waits, an impossible one becomes U+FFFD.

/// The bytes of a character that is not complete yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Assembler {
    /// At most three bytes, the valid beginning of a character.
    tail: Vec<u8>,
}

impl Assembler {
    /// Appends to `text` every character that is complete with `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.tail.extend_from_slice(bytes);
        let mut rest = self.tail.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.tail.clear();
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        self.tail = after.to_vec();
                        return;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[invalid..];
                }
            }
        }
    }
}
