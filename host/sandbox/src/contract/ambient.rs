//! The interfaces `clock` and `random`.

use serde_json::json;

use super::bindings::router::lockgate::plugin::{clock, random};
use crate::call::Call;
use crate::stop::Stop;

/// Random bytes that one call gives.
const RANDOM_BYTES_MAX: usize = 4096;

impl clock::Host for Call {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.enter()?;
        self.recorded("clock.now-ms", || json!([]), |call| Ok(call.environment().now_ms()))
    }

    fn monotonic_ms(&mut self) -> wasmtime::Result<u64> {
        self.enter()?;
        self.recorded("clock.monotonic-ms", || json!([]), |call| Ok(call.environment().monotonic_ms()))
    }
}

impl random::Host for Call {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        self.enter()?;
        let length = count as usize;
        if length > RANDOM_BYTES_MAX {
            return Err(Stop::Part { part: "random bytes", length, max: RANDOM_BYTES_MAX }.into());
        }
        self.hand_over(length)?;
        self.recorded(
            "random.bytes",
            || json!([count]),
            |call| {
                let mut bytes = vec![0; length];
                call.environment().random(&mut bytes).map_err(wasmtime::Error::msg)?;
                Ok(bytes)
            },
        )
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        self.enter()?;
        self.recorded(
            "random.number",
            || json!([]),
            |call| {
                let mut bytes = [0; 8];
                call.environment().random(&mut bytes).map_err(wasmtime::Error::msg)?;
                Ok(u64::from_le_bytes(bytes))
            },
        )
    }
}
