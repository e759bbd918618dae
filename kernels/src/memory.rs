//! [`Buffer`]: zeroed, aligned memory for weights, caches and scratch, in huge pages where it is large. Untouched
//! parts of a large buffer cost no memory, and the thread that first writes a part decides which node holds it.
//!
//! Failure to get memory is an error here, never an abort. Reading files into buffers is not done here.
#![allow(unsafe_code, reason = "owns raw allocations and mappings and reinterprets plain numbers")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use half::f16;

#[cfg(test)]
mod tests;

/// The alignment of every buffer, in bytes: a cache line and a vector register of 512 bits.
pub const ALIGNMENT_BYTES: usize = 64;

/// The size of a huge page, and from where on buffers are made of them.
const HUGE_BYTES: usize = 2 << 20;

/// The machine has no memory left for a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: no room for a buffer of {elements} elements of {element_bytes} bytes")]
pub struct OutOfMemory {
    /// How many elements were asked for.
    pub elements: usize,
    /// The size of one.
    pub element_bytes: usize,
}

/// Plain numbers: any bytes are a value, all-zero bytes are zero, and there is no padding.
///
/// # Safety
/// Only for types of which all that is true.
pub unsafe trait Number: Copy + Send + Sync + 'static {}

macro_rules! numbers {
    ($($type:ty),*) => {
        // SAFETY: primitive numbers (f16 is a transparent u16) have every bit pattern as a value and no padding.
        $(unsafe impl Number for $type {})*
    };
}
numbers!(u8, i8, u16, i16, u32, i32, u64, i64, f16, f32, f64);

/// A fixed number of numbers, zero at first, aligned to [`ALIGNMENT_BYTES`].
pub struct Buffer<T: Number> {
    start: NonNull<T>,
    length: usize,
    origin: Origin,
}

enum Origin {
    Empty,
    Allocated(Layout),
    Mapped { bytes: usize },
}

// SAFETY: it owns its memory and plain numbers can be sent and shared.
unsafe impl<T: Number> Send for Buffer<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Number> Sync for Buffer<T> {}

impl<T: Number> Buffer<T> {
    /// Memory for `length` zeros.
    ///
    /// # Errors
    /// When the system has no memory for it, or the size overflows.
    pub fn zeroed(length: usize) -> Result<Buffer<T>, OutOfMemory> {
        let error = OutOfMemory { elements: length, element_bytes: size_of::<T>() };
        let bytes = length.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize / 2);
        let bytes = bytes.ok_or(error)?;
        if bytes == 0 {
            return Ok(Buffer::default());
        }
        if bytes >= HUGE_BYTES {
            let bytes = bytes.next_multiple_of(HUGE_BYTES);
            let start = map_huge(bytes).ok_or(error)?;
            return Ok(Buffer { start: start.cast(), length, origin: Origin::Mapped { bytes } });
        }
        let layout = Layout::from_size_align(bytes, ALIGNMENT_BYTES).map_err(|_| error)?;
        // SAFETY: the layout is not of size zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(error)?;
        Ok(Buffer { start: start.cast(), length, origin: Origin::Allocated(layout) })
    }
}

impl<T: Number> Buffer<T> {
    /// Makes room for at least `length` elements; where there was less, all are zero afterwards.
    ///
    /// # Errors
    /// As [`Self::zeroed`]; the buffer is unchanged then.
    pub fn grow(&mut self, length: usize) -> Result<(), OutOfMemory> {
        if self.length < length {
            *self = Buffer::zeroed(length)?;
        }
        Ok(())
    }
}

impl<T: Number> Default for Buffer<T> {
    fn default() -> Buffer<T> {
        Buffer { start: NonNull::dangling(), length: 0, origin: Origin::Empty }
    }
}

/// Maps zeroed memory that starts and ends at a huge page and asks for huge pages.
fn map_huge(bytes: usize) -> Option<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    let mapped = bytes.checked_add(HUGE_BYTES)?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the system's choice touches nothing that exists.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), mapped, access, MapFlags::PRIVATE) }.ok()?;
    let before = start.addr().wrapping_neg() % HUGE_BYTES;
    let after = HUGE_BYTES - before;
    let aligned = start.wrapping_byte_add(before);
    // SAFETY: both ends lie within the mapping made above, outside the part that is kept. A failure to give them
    // back wastes address space and nothing else.
    unsafe {
        if before > 0 {
            let _ = munmap(start, before);
        }
        let _ = munmap(aligned.wrapping_byte_add(bytes), after);
    }
    #[cfg(target_os = "linux")]
    // SAFETY: the range is the mapping that is kept. Without huge pages (an error here) it works all the same.
    unsafe {
        let _ = rustix::mm::madvise(aligned, bytes, rustix::mm::Advice::LinuxHugepage);
    }
    NonNull::new(aligned.cast())
}

impl<T: Number> Drop for Buffer<T> {
    fn drop(&mut self) {
        match self.origin {
            Origin::Empty => {}
            // SAFETY: allocated with this layout, and nothing borrows a value that is being dropped.
            Origin::Allocated(layout) => unsafe { dealloc(self.start.as_ptr().cast(), layout) },
            // SAFETY: mapped with this size, and nothing borrows a value that is being dropped.
            Origin::Mapped { bytes } => unsafe {
                let _ = rustix::mm::munmap(self.start.as_ptr().cast(), bytes);
            },
        }
    }
}

impl<T: Number> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the memory holds that many elements, all initialised (zero at first), for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Buffer of {} × {}", self.length, std::any::type_name::<T>())
    }
}

/// The same memory as numbers of another type; nothing unless alignment and length fit exactly.
#[must_use]
pub fn view<T: Number, U: Number>(numbers: &[T]) -> Option<&[U]> {
    let length = fit::<U>(numbers.as_ptr().addr(), size_of_val(numbers))?;
    // SAFETY: aligned for U, of exactly that many U, any bytes are a U, and the borrow is passed on.
    Some(unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), length) })
}

/// As [`view`], to write to.
#[must_use]
pub fn view_mut<T: Number, U: Number>(numbers: &mut [T]) -> Option<&mut [U]> {
    let length = fit::<U>(numbers.as_ptr().addr(), size_of_val(numbers))?;
    // SAFETY: as for `view`; any bytes written as U are a T as well.
    Some(unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), length) })
}

fn fit<U>(address: usize, bytes: usize) -> Option<usize> {
    (address.is_multiple_of(align_of::<U>()) && bytes.is_multiple_of(size_of::<U>()))
        .then(|| bytes / size_of::<U>())
}
