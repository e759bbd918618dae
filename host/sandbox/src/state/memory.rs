//! One call's hold on its plugin's state: what it writes counts only when the call ends well, and then only when
//! its request's labels are settled.

use std::sync::{Arc, Mutex};

use lockgate_api::{Labels, Scope};
use thiserror::Error;
use tracing::warn;

use super::{Author, Change, Held, KEY_BYTES_MAX, Space, VALUE_BYTES_MAX, View, lock, sum};
use crate::environment::Environment;

/// Why nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum StateError {
    #[error("another request has a write of this key under way")]
    Busy,
    #[error("the key or value has too many bytes, or the key has none")]
    TooLarge,
    #[error("there is no room left")]
    Full,
    #[error("the value is not a number of 64 bits, or would not stay one")]
    NotANumber,
}

/// A call's hold.
pub(crate) struct Memory {
    space: Arc<Mutex<Space>>,
    scope: Arc<Scope>,
    environment: Arc<dyn Environment>,
    plugin: Arc<str>,
    bytes_max: usize,
    call: u64,
    has_written: bool,
}

impl Memory {
    pub(crate) fn new(
        space: Arc<Mutex<Space>>,
        scope: Arc<Scope>,
        environment: Arc<dyn Environment>,
        plugin: Arc<str>,
        bytes_max: usize,
    ) -> Self {
        let call = lock(&space).next();
        Self { space, scope, environment, plugin, bytes_max, call, has_written: false }
    }

    pub(crate) fn get(&mut self, key: &str) -> Result<Option<Arc<[u8]>>, StateError> {
        check_key(key)?;
        Ok(self.looking(|space, view, _| space.seen(view, key)).map(|seen| seen.value))
    }

    pub(crate) fn set(&mut self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), StateError> {
        check_key(key)?;
        let change = self.setting(value, ttl_ms)?;
        self.writing(|space, view, held, by| space.write(view, held, by, key, change, false))
    }

    pub(crate) fn delete(&mut self, key: &str) -> Result<(), StateError> {
        check_key(key)?;
        self.writing(|space, view, held, by| space.write(view, held, by, key, Change::Delete, false))
    }

    pub(crate) fn compare_and_swap(
        &mut self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, StateError> {
        check_key(key)?;
        let change = self.setting(value, ttl_ms)?;
        self.writing(|space, view, held, by| {
            if space.is_busy(view, key, true, held) {
                return Err(StateError::Busy);
            }
            if space.seen(view, key).as_ref().map(|seen| &*seen.value) != expected {
                return Ok(false);
            }
            space.write(view, held, by, key, change, true)?;
            Ok(true)
        })
    }

    pub(crate) fn increment(&mut self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, StateError> {
        check_key(key)?;
        let change = Change::Add { by, expires_ms: self.expiry(ttl_ms) };
        self.writing(|space, view, held, author| {
            let after = sum(space.seen(view, key).as_ref(), by)?;
            space.write(view, held, author, key, change, false)?;
            Ok(after)
        })
    }

    /// The call has ended well.
    pub(crate) fn keep(mut self) {
        if !std::mem::take(&mut self.has_written) {
            return;
        }
        lock(&self.space).keep(self.scope.number(), self.call);
        let kept = Kept {
            space: Arc::clone(&self.space),
            scope: self.scope.number(),
            environment: Arc::clone(&self.environment),
            plugin: Arc::clone(&self.plugin),
            bytes_max: self.bytes_max,
            is_done: false,
        };
        self.scope.when_settled(move |labels| kept.commit(labels));
    }

    fn setting(&self, value: &[u8], ttl_ms: Option<u64>) -> Result<Change, StateError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StateError::TooLarge);
        }
        Ok(Change::Set { value: value.into(), expires_ms: self.expiry(ttl_ms) })
    }

    fn expiry(&self, ttl_ms: Option<u64>) -> Option<u64> {
        ttl_ms.map(|ttl| self.environment.monotonic_ms().saturating_add(ttl))
    }

    fn looking<T>(&self, look: impl FnOnce(&mut Space, View<'_>, &mut Held) -> T) -> T {
        let labels = self.scope.labels();
        let view =
            View { scope: self.scope.number(), labels: &labels, now_ms: self.environment.monotonic_ms() };
        let mut held = Held::new();
        let mut space = lock(&self.space);
        let answer = look(&mut space, view, &mut held);
        drop(space);
        answer
    }

    fn writing<T>(
        &mut self,
        write: impl FnOnce(&mut Space, View<'_>, &mut Held, Author<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let author = Author { scope: &self.scope, call: self.call, bytes_max: self.bytes_max };
        let written = self.looking(|space, view, held| write(space, view, held, author));
        self.has_written |= written.is_ok();
        written
    }
}

impl Drop for Memory {
    /// Without [`Memory::keep`] the call has failed or was given up.
    fn drop(&mut self) {
        if self.has_written {
            lock(&self.space).discard(self.scope.number(), |call| call == Some(self.call));
        }
    }
}

fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX { Err(StateError::TooLarge) } else { Ok(()) }
}

/// Writes that wait for their request's labels; gone when the request settles none.
struct Kept {
    space: Arc<Mutex<Space>>,
    scope: u64,
    environment: Arc<dyn Environment>,
    plugin: Arc<str>,
    bytes_max: usize,
    is_done: bool,
}

impl Kept {
    fn commit(mut self, labels: &Labels) {
        self.is_done = true;
        let now_ms = self.environment.monotonic_ms();
        let lost = lock(&self.space).commit(self.scope, labels, now_ms, self.bytes_max);
        if lost > 0 {
            let plugin = &*self.plugin;
            warn!(plugin, lost, "writes to its state were lost for want of room; raise limits.state_kib");
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.is_done {
            lock(&self.space).discard(self.scope, |call| call.is_none());
        }
    }
}
