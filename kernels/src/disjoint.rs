//! [`DisjointMut`]: one mutable slice that the threads of a pool write to in parts which do not overlap, as a
//! matrix product writes each output once. It carries no synchronisation; the pool's end of a run publishes the
//! writes to the caller.
#![allow(
    unsafe_code,
    reason = "hands out parts of one slice to several threads; callers promise disjointness"
)]

use std::marker::PhantomData;
use std::ops::Range;

/// A borrowed slice whose disjoint parts several threads may hold mutably at once.
pub struct DisjointMut<'a, T> {
    start: *mut T,
    length: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` in parts; every part reaches one thread at a time by the contract of `part`.
unsafe impl<T: Send> Sync for DisjointMut<'_, T> {}
// SAFETY: sending it is sending a `&mut [T]`.
unsafe impl<T: Send> Send for DisjointMut<'_, T> {}

impl<'a, T> DisjointMut<'a, T> {
    /// Takes the whole slice for as long as this value lives.
    pub fn new(slice: &'a mut [T]) -> DisjointMut<'a, T> {
        DisjointMut { start: slice.as_mut_ptr(), length: slice.len(), borrow: PhantomData }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The elements of `range`.
    ///
    /// # Panics
    /// When the range is not within the slice.
    ///
    /// # Safety
    /// While the returned part lives, no other part that overlaps it may exist, on this or any other thread.
    #[allow(clippy::mut_from_ref, reason = "that several parts are mutable at once is what the type is for")]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "part lies outside the slice");
        // SAFETY: the range lies within the borrowed slice, and the caller promises that no other part overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }
}
