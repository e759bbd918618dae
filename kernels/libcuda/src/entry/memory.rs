//! Memory of the card and of this machine, and copies.

use cudarc::driver::sys::CUresult;

use super::{Place, put};
use crate::driver::of_context;

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: Place<'_, usize>, total: Place<'_, usize>) -> CUresult {
    of_context("cuMemGetInfo_v2", |context| {
        let (is_free, all) = context.memory();
        put(free, is_free)?;
        put(total, all)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(address: Place<'_, u64>, bytes: usize) -> CUresult {
    of_context("cuMemAlloc_v2", |context| {
        let allocated = context.allocate(bytes)?;
        put(address, allocated)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> CUresult {
    of_context("cuMemFree_v2", |context| context.free(address))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(start: Place<'_, usize>, bytes: usize, flags: u32) -> CUresult {
    of_context("cuMemHostAlloc", |context| {
        let pinned = context.pin(bytes, flags)?;
        put(start, pinned)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(start: usize) -> CUresult {
    of_context("cuMemFreeHost", |context| context.unpin(start))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: usize, bytes: usize, stream: usize) -> CUresult {
    of_context("cuMemcpyHtoDAsync_v2", |context| context.copy_there(to, from, bytes, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(to: usize, from: u64, bytes: usize, stream: usize) -> CUresult {
    of_context("cuMemcpyDtoHAsync_v2", |context| context.copy_back(to, from, bytes, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> CUresult {
    of_context("cuMemcpyDtoDAsync_v2", |context| context.copy(to, from, bytes, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(at: u64, value: u8, bytes: usize, stream: usize) -> CUresult {
    of_context("cuMemsetD8Async", |context| context.fill(at, value, bytes, stream))
}
