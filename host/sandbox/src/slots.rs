//! Host values that a guest holds by handle.
//!
//! Wasmtime counts the handles; this keeps what they stand for. A freed place is used again, so that a
//! guest which makes and drops values for ever uses no more than it holds.

use wasmtime::component::Resource;

#[derive(Debug)]
pub(crate) struct Slots<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T: 'static> Slots<T> {
    pub(crate) fn insert(&mut self, value: T) -> wasmtime::Result<Resource<T>> {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.values.push(None);
                u32::try_from(self.values.len() - 1)?
            }
        };
        self.values[number as usize] = Some(value);
        Ok(Resource::new_own(number))
    }

    pub(crate) fn get_mut(&mut self, handle: &Resource<T>) -> wasmtime::Result<&mut T> {
        self.values.get_mut(handle.rep() as usize).and_then(Option::as_mut).ok_or_else(missing)
    }

    pub(crate) fn remove(&mut self, handle: &Resource<T>) -> wasmtime::Result<T> {
        let value = self.values.get_mut(handle.rep() as usize).and_then(Option::take).ok_or_else(missing)?;
        self.free.push(handle.rep());
        Ok(value)
    }
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("a handle of nothing")
}
