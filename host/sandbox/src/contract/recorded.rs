//! Answers that do not follow from a call's facts, noted in its request's journal or taken from there.
//!
//! Limits are counted by the functions themselves, before they come here and after, whoever answers.

use std::borrow::Cow;

use lockgate_api::HostCall;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use sha2::{Digest as _, Sha256};

use crate::call::Call;

/// Bytes as a journal writes them: as text where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Bytes {
    Text(String),
    Binary(Vec<u8>),
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary(bytes.to_vec()),
        }
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        match bytes {
            Bytes::Text(text) => text.into_bytes(),
            Bytes::Binary(bytes) => bytes,
        }
    }
}

/// The same for the same value, in a few characters: what is long and lies in the request anyway is not repeated.
pub(crate) fn digest(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What a host function found out about its journal: the answer, or under what to note one.
pub(super) enum Recalled<T> {
    Answer(T),
    Unknown(Option<HostCall>),
}

impl Call {
    /// Asks the journal first. Arguments are looked at only when there is one.
    pub(super) fn recall<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: impl FnOnce() -> Value,
    ) -> Recalled<T> {
        let Some(journal) = self.facts().scope.journal() else { return Recalled::Unknown(None) };
        let call = HostCall { function: Cow::Borrowed(function), arguments: arguments() };
        let found = journal.recall(&self.powers().plugin, &call);
        // An answer of another shape is none: the log is an outside file.
        match found.and_then(|answer| serde_json::from_value(answer).ok()) {
            Some(answer) => Recalled::Answer(answer),
            None => Recalled::Unknown(Some(call)),
        }
    }

    /// Notes what was really answered.
    pub(super) fn note(&self, call: Option<HostCall>, answer: &impl Serialize) {
        let (Some(call), Some(journal)) = (call, self.facts().scope.journal()) else { return };
        // These are plain data, which JSON can always hold.
        if let Ok(answer) = serde_json::to_value(answer) {
            journal.note(&self.powers().plugin, call, answer);
        }
    }

    /// The same for a function that needs not wait.
    pub(super) fn recorded<T: Serialize + DeserializeOwned>(
        &mut self,
        function: &'static str,
        arguments: impl FnOnce() -> Value,
        real: impl FnOnce(&mut Self) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        match self.recall(function, arguments) {
            Recalled::Answer(answer) => Ok(answer),
            Recalled::Unknown(call) => {
                let answer = real(self)?;
                self.note(call, &answer);
                Ok(answer)
            }
        }
    }
}
