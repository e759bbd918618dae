//! [`KnownWords`]: words on the device of which this side knows what they are, so that only what differs is sent there.
//!
//! What a step looks up is mostly what the step before said it would be: then nothing is copied. Knows nothing of steps.

use super::driver::{Argument, DriverError};
use super::memory::{Device, DeviceBuffer};

/// Words on the device, and what they are as far as that is known.
#[derive(Debug)]
pub struct KnownWords {
    there: DeviceBuffer<u32>,
    /// The first of them.
    known: Vec<u32>,
    /// Of those, how many from the first on a kernel may have changed.
    changed: usize,
}

impl KnownWords {
    /// Room for so many words, none of them known.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(device: &Device, length: usize) -> Result<KnownWords, DriverError> {
        Ok(KnownWords { there: device.allocate(length)?, known: Vec::with_capacity(length), changed: 0 })
    }

    /// Has the first words be these. Nothing is copied where they are.
    ///
    /// # Errors
    /// There are more than there is room for, or the driver's.
    pub fn set(&mut self, words: &[u32]) -> Result<(), DriverError> {
        if words.is_empty() || self.changed == 0 && self.known.starts_with(words) {
            return Ok(());
        }
        self.known.clear();
        self.changed = 0;
        self.there.write(0, words)?;
        self.known.extend_from_slice(words);
        Ok(())
    }

    /// Notes that a kernel may change the first `count` words.
    pub fn change(&mut self, count: usize) {
        self.changed = self.changed.max(count);
    }

    /// Notes what a kernel has made of the first words.
    pub fn became(&mut self, words: impl ExactSizeIterator<Item = u32>) {
        let count = words.len();
        self.known.resize(self.known.len().max(count), 0);
        self.known.iter_mut().zip(words).for_each(|(known, word)| *known = word);
        self.changed = if self.changed <= count { 0 } else { self.changed };
    }

    /// The words on the device.
    #[must_use]
    pub fn there(&self) -> &DeviceBuffer<u32> {
        &self.there
    }

    pub(super) fn argument(&self) -> Argument {
        self.there.argument()
    }
}
