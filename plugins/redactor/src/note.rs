//! What the preprocessor tells the guard: the placeholders and what they stand for, in few bytes.
//!
//! One byte for the answer's form, then for each placeholder its length (two bytes), itself, the length of
//! what it stands for (four bytes), and that. Numbers have their lowest byte first.

use std::collections::BTreeMap;

/// The most bytes that the host keeps.
const BYTES_MAX: usize = 65536;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// Whether the answer's text is to be JSON.
    pub(crate) is_json: bool,
    /// What each placeholder stands for.
    pub(crate) values: BTreeMap<String, String>,
}

impl Note {
    /// None when it is too long.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![u8::from(self.is_json)];
        for (placeholder, value) in &self.values {
            bytes.extend(u16::try_from(placeholder.len()).ok()?.to_le_bytes());
            bytes.extend(placeholder.as_bytes());
            bytes.extend(u32::try_from(value.len()).ok()?.to_le_bytes());
            bytes.extend(value.as_bytes());
        }
        (bytes.len() <= BYTES_MAX).then_some(bytes)
    }

    /// None when it is no note.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&form, mut rest) = bytes.split_first()?;
        let mut values = BTreeMap::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk()?;
            let (placeholder, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
            let (length, after) = after.split_first_chunk()?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            let text = |bytes: &[u8]| Some(std::str::from_utf8(bytes).ok()?.to_owned());
            values.insert(text(placeholder)?, text(value)?);
            rest = after;
        }
        Some(Self { is_json: form == 1, values })
    }
}
