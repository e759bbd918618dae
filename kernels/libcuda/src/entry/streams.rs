//! Streams, events, graphs, modules and launches.

use std::ffi::{CStr, c_char, c_void};

use cudarc::driver::sys::{CUlaunchConfig, CUresult};

use super::{Place, put};
use crate::answer::misuse;
use crate::driver::of_context;

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(stream: Place<'_, usize>, flags: u32) -> CUresult {
    of_context("cuStreamCreate", |context| {
        let created = context.create_stream(flags)?;
        put(stream, created)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: usize) -> CUresult {
    of_context("cuStreamDestroy_v2", |context| context.destroy_stream(stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> CUresult {
    of_context("cuStreamSynchronize", |context| context.synchronize_stream(stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, flags: u32) -> CUresult {
    of_context("cuStreamWaitEvent", |context| context.wait_event(stream, event, flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(event: Place<'_, usize>, flags: u32) -> CUresult {
    of_context("cuEventCreate", |context| {
        let created = context.create_event(flags)?;
        put(event, created)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: usize) -> CUresult {
    of_context("cuEventDestroy_v2", |context| context.destroy_event(event))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, stream: usize) -> CUresult {
    of_context("cuEventRecord", |context| context.record_event(event, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: usize) -> CUresult {
    of_context("cuEventSynchronize", |context| context.synchronize_event(event))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: usize, mode: u32) -> CUresult {
    of_context("cuStreamBeginCapture_v2", |context| context.begin_capture(stream, mode))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamEndCapture(stream: usize, graph: Place<'_, usize>) -> CUresult {
    of_context("cuStreamEndCapture", |context| match context.end_capture(stream) {
        Ok(captured) => put(graph, captured),
        Err(problem) => {
            put(graph, 0)?;
            Err(problem)
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithFlags(
    executable: Place<'_, usize>,
    graph: usize,
    flags: u64,
) -> CUresult {
    of_context("cuGraphInstantiateWithFlags", |context| {
        let made = context.instantiate(graph, flags)?;
        put(executable, made)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(executable: usize, stream: usize) -> CUresult {
    of_context("cuGraphLaunch", |context| context.launch_graph(executable, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(executable: usize) -> CUresult {
    of_context("cuGraphExecDestroy", |context| context.destroy_executable(executable))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: usize) -> CUresult {
    of_context("cuGraphDestroy", |context| context.destroy_graph(graph))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(module: Place<'_, usize>, image: *const u8) -> CUresult {
    of_context("cuModuleLoadData", |context| {
        let loaded = context.load_module(image)?;
        put(module, loaded)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: usize) -> CUresult {
    of_context("cuModuleUnload", |context| context.unload_module(module))
}

/// # Safety
/// `name` is null or a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: Place<'_, usize>,
    module: usize,
    name: *const c_char,
) -> CUresult {
    of_context("cuModuleGetFunction", |context| {
        if name.is_null() {
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, "no name"));
        }
        // SAFETY: it is a string.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let found = context.function(module, &name)?;
        put(function, found)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: usize, attribute: u32, value: i32) -> CUresult {
    of_context("cuFuncSetAttribute", |context| context.set_attribute(function, attribute, value))
}

/// # Safety
/// As the driver says: attributes and parameters are as many as the shape says and the kernel has.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernelEx(
    shape: Option<&CUlaunchConfig>,
    function: usize,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> CUresult {
    of_context("cuLaunchKernelEx", |context| match shape {
        // SAFETY: as the caller promises.
        Some(shape) if extra.is_null() => unsafe { context.launch(shape, function, parameters) },
        _ => Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, "no shape, or parameters in one piece")),
    })
}
