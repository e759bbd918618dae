//! The entries of one set of labels, and the bytes that they take.

use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that an entry counts beside its key and value. With it a quota of bytes bounds the number of entries too.
const ENTRY_BYTES: usize = 64;

/// One key's value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// None hides what fewer labels have written.
    pub(super) value: Option<Arc<[u8]>>,
    pub(super) expires_ms: Option<u64>,
    /// Higher is newer.
    pub(super) sequence: u64,
}

#[derive(Default)]
pub(super) struct Cell {
    entries: HashMap<Arc<str>, Entry>,
    bytes: usize,
}

/// What an entry counts.
pub(super) fn size(key: &str, value_bytes: usize) -> usize {
    key.len() + value_bytes + ENTRY_BYTES
}

impl Entry {
    fn is_alive(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }

    fn size(&self, key: &str) -> usize {
        size(key, self.value.as_ref().map_or(0, |value| value.len()))
    }
}

impl Cell {
    pub(super) fn get(&self, key: &str, now_ms: u64) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_alive(now_ms))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn bytes_of(&self, key: &str) -> usize {
        self.entries.get(key).map_or(0, |entry| entry.size(key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.size(key);
        }
    }

    /// Whether there was room for it. What was there before stays when there was none.
    pub(super) fn put(&mut self, key: &Arc<str>, entry: Entry, bytes_max: usize, now_ms: u64) -> bool {
        let after = |cell: &Self| cell.bytes - cell.bytes_of(key) + entry.size(key);
        if after(self) > bytes_max {
            self.forget_expired(now_ms);
        }
        if after(self) > bytes_max {
            return false;
        }
        self.remove(key);
        self.bytes += entry.size(key);
        self.entries.insert(Arc::clone(key), entry);
        true
    }

    pub(super) fn forget_expired(&mut self, now_ms: u64) {
        let mut freed = 0;
        self.entries.retain(|key, entry| {
            let is_alive = entry.is_alive(now_ms);
            freed += if is_alive { 0 } else { entry.size(key) };
            is_alive
        });
        self.bytes -= freed;
    }
}
