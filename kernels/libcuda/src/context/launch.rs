//! Modules, their kernels, and launches of these.
#![allow(unsafe_code, reason = "parameters are given by addresses")]

use std::ffi::c_void;

use cudarc::driver::sys::{CUlaunchAttributeID, CUlaunchConfig, CUresult};
use lockgate_emulator::Kernel;
use lockgate_kernels::cuda::driver::{Argument, Launch};

use super::streams::Step;
use super::{Context, fresh, known, unknown};
use crate::answer::{Answer, misuse};
use crate::modules;

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const SHARED_BYTES: u32 = 8;
/// Dynamic shared memory that a kernel has without asking.
const SHARED_BYTES_FREE: usize = 48 << 10;
/// Grids that are only there to be timed have more blocks: see [`is_only_timed`].
const TIMED_BLOCKS_MIN: u64 = 256;

/// The kernels of a module.
pub(super) type Module = Vec<Kernel>;

pub(super) struct Function {
    kernel: Kernel,
    module: usize,
    shared_bytes: usize,
    /// Its code is loaded when it is first launched.
    loaded: bool,
}

/// Whether a launch is of those that a card's speed is measured with: products so large that the emulator would take
/// days. They are checked as any other and compute nothing, so that their outputs are what they were.
pub(super) fn is_only_timed(launch: &Launch) -> bool {
    let blocks: u64 = launch.grid.iter().map(|&size| u64::from(size)).product();
    (launch.kernel.starts_with("gemm_") || launch.kernel.starts_with("peak_")) && blocks >= TIMED_BLOCKS_MIN
}

impl Context {
    pub(crate) fn load_module(&mut self, image: *const u8) -> Answer<usize> {
        self.outside_captures()?;
        let kernels = modules::kernels(image)?;
        let handle = fresh();
        self.modules.insert(handle, kernels);
        Ok(handle)
    }

    pub(crate) fn unload_module(&mut self, handle: usize) -> Answer<()> {
        self.outside_captures()?;
        self.finish_all()?;
        self.modules.remove(&handle).ok_or_else(|| unknown("module", handle))?;
        self.functions.retain(|_, function| function.module != handle);
        Ok(())
    }

    /// A kernel of a module, by its name.
    pub(crate) fn function(&mut self, module: usize, name: &str) -> Answer<usize> {
        let kernels = known(&mut self.modules, "module", module)?;
        let Some(kernel) = kernels.iter().find(|kernel| kernel.name == name) else {
            return Err(CUresult::CUDA_ERROR_NOT_FOUND.into());
        };
        let is_it = |function: &Function| function.module == module && function.kernel.name == name;
        if let Some((handle, _)) = self.functions.iter().find(|(_, function)| is_it(function)) {
            return Ok(*handle);
        }
        let handle = fresh();
        let kernel = kernel.clone();
        self.functions
            .insert(handle, Function { kernel, module, shared_bytes: SHARED_BYTES_FREE, loaded: false });
        Ok(handle)
    }

    pub(crate) fn set_attribute(&mut self, function: usize, attribute: u32, value: i32) -> Answer<()> {
        let most = self.settings.shared_bytes_max();
        let function = known(&mut self.functions, "function", function)?;
        let bytes = usize::try_from(value).ok().filter(|bytes| attribute == SHARED_BYTES && *bytes <= most);
        let Some(bytes) = bytes else {
            let text = format!("attribute {attribute} of {} cannot be {value}", function.kernel.name);
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        };
        function.shared_bytes = bytes;
        Ok(())
    }

    /// Puts a kernel on a stream, with its parameters as they are now.
    ///
    /// # Safety
    /// The attributes are as many as the shape says, and there is an address for each parameter of the kernel, of as many
    /// bytes as that has.
    pub(crate) unsafe fn launch(
        &mut self,
        shape: &CUlaunchConfig,
        function: usize,
        parameters: *const *const c_void,
    ) -> Answer<()> {
        let wrong = |text: String| Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        let stream = shape.hStream.addr();
        let captures = self.captures(stream);
        let (capability, most) = (self.settings.capability, self.settings.shared_bytes_max());
        let function = known(&mut self.functions, "function", function)?;
        let kernel = &function.kernel;
        let grid = [shape.gridDimX, shape.gridDimY, shape.gridDimZ];
        let block = [shape.blockDimX, shape.blockDimY, shape.blockDimZ];
        let threads: u64 = block.iter().map(|&size| u64::from(size)).product();
        if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 0xffff || grid[2] > 0xffff {
            return wrong(format!("{}: a grid of {grid:?} blocks", kernel.name));
        }
        if threads == 0 || threads > 1024 || block[2] > 64 {
            return wrong(format!("{}: a block of {block:?} threads", kernel.name));
        }
        let shared_bytes = shape.sharedMemBytes as usize;
        if shared_bytes > function.shared_bytes {
            let (name, allowed) = (kernel.name, function.shared_bytes);
            return wrong(format!(
                "{name}: {shared_bytes} bytes of shared memory; {allowed} were asked for, of {most}"
            ));
        }
        let mut early = false;
        for number in 0..shape.numAttrs as usize {
            // SAFETY: there are as many.
            let attribute = unsafe { &*shape.attrs.add(number) };
            let is_known =
                attribute.id == CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
            if !is_known || capability < (9, 0) {
                let text = format!("{}: {:?} on a card of {capability:?}", kernel.name, attribute.id);
                return Err(misuse(CUresult::CUDA_ERROR_NOT_SUPPORTED, text));
            }
            // SAFETY: that is the value of this attribute.
            early = unsafe { attribute.value.programmaticStreamSerializationAllowed } != 0;
        }
        if parameters.is_null() && !kernel.parameter_bytes.is_empty() {
            return wrong(format!("{}: without parameters", kernel.name));
        }
        let mut arguments = Vec::new();
        for (number, &bytes) in kernel.parameter_bytes.iter().enumerate() {
            // SAFETY: there is an address for each, of as many bytes.
            let mut value = unsafe { *parameters.add(number) }.cast::<u8>();
            let mut word = [0; 8];
            for byte in &mut word[..bytes.min(8)] {
                // SAFETY: as above.
                *byte = unsafe { *value };
                value = value.wrapping_add(1);
            }
            arguments.push(match bytes {
                8 => Argument::U64(u64::from_le_bytes(word)),
                4 => Argument::U32(u32::from_le_bytes([word[0], word[1], word[2], word[3]])),
                _ => return wrong(format!("{}: parameter {number} has {bytes} bytes", kernel.name)),
            });
        }
        let kernel = kernel.name;
        if captures && !function.loaded {
            let text = format!("{kernel} is launched for the first time, which loads it, within a capture");
            return Err(misuse(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, text));
        }
        function.loaded = true;
        self.put(stream, Step::Launch(Launch { kernel, grid, block, shared_bytes, early, arguments }))
    }
}
