//! Which blocks of the cache are free: plain data, shared by the sequences of one cache.
//!
//! A block is the same number in every layer. Sequences whose tokens begin alike may hold one together: it is free
//! when the last of them has given it back. What is in a block that several hold must not change, which is the
//! sequences' care.

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
    state: Arc<Mutex<State>>,
    total: usize,
}

#[derive(Debug)]
struct State {
    free: Vec<u32>,
    /// How many hold each block.
    holders: Vec<u32>,
}

impl Blocks {
    /// `total` free blocks.
    pub(super) fn new(total: u32) -> Self {
        // Taken from the end: low numbers first, so that a cache that is never full touches less memory.
        let state = State { free: (0..total).rev().collect(), holders: vec![0; total as usize] };
        Self { state: Arc::new(Mutex::new(state)), total: total as usize }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn free(&self) -> usize {
        self.lock().free.len()
    }

    /// Appends `count` blocks to `owner`, or none of them.
    pub(super) fn take(&self, count: usize, owner: &mut Vec<u32>) -> Result<(), OutOfBlocks> {
        let State { free, holders } = &mut *self.lock();
        let Some(rest) = free.len().checked_sub(count) else {
            return Err(OutOfBlocks { needed: count, free: free.len(), total: self.total });
        };
        for block in free.drain(rest..).rev() {
            holders[block as usize] = 1;
            owner.push(block);
        }
        Ok(())
    }

    /// Appends blocks that another owner holds to `owner`, so that both hold them.
    pub(super) fn share(&self, held: &[u32], owner: &mut Vec<u32>) {
        let State { holders, .. } = &mut *self.lock();
        for &block in held {
            holders[block as usize] += 1;
            owner.push(block);
        }
    }

    /// Takes back the blocks of `owner` from its `keep`th on.
    pub(super) fn give_back(&self, owner: &mut Vec<u32>, keep: usize) {
        if keep < owner.len() {
            let State { free, holders } = &mut *self.lock();
            for block in owner.drain(keep..).rev() {
                let holders = &mut holders[block as usize];
                *holders -= 1;
                if *holders == 0 {
                    free.push(block);
                }
            }
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held but on a block that is not of this cache, before anything has changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
