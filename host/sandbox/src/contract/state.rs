//! The interface `state`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::bindings::router::lockgate::plugin::state;
use super::recorded::Bytes;
use crate::call::Call;
use crate::state::{Memory, StateError};

impl From<StateError> for state::Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Busy => Self::Busy,
            StateError::TooLarge => Self::TooLarge,
            StateError::Full => Self::Full,
            StateError::NotANumber => Self::NotANumber,
        }
    }
}

type Answer<T> = wasmtime::Result<Result<T, state::Error>>;

impl Call {
    fn remembering<T: Serialize + DeserializeOwned>(
        &mut self,
        function: &'static str,
        arguments: impl FnOnce() -> Value,
        bytes: usize,
        act: impl FnOnce(&mut Memory) -> Result<T, StateError>,
    ) -> Answer<T> {
        self.enter_with(bytes)?;
        self.recorded(function, arguments, |call| Ok(act(call.memory()).map_err(state::Error::from)))
    }
}

fn noted(bytes: &[u8]) -> Bytes {
    bytes.into()
}

impl state::Host for Call {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        let found = self.remembering(
            "state.get",
            || json!([key]),
            key.len(),
            |memory| Ok(memory.get(&key)?.map(|value| noted(&value))),
        )?;
        let found = found.map(|value| value.map(Vec::from));
        self.hand_over(found.as_ref().map_or(0, |value| value.as_ref().map_or(0, Vec::len)))?;
        Ok(found)
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Answer<()> {
        let arguments = || json!([key, noted(&value), ttl_ms]);
        self.remembering("state.set", arguments, key.len() + value.len(), |memory| {
            memory.set(&key, &value, ttl_ms)
        })
    }

    fn delete(&mut self, key: String) -> Answer<()> {
        self.remembering("state.delete", || json!([key]), key.len(), |memory| memory.delete(&key))
    }

    fn compare_and_swap(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Answer<bool> {
        let bytes = key.len() + expected.as_ref().map_or(0, Vec::len) + value.len();
        let arguments = || json!([key, expected.as_deref().map(noted), noted(&value), ttl_ms]);
        self.remembering("state.compare-and-swap", arguments, bytes, |memory| {
            memory.compare_and_swap(&key, expected.as_deref(), &value, ttl_ms)
        })
    }

    fn increment(&mut self, key: String, by: i64, ttl_ms: Option<u64>) -> Answer<i64> {
        let arguments = || json!([key, by, ttl_ms]);
        self.remembering("state.increment", arguments, key.len(), |memory| memory.increment(&key, by, ttl_ms))
    }
}
