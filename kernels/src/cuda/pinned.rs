//! [`Pinned`]: memory of this machine that a card copies from and to on its own, while the processor goes on. Not
//! write-combined: what comes back is read.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::ffi::c_void;

use cudarc::driver::result;

/// Pinned bytes. Whoever has them frees them, with the context current and no copy going on.
#[derive(Debug)]
pub(super) struct Pinned {
    start: *mut c_void,
    bytes: usize,
}

// SAFETY: it is memory of the process, reached through this alone.
unsafe impl Send for Pinned {}

impl Pinned {
    /// So many zeros, at least one; the context must be current.
    pub(super) fn new(bytes: usize) -> Result<Pinned, result::DriverError> {
        let bytes = bytes.max(1);
        // SAFETY: without flags it is ordinary memory that stays where it is.
        let start = unsafe { result::malloc_host(bytes, 0) }?;
        // SAFETY: all of it was just allocated.
        unsafe { std::ptr::write_bytes(start.cast::<u8>(), 0, bytes) };
        Ok(Pinned { start, bytes })
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: it was allocated and initialised so long; borrowed as this is.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast::<u8>(), self.bytes) }
    }

    /// Frees it.
    pub(super) fn free(self) {
        // SAFETY: it was allocated by `new`, and nobody else knows it. An error is one of earlier work.
        let _ = unsafe { result::free_host(self.start) };
    }
}
