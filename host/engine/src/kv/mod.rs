//! What a model remembers of its sequences: for each layer a state of that layer's own kind, and for each sequence
//! the blocks that are its.
//!
//! Owns the block allocator and the page tables. Does not own the layout within a block, which is the attention
//! kernel's, nor who may use how much, which is the scheduler's.
//!
//! A sequence is of one adapter, or of none, for its whole life, so that its state is never read by another one's
//! computation. There is no prefix cache yet; its key begins with [`Adapter::content`], since equal tokens under
//! different adapters have different states. Start at [`Cache::sequence`].

mod blocks;

#[cfg(test)]
mod tests;

pub use blocks::OutOfBlocks;

use std::sync::Arc;

use blocks::Blocks;
use lockgate_kernels::attention::{KvLayout, KvPages, PAGE_TOKENS, Slot};
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::memory::OutOfMemory;

use crate::adapter::Adapter;
use crate::processor::cuda::{Extent, State};

/// Tokens of one block.
pub const BLOCK_TOKENS: usize = PAGE_TOKENS;

/// A sequence that cannot be forked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The cache is full.
    #[error(transparent)]
    Blocks(#[from] OutOfBlocks),
    /// The card failed.
    #[error(transparent)]
    Device(#[from] DriverError),
}

/// The state of one layer, for all sequences. A family whose layers remember something else adds its kind here.
#[derive(Debug)]
pub enum LayerState {
    /// Keys and values of every token, in pages.
    Attention(KvPages),
}

/// The cache of one model: a state for each layer, over a common set of blocks.
#[derive(Debug)]
pub struct Cache {
    /// Of the layers that are computed on this machine's processor.
    layers: Vec<LayerState>,
    /// Of those on a card.
    card: Option<State>,
    blocks: Blocks,
}

impl Cache {
    /// A cache of `blocks` blocks whose layers are of these shapes. Blocks that were never used cost no memory.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn new(layouts: &[KvLayout], blocks: u32) -> Result<Self, OutOfMemory> {
        let layer = |layout: &KvLayout| KvPages::new(*layout, blocks as usize).map(LayerState::Attention);
        let layers = layouts.iter().map(layer).collect::<Result<_, _>>()?;
        Ok(Self { layers, card: None, blocks: Blocks::new(blocks) })
    }

    /// The same with further layers, of as many blocks, on a card.
    pub(crate) fn with_card(self, card: Option<State>) -> Self {
        Self { card, ..self }
    }

    /// A new sequence of the model itself, empty and without blocks.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence_with(None)
    }

    /// A new sequence, computed with this adapter if there is one.
    #[must_use]
    pub fn sequence_with(&self, adapter: Option<Arc<Adapter>>) -> Sequence {
        Sequence { blocks: self.blocks.clone(), pages: Vec::new(), tokens: 0, shared: 0, adapter }
    }

    /// A sequence that goes on from all tokens of `parent`, as if it had computed them itself. Whole blocks are held
    /// by both, the rest of the tokens is copied.
    ///
    /// # Errors
    /// The cache has too few blocks left, or a card failed; then nothing has changed.
    ///
    /// # Panics
    /// When `parent` is not of this cache.
    pub fn fork(&mut self, parent: &mut Sequence) -> Result<Sequence, ForkError> {
        let child = self.branch(parent, parent.tokens / BLOCK_TOKENS)?;
        parent.shared = parent.shared.max(child.shared);
        Ok(child)
    }

    /// The same, with blocks of its own for all tokens: what reads the one moves no byte of the other.
    ///
    /// # Errors
    /// As [`Self::fork`].
    ///
    /// # Panics
    /// As [`Self::fork`].
    pub fn duplicate(&mut self, parent: &Sequence) -> Result<Sequence, ForkError> {
        self.branch(parent, 0)
    }

    /// A sequence that holds the first `shared` blocks of `parent` with it, and copies of the others.
    fn branch(&mut self, parent: &Sequence, shared: usize) -> Result<Sequence, ForkError> {
        assert!(self.owns(parent), "a sequence is forked in the cache that made it");
        let mut child = self.sequence_with(parent.adapter.clone());
        child.blocks.share(&parent.pages[..shared], &mut child.pages);
        child.reserve(parent.tokens)?;
        let copied = shared..parent.tokens.div_ceil(BLOCK_TOKENS);
        let (from, to) = (&parent.pages[copied.clone()], &child.pages[copied]);
        for (from, to) in from.iter().zip(to) {
            for LayerState::Attention(pages) in &mut self.layers {
                pages.copy_page(*from, *to);
            }
        }
        if let Some(card) = &mut self.card {
            card.copy_pages(from, to)?;
        }
        (child.tokens, child.shared) = (parent.tokens, shared);
        Ok(child)
    }

    /// Blocks in all.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.total()
    }

    /// Blocks that no sequence holds.
    #[must_use]
    pub fn blocks_free(&self) -> usize {
        self.blocks.free()
    }

    /// Whether `sequence` was made by this cache.
    #[must_use]
    pub fn owns(&self, sequence: &Sequence) -> bool {
        self.blocks.is(&sequence.blocks)
    }

    /// The layers here, and those on a card.
    pub(crate) fn parts_mut(&mut self) -> (&mut [LayerState], Option<&mut State>) {
        (&mut self.layers, self.card.as_mut())
    }

    pub(crate) fn layers(&self) -> usize {
        self.layers.len() + self.card.as_ref().map_or(0, State::layers)
    }

    /// How large passes may be, where a card has buffers for them.
    pub(crate) fn extent(&self) -> Option<Extent> {
        self.card.as_ref().map(State::extent)
    }
}

/// One sequence's place in a [`Cache`]: its page table, and how many tokens are in it. Dropping it frees its blocks.
#[derive(Debug)]
pub struct Sequence {
    blocks: Blocks,
    pages: Vec<u32>,
    tokens: usize,
    /// Blocks at its beginning that another sequence may hold as well. What is in them stays.
    shared: usize,
    adapter: Option<Arc<Adapter>>,
}

impl Sequence {
    /// What it is computed with beside the model.
    #[must_use]
    pub fn adapter(&self) -> Option<&Arc<Adapter>> {
        self.adapter.as_ref()
    }

    /// Tokens whose state is in the cache: the position of the next one.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The blocks that it holds, in the order of their tokens.
    #[must_use]
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Makes room for `tokens` tokens in all. What it holds already is kept.
    ///
    /// # Errors
    /// The cache has too few blocks left; then nothing has changed.
    pub fn reserve(&mut self, tokens: usize) -> Result<(), OutOfBlocks> {
        let missing = tokens.div_ceil(BLOCK_TOKENS).saturating_sub(self.pages.len());
        self.blocks.take(missing, &mut self.pages)
    }

    /// Forgets all tokens from the `tokens`th on and gives back the blocks that only they used.
    ///
    /// # Panics
    /// When that is within what a fork shares: other tokens in its place would change the other sequence.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        assert!(self.tokens >= self.shared * BLOCK_TOKENS, "what sequences share stays as it is");
        self.blocks.give_back(&mut self.pages, self.tokens.div_ceil(BLOCK_TOKENS));
    }

    /// Where the token at `position` is; nothing where no block has been reserved for it.
    pub(crate) fn slot(&self, position: usize) -> Option<Slot> {
        Slot::of(&self.pages, position)
    }

    /// Counts `tokens` more as being in the cache, after a forward pass has put them there.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
        assert!(self.tokens <= self.pages.len() * BLOCK_TOKENS, "room is reserved before tokens are written");
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        self.blocks.give_back(&mut self.pages, 0);
    }
}

/// How many blocks a cache should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Tokens of the longest sequence.
    pub context: usize,
    /// Sequences of that length that should fit.
    pub sequences: usize,
    /// The most memory that it may take, if there is a limit.
    pub memory_bytes_max: Option<u64>,
}

impl Capacity {
    /// The number of blocks, for layers of these shapes: as many as the sequences need, fewer where memory ends.
    ///
    /// # Errors
    /// Memory does not suffice for one sequence of the whole context: the tokens that it does suffice for.
    pub fn blocks(self, layouts: &[KvLayout]) -> Result<u32, usize> {
        let one = self.context.div_ceil(BLOCK_TOKENS);
        let wanted = one.saturating_mul(self.sequences.max(1)).min(u32::MAX as usize);
        let affordable = match self.memory_bytes_max {
            None => wanted,
            Some(bytes) => usize::try_from(bytes / block_bytes(layouts).max(1)).unwrap_or(usize::MAX),
        };
        if affordable < one {
            return Err(affordable.saturating_mul(BLOCK_TOKENS));
        }
        Ok(u32::try_from(wanted.min(affordable)).unwrap_or(u32::MAX))
    }
}

/// The memory of one block over all layers, in bytes.
#[must_use]
pub fn block_bytes(layouts: &[KvLayout]) -> u64 {
    layouts.iter().map(|layout| layout.page_bytes() as u64).sum()
}
