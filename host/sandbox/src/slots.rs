//! Host values that a guest holds by handle.
//!
//! Wasmtime counts the handles; this keeps what they stand for. A number is never used again, so that a handle which
//! a guest keeps beyond its value's end finds nothing, and a guest which makes and drops values for ever uses no
//! more than it holds.

use std::collections::BTreeMap;

use wasmtime::component::Resource;

#[derive(Debug)]
pub(crate) struct Slots<T> {
    values: BTreeMap<u32, T>,
    next: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), next: 0 }
    }
}

impl<T: 'static> Slots<T> {
    pub(crate) fn insert(&mut self, value: T) -> wasmtime::Result<Resource<T>> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or_else(|| wasmtime::Error::msg("too many handles"))?;
        self.values.insert(number, value);
        Ok(Resource::new_own(number))
    }

    pub(crate) fn get(&self, handle: &Resource<T>) -> Option<&T> {
        self.values.get(&handle.rep())
    }

    pub(crate) fn get_mut(&mut self, handle: &Resource<T>) -> wasmtime::Result<&mut T> {
        self.values.get_mut(&handle.rep()).ok_or_else(missing)
    }

    pub(crate) fn remove(&mut self, handle: &Resource<T>) -> wasmtime::Result<T> {
        self.values.remove(&handle.rep()).ok_or_else(missing)
    }

    /// Puts back what was removed.
    pub(crate) fn put_back(&mut self, handle: &Resource<T>, value: T) {
        self.values.insert(handle.rep(), value);
    }

    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.values.values()
    }

    /// The same without its values. Numbers go on.
    pub(crate) fn emptied(self) -> Self {
        Self { values: BTreeMap::new(), next: self.next }
    }

    /// Takes every value away. Handles of them are handles of nothing from now on.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("a handle of nothing")
}
