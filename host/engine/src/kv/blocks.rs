//! Which blocks of the cache are free: plain data, shared by the sequences of one cache.
//!
//! A block is the same number in every layer. It has one owner here; when prefixes come to be shared, the owner
//! counts references, and what follows stays.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The cache has no block left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache is full: {needed} more blocks are needed, {free} of {total} are free")]
pub struct OutOfBlocks {
    /// Blocks that were asked for.
    pub needed: usize,
    /// Blocks that are free.
    pub free: usize,
    /// Blocks in all.
    pub total: usize,
}

/// The blocks of one cache. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    free: Arc<Mutex<Vec<u32>>>,
    total: usize,
}

impl Blocks {
    /// `total` free blocks.
    pub(super) fn new(total: u32) -> Self {
        // Taken from the end: low numbers first, so that a cache that is never full touches less memory.
        Self { free: Arc::new(Mutex::new((0..total).rev().collect())), total: total as usize }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn free(&self) -> usize {
        self.lock().len()
    }

    /// Appends `count` blocks to `owner`, or none of them.
    pub(super) fn take(&self, count: usize, owner: &mut Vec<u32>) -> Result<(), OutOfBlocks> {
        let mut free = self.lock();
        let Some(rest) = free.len().checked_sub(count) else {
            return Err(OutOfBlocks { needed: count, free: free.len(), total: self.total });
        };
        owner.extend(free.drain(rest..).rev());
        Ok(())
    }

    /// Takes back the blocks of `owner` from its `keep`th on.
    pub(super) fn give_back(&self, owner: &mut Vec<u32>, keep: usize) {
        if keep < owner.len() {
            self.lock().extend(owner.drain(keep..).rev());
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.free, &other.free)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        // Nothing panics while it is held; a list of numbers is never half changed.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
