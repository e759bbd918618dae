//! The paged key-value cache of one layer: its layout, and appending to it. Which page belongs to whom is the
//! engine's business; a page's number is all that is known here.
//!
//! ```text
//! key page    F16 [kv_head][head_dim][16 tokens]          lanes are tokens: a vector of scores needs no sums across
//! value page  F16 [kv_head][16 tokens][value_width]       value_width: head_dim up to the next multiple of 16
//! ```
#![allow(unsafe_code, reason = "key-value heads of one page are written by several threads")]

use half::f16;

use crate::cpu::Level;
use crate::cpu::simd::{Enter, LANES, Operation, Simd, load_partial};
use crate::disjoint::DisjointMut;
use crate::memory::{Buffer, OutOfMemory};
use crate::pool::ThreadPool;

/// The number of tokens in a page.
pub const PAGE_TOKENS: usize = 16;

/// The shape of a layer's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// Key-value heads, at least one.
    pub kv_heads: usize,
    /// The dimension of a head, at least one; multiples of 16 waste nothing.
    pub head_dim: usize,
}

impl KvLayout {
    /// A head's dimension in a value page.
    #[must_use]
    pub fn value_width(self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// The elements of one head in a key page.
    pub(super) fn key_head_len(self) -> usize {
        self.head_dim * PAGE_TOKENS
    }

    /// The elements of one head in a value page.
    pub(super) fn value_head_len(self) -> usize {
        self.value_width() * PAGE_TOKENS
    }

    /// The memory of one page, keys and values, in bytes.
    #[must_use]
    pub fn page_bytes(self) -> usize {
        self.kv_heads * (self.key_head_len() + self.value_head_len()) * size_of::<f16>()
    }
}

/// Where a token's keys and values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The page's number.
    pub page: u32,
    /// The token's place in it, below [`PAGE_TOKENS`].
    pub offset: usize,
}

impl Slot {
    /// The slot of a position in a sequence with these pages; nothing where the pages end before it.
    #[must_use]
    pub fn of(pages: &[u32], position: usize) -> Option<Slot> {
        let page = *pages.get(position / PAGE_TOKENS)?;
        Some(Slot { page, offset: position % PAGE_TOKENS })
    }
}

/// The pages of one layer, all zero at first. Pages that were never written to use no memory.
#[derive(Debug)]
pub struct KvPages {
    layout: KvLayout,
    pages: usize,
    keys: Buffer<f16>,
    values: Buffer<f16>,
}

impl KvPages {
    /// Room for `pages` pages.
    ///
    /// # Errors
    /// When there is no memory for them.
    ///
    /// # Panics
    /// When the layout has no heads or no dimension.
    pub fn new(layout: KvLayout, pages: usize) -> Result<KvPages, OutOfMemory> {
        assert!(layout.kv_heads > 0 && layout.head_dim > 0, "a cache needs heads and a dimension");
        let buffer = |head_len: usize| {
            let length = head_len.checked_mul(layout.kv_heads).and_then(|page| page.checked_mul(pages));
            // A product that overflows is more than any machine has.
            Buffer::zeroed(length.unwrap_or(usize::MAX))
        };
        let (keys, values) = (buffer(layout.key_head_len())?, buffer(layout.value_head_len())?);
        Ok(KvPages { layout, pages, keys, values })
    }

    /// The shape of its keys and values.
    #[must_use]
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Makes page `to` what page `from` is.
    ///
    /// # Panics
    /// When one of them does not exist.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        let (from, to) = (from as usize, to as usize);
        assert!(
            from < self.pages && to < self.pages,
            "pages {from} and {to} are not of {} pages",
            self.pages
        );
        let key = self.layout.kv_heads * self.layout.key_head_len();
        self.keys.copy_within(from * key..(from + 1) * key, to * key);
        let value = self.layout.kv_heads * self.layout.value_head_len();
        self.values.copy_within(from * value..(from + 1) * value, to * value);
    }

    /// Writes a batch of tokens: row i of `keys` and `values`, each `[rows][kv_heads][head_dim]`, to `slots[i]`,
    /// rounded to F16. Where a slot is named twice the later row wins.
    ///
    /// # Panics
    /// When a length is wrong or a slot does not exist; nothing is written then.
    pub fn append(&mut self, pool: &ThreadPool, level: Level, slots: &[Slot], keys: &[f32], values: &[f32]) {
        self.append_with(pool, level, slots, keys, values);
    }

    pub(super) fn append_with<E: Enter>(
        &mut self,
        pool: &ThreadPool,
        enter: E,
        slots: &[Slot],
        keys: &[f32],
        values: &[f32],
    ) {
        let KvLayout { kv_heads, head_dim } = self.layout;
        let expected = slots.len() * kv_heads * head_dim;
        assert_eq!(keys.len(), expected, "keys are not [{}][{kv_heads}][{head_dim}]", slots.len());
        assert_eq!(values.len(), expected, "values are not [{}][{kv_heads}][{head_dim}]", slots.len());
        for slot in slots {
            assert!(
                (slot.page as usize) < self.pages && slot.offset < PAGE_TOKENS,
                "slot {} of page {} does not exist",
                slot.offset,
                slot.page
            );
        }
        let layout = self.layout;
        let (key_pages, value_pages) = (DisjointMut::new(&mut self.keys), DisjointMut::new(&mut self.values));
        let head = |kv_head: usize| {
            for (row, slot) in slots.iter().enumerate() {
                let place = slot.page as usize * kv_heads + kv_head;
                let (key, value) = (place * layout.key_head_len(), place * layout.value_head_len());
                // SAFETY: this head's part of a page is written by one task only, and read by none.
                let (key_page, value_page) = unsafe {
                    (
                        key_pages.part(key..key + layout.key_head_len()),
                        value_pages.part(value..value + layout.value_head_len()),
                    )
                };
                let from = (row * kv_heads + kv_head) * head_dim;
                enter.enter(AppendHead {
                    offset: slot.offset,
                    key: &keys[from..from + head_dim],
                    value: &values[from..from + head_dim],
                    key_page,
                    value_page,
                });
            }
        };
        // A decode step's few rows are written before another thread has woken up.
        const ROWS_MIN: usize = 8;
        if slots.len() < ROWS_MIN {
            (0..kv_heads).for_each(head);
        } else {
            pool.for_each(kv_heads, &|_, kv_head| head(kv_head));
        }
    }

    /// A head's keys in a page: `[head_dim][16 tokens]`.
    pub(super) fn keys(&self, page: u32, kv_head: usize) -> &[[f16; LANES]] {
        head(&self.keys, page as usize * self.layout.kv_heads + kv_head, self.layout.key_head_len())
    }

    /// A head's values in a page: `[16 tokens][value_width]`.
    pub(super) fn values(&self, page: u32, kv_head: usize) -> &[[f16; LANES]] {
        head(&self.values, page as usize * self.layout.kv_heads + kv_head, self.layout.value_head_len())
    }
}

fn head(pages: &[f16], place: usize, head_len: usize) -> &[[f16; LANES]] {
    pages[place * head_len..][..head_len].as_chunks().0
}

/// Writes one token's key and value of one head.
struct AppendHead<'a> {
    offset: usize,
    key: &'a [f32],
    value: &'a [f32],
    key_page: &'a mut [f16],
    value_page: &'a mut [f16],
}

impl Operation for AppendHead<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (key_tokens, _) = self.key_page.as_chunks_mut::<PAGE_TOKENS>();
        for (tokens, key) in key_tokens.chunks_mut(LANES).zip(self.key.chunks(LANES)) {
            let mut halves = [f16::ZERO; LANES];
            simd.store_f16(load_partial(simd, key), &mut halves);
            for (tokens, half) in tokens.iter_mut().zip(halves) {
                tokens[self.offset] = half;
            }
        }
        let width = self.value.len().next_multiple_of(LANES);
        let (lanes, _) = self.value_page[self.offset * width..][..width].as_chunks_mut();
        for (lanes, value) in lanes.iter_mut().zip(self.value.chunks(LANES)) {
            simd.store_f16(load_partial(simd, value), lanes);
        }
    }
}
