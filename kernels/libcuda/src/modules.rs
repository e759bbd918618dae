//! Which kernels the image of a module has: that of one of the modules that the kernels crate embeds.
#![allow(unsafe_code, reason = "an image is an address, and knows its own length")]

use cudarc::driver::sys::CUresult;
use lockgate_emulator::Kernel;
use lockgate_kernels::cuda::modules::modules;

use crate::answer::{Answer, misuse};

/// How the image of several architectures begins, and how long its head is: number, version, length of the head, length of
/// the rest.
const FATBIN: u32 = 0xba55_ed50;
const HEAD_BYTES: usize = 16;
/// What compilers align images to.
const ALIGN_BYTES: usize = 8;

/// The kernels of a module, by its image.
pub(crate) fn kernels(image: *const u8) -> Answer<Vec<Kernel>> {
    if image.is_null() || !image.addr().is_multiple_of(ALIGN_BYTES) {
        let text = format!("the image at {image:p} is not aligned to {ALIGN_BYTES} bytes");
        return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
    }
    // SAFETY: an image has a head.
    let head: [u8; HEAD_BYTES] = unsafe { image.cast::<[u8; HEAD_BYTES]>().read() };
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
    if word(0) != FATBIN {
        return Err(misuse(CUresult::CUDA_ERROR_INVALID_IMAGE, "the image is no fatbin"));
    }
    let bytes = (word(4) >> 16) as usize + word(8) as usize + ((word(12) as usize) << 32);
    // SAFETY: an image is as long as its head says.
    let image = unsafe { std::slice::from_raw_parts(image, bytes) };
    let known = modules(None).unwrap_or_default();
    let Some((name, _)) = known.iter().find(|(_, known)| **known == *image) else {
        return Err(misuse(CUresult::CUDA_ERROR_INVALID_IMAGE, "the image is none of the built kernels'"));
    };
    let module = name.trim_end_matches(".fatbin");
    Ok(lockgate_emulator::kernels().into_iter().filter(|kernel| kernel.module == module).collect())
}
