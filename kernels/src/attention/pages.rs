//! The paged key-value cache of one layer: its layout, and appending to it. Which page belongs to whom is the
//! engine's business; a page's number is all that is known here.
//!
//! ```text
//! key page    [kv_head][head_dim][16 tokens]          lanes are tokens: a vector of scores needs no sums across
//! value page  [kv_head][16 tokens][value_width]       value_width: head_dim up to the next multiple of 16
//! ```
//! In F16, or in 8 bits with an F16 scale for every 32 dimensions of a token, which lie apart: `[kv_head][head_dim / 32]
//! [16 tokens]`, for keys and for values.
#![allow(unsafe_code, reason = "key-value heads of one page are written by several threads")]

use half::f16;

use super::element::{Element, SCALED_DIMENSIONS};
use crate::cpu::Level;
use crate::cpu::simd::{Enter, LANES, Operation, Simd, load_partial};
use crate::disjoint::DisjointMut;
use crate::memory::{Buffer, Number, OutOfMemory};
use crate::pool::ThreadPool;

/// The number of tokens in a page.
pub const PAGE_TOKENS: usize = 16;

/// How a cache stores numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// Half precision.
    #[default]
    F16,
    /// 8 bits with a scale in half precision for every 32: a bit more than half of the bytes. Heads are multiples of 32.
    Q8_0,
}

impl KvFormat {
    /// Whether heads of this dimension can be stored so.
    #[must_use]
    pub fn takes(self, head_dim: usize) -> bool {
        self == KvFormat::F16 || head_dim.is_multiple_of(SCALED_DIMENSIONS)
    }
}

/// The shape of a layer's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// Key-value heads, at least one.
    pub kv_heads: usize,
    /// The dimension of a head, at least one; multiples of 16 waste nothing.
    pub head_dim: usize,
    /// How numbers are stored.
    pub format: KvFormat,
}

impl KvLayout {
    /// A head's dimension in a value page.
    #[must_use]
    pub fn value_width(self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// The elements of one head in a key page.
    fn key_head_len(self) -> usize {
        self.head_dim * PAGE_TOKENS
    }

    /// The elements of one head in a value page.
    fn value_head_len(self) -> usize {
        self.value_width() * PAGE_TOKENS
    }

    /// The scales of one head in a page of keys, or of values.
    fn scales_head_len(self) -> usize {
        match self.format {
            KvFormat::F16 => 0,
            KvFormat::Q8_0 => self.head_dim / SCALED_DIMENSIONS * PAGE_TOKENS,
        }
    }

    /// The memory of one page, keys and values, in bytes.
    #[must_use]
    pub fn page_bytes(self) -> usize {
        let element_bytes = match self.format {
            KvFormat::F16 => size_of::<f16>(),
            KvFormat::Q8_0 => size_of::<i8>(),
        };
        let elements = self.key_head_len() + self.value_head_len();
        self.kv_heads * (elements * element_bytes + 2 * self.scales_head_len() * size_of::<f16>())
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
    store: Store,
}

#[derive(Debug)]
enum Store {
    F16(Planes<f16>),
    Q8_0 { numbers: Planes<i8>, scales: Planes<f16> },
}

/// Keys and values of all pages.
#[derive(Debug)]
struct Planes<T: Number> {
    keys: Buffer<T>,
    values: Buffer<T>,
    /// Elements of a head in a page of each.
    head_len: [usize; 2],
}

impl<T: Number> Planes<T> {
    fn new(pages: usize, kv_heads: usize, head_len: [usize; 2]) -> Result<Planes<T>, OutOfMemory> {
        let buffer = |head_len: usize| {
            let length = head_len.checked_mul(kv_heads).and_then(|page| page.checked_mul(pages));
            // A product that overflows is more than any machine has.
            Buffer::zeroed(length.unwrap_or(usize::MAX))
        };
        Ok(Planes { keys: buffer(head_len[0])?, values: buffer(head_len[1])?, head_len })
    }

    fn copy_page(&mut self, from: usize, to: usize, kv_heads: usize) {
        let [key, value] = self.head_len.map(|head_len| head_len * kv_heads);
        self.keys.copy_within(from * key..(from + 1) * key, to * key);
        self.values.copy_within(from * value..(from + 1) * value, to * value);
    }

    /// A head's part of a page, by its place among all heads of all pages.
    fn head(&self, place: usize) -> [&[[T; LANES]]; 2] {
        let [key, value] = self.head_len;
        [self.keys[place * key..][..key].as_chunks().0, self.values[place * value..][..value].as_chunks().0]
    }

    fn parts(&mut self) -> Parts<'_, T> {
        let Planes { keys, values, head_len } = self;
        Parts { keys: DisjointMut::new(keys), values: DisjointMut::new(values), head_len: *head_len }
    }
}

/// The same, for several threads to write to.
struct Parts<'a, T> {
    keys: DisjointMut<'a, T>,
    values: DisjointMut<'a, T>,
    head_len: [usize; 2],
}

impl<T: Number> Parts<'_, T> {
    /// A head's part of a page.
    ///
    /// # Safety
    /// Nobody else has it.
    #[allow(
        clippy::mut_from_ref,
        reason = "the memory is shared; the caller promises that this part is its own"
    )]
    unsafe fn head(&self, place: usize) -> [&mut [T]; 2] {
        let [key, value] = self.head_len;
        // SAFETY: the caller's promise.
        unsafe {
            [
                self.keys.part(place * key..(place + 1) * key),
                self.values.part(place * value..(place + 1) * value),
            ]
        }
    }
}

/// One head of one page: keys, values, and the scales of both where there are any.
pub(super) struct Head<'a, N> {
    pub(super) keys: &'a [[N; LANES]],
    pub(super) values: &'a [[N; LANES]],
    pub(super) key_scales: &'a [[f16; LANES]],
    pub(super) value_scales: &'a [[f16; LANES]],
}

impl KvPages {
    /// Room for `pages` pages.
    ///
    /// # Errors
    /// When there is no memory for them.
    ///
    /// # Panics
    /// When the layout has no heads or no dimension, or one that its format does not take.
    pub fn new(layout: KvLayout, pages: usize) -> Result<KvPages, OutOfMemory> {
        let KvLayout { kv_heads, head_dim, format } = layout;
        assert!(kv_heads > 0 && head_dim > 0, "a cache needs heads and a dimension");
        assert!(format.takes(head_dim), "heads of {head_dim} are no multiple of {SCALED_DIMENSIONS}");
        let head_len = [layout.key_head_len(), layout.value_head_len()];
        let store = match format {
            KvFormat::F16 => Store::F16(Planes::new(pages, kv_heads, head_len)?),
            KvFormat::Q8_0 => Store::Q8_0 {
                numbers: Planes::new(pages, kv_heads, head_len)?,
                scales: Planes::new(pages, kv_heads, [layout.scales_head_len(); 2])?,
            },
        };
        Ok(KvPages { layout, pages, store })
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
        let kv_heads = self.layout.kv_heads;
        match &mut self.store {
            Store::F16(numbers) => numbers.copy_page(from, to, kv_heads),
            Store::Q8_0 { numbers, scales } => {
                numbers.copy_page(from, to, kv_heads);
                scales.copy_page(from, to, kv_heads);
            }
        }
    }

    /// Writes a batch of tokens: row i of `keys` and `values`, each `[rows][kv_heads][head_dim]`, to `slots[i]`,
    /// rounded to the cache's format. Where a slot is named twice the later row wins.
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
        let KvLayout { kv_heads, head_dim, .. } = self.layout;
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
        // Of one head: where it is among all, its token's offset, its key and its value.
        let rows = |kv_head: usize| {
            slots.iter().enumerate().map(move |(row, slot)| {
                let from = (row * kv_heads + kv_head) * head_dim;
                let place = slot.page as usize * kv_heads + kv_head;
                (place, slot.offset, &keys[from..from + head_dim], &values[from..from + head_dim])
            })
        };
        match &mut self.store {
            Store::F16(numbers) => {
                let parts = numbers.parts();
                for_each_head(pool, kv_heads, slots.len(), &|kv_head| {
                    for (place, offset, key, value) in rows(kv_head) {
                        // SAFETY: this head's part of a page is written by one task only, and read by none.
                        let [key_page, value_page] = unsafe { parts.head(place) };
                        enter.enter(AppendHead { offset, key, value, key_page, value_page });
                    }
                });
            }
            Store::Q8_0 { numbers, scales } => {
                let (numbers, scales) = (numbers.parts(), scales.parts());
                for_each_head(pool, kv_heads, slots.len(), &|kv_head| {
                    for (place, offset, key, value) in rows(kv_head) {
                        // SAFETY: as above.
                        let ([key_page, value_page], [key_scales, value_scales]) =
                            unsafe { (numbers.head(place), scales.head(place)) };
                        let at = |dimension: usize| dimension * PAGE_TOKENS + offset;
                        eight_bits(key, offset, key_page, key_scales, at);
                        let at = |dimension: usize| offset * head_dim + dimension;
                        eight_bits(value, offset, value_page, value_scales, at);
                    }
                });
            }
        }
    }

    /// One head of a page, where numbers are of this type.
    pub(super) fn head<N: Element>(&self, page: u32, kv_head: usize) -> Head<'_, N> {
        N::head(self, page as usize * self.layout.kv_heads + kv_head)
    }
}

impl Element for f16 {
    const SCALED: bool = false;

    fn head(pages: &KvPages, place: usize) -> Head<'_, f16> {
        let Store::F16(numbers) = &pages.store else { unreachable!("the caller matched on the format") };
        let [keys, values] = numbers.head(place);
        Head { keys, values, key_scales: &[], value_scales: &[] }
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[f16; LANES]) -> S::F32 {
        simd.load_f16(from)
    }
}

impl Element for i8 {
    const SCALED: bool = true;

    fn head(pages: &KvPages, place: usize) -> Head<'_, i8> {
        let Store::Q8_0 { numbers, scales } = &pages.store else {
            unreachable!("the caller matched on the format")
        };
        let ([keys, values], [key_scales, value_scales]) = (numbers.head(place), scales.head(place));
        Head { keys, values, key_scales, value_scales }
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[i8; LANES]) -> S::F32 {
        simd.load_i8(from)
    }
}

/// Does something for each head, on several threads where there are rows enough.
fn for_each_head(pool: &ThreadPool, kv_heads: usize, rows: usize, head: &(dyn Fn(usize) + Sync)) {
    // A decode step's few rows are written before another thread has woken up.
    const ROWS_MIN: usize = 8;
    if rows < ROWS_MIN {
        (0..kv_heads).for_each(head);
    } else {
        pool.for_each(kv_heads, &|_, kv_head| head(kv_head));
    }
}

/// Writes one token's key or value of one head in 8 bits; `at` says where each dimension goes. As in a stored block of
/// Q8_0, the values are of the scale as it is kept, so that it rounds only once; and as on cards, to the bit.
fn eight_bits(from: &[f32], offset: usize, page: &mut [i8], scales: &mut [f16], at: impl Fn(usize) -> usize) {
    for (group, numbers) in from.chunks(SCALED_DIMENSIONS).enumerate() {
        // The greatest by its bits, so that what is not a number makes the whole group so.
        let greatest = numbers.iter().map(|number| number.abs().to_bits()).max().unwrap_or_default();
        let scale = f16::from_f32(f32::from_bits(greatest) / 127.0);
        scales[group * PAGE_TOKENS + offset] = scale;
        let kept = scale.to_f32();
        let inverse = if kept > 0.0 { 1.0 / kept } else { 0.0 };
        for (index, number) in numbers.iter().enumerate() {
            let scaled = (number * inverse).clamp(-127.0, 127.0).round_ties_even();
            page[at(group * SCALED_DIMENSIONS + index)] = scaled as i8;
        }
    }
}

/// Writes one token's key and value of one head in F16.
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
