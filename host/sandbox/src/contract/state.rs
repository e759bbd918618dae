//! The interface `state`.

use std::sync::Arc;

use super::bindings::router::lockgate::plugin::state;
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
    fn remembering<T>(
        &mut self,
        bytes: usize,
        act: impl FnOnce(&mut Memory) -> Result<T, StateError>,
    ) -> Answer<T> {
        self.enter_with(bytes)?;
        Ok(act(self.memory()).map_err(state::Error::from))
    }
}

impl state::Host for Call {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        let found: Result<Option<Arc<[u8]>>, _> = self.remembering(key.len(), |memory| memory.get(&key))?;
        self.hand_over(found.as_ref().map_or(0, |value| value.as_ref().map_or(0, |value| value.len())))?;
        Ok(found.map(|value| value.map(|value| value.to_vec())))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Answer<()> {
        self.remembering(key.len() + value.len(), |memory| memory.set(&key, &value, ttl_ms))
    }

    fn delete(&mut self, key: String) -> Answer<()> {
        self.remembering(key.len(), |memory| memory.delete(&key))
    }

    fn compare_and_swap(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Answer<bool> {
        let bytes = key.len() + expected.as_ref().map_or(0, Vec::len) + value.len();
        self.remembering(bytes, |memory| memory.compare_and_swap(&key, expected.as_deref(), &value, ttl_ms))
    }

    fn increment(&mut self, key: String, by: i64, ttl_ms: Option<u64>) -> Answer<i64> {
        self.remembering(key.len(), |memory| memory.increment(&key, by, ttl_ms))
    }
}
