//! The C interface of the emulated machine.
#![allow(unsafe_code, reason = "the machine is C++")]

use std::ffi::{CStr, CString, c_char, c_void};

use lockgate_kernels::cuda::driver::Launch;

/// In which order threads run between two barriers, and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The lowest thread that can run.
    InOrder,
    /// The highest; blocks in reverse.
    Reverse,
    /// From warp to warp.
    Interleaved,
    /// Any, by a seed; blocks begin anywhere.
    Random(u64),
}

impl Schedule {
    /// One of each kind.
    pub const ALL: [Schedule; 4] =
        [Schedule::InOrder, Schedule::Reverse, Schedule::Interleaved, Schedule::Random(1)];

    /// Its number in the C interface, and its seed.
    pub(crate) fn code(self) -> (u32, u64) {
        match self {
            Schedule::InOrder => (0, 0),
            Schedule::Reverse => (1, 0),
            Schedule::Interleaved => (2, 0),
            Schedule::Random(seed) => (3, seed),
        }
    }
}

/// Device memory: an address of this process, and its length.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) start: usize,
    pub(crate) bytes: usize,
}

#[repr(C)]
struct Request {
    kernel: *const c_char,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: usize,
    arguments: *const *const c_void,
    argument_bytes: *const usize,
    argument_count: usize,
    buffers: *const Range,
    buffer_count: usize,
    schedule: u32,
    seed: u64,
    early: bool,
    error: *mut c_char,
    error_bytes: usize,
}

unsafe extern "C" {
    fn lockgate_emulator_launch(request: *const Request) -> bool;
    fn lockgate_emulator_kernel(index: usize) -> *const c_char;
    fn lockgate_emulator_kernel_file(index: usize) -> *const c_char;
    fn lockgate_emulator_kernel_parameter(index: usize, number: usize) -> usize;
}

/// What a kernel's code says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: &'static str,
    /// The source file that it is in, without folder and `.cu`.
    pub module: &'static str,
    /// The bytes of each of its parameters.
    pub parameter_bytes: Vec<usize>,
}

/// All kernels.
#[must_use]
pub fn kernels() -> Vec<Kernel> {
    let text = |text: *const c_char| {
        // SAFETY: a literal, which ends in a zero and lives as long as the program.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
    };
    (0..)
        .map_while(|index| {
            // SAFETY: any index is allowed; what is returned is null or a literal's address.
            let name = unsafe { lockgate_emulator_kernel(index) };
            (!name.is_null()).then_some((index, name))
        })
        .map(|(index, name)| {
            // SAFETY: there is such a kernel.
            let file = text(unsafe { lockgate_emulator_kernel_file(index) });
            let module = file.rsplit('/').next().and_then(|file| file.strip_suffix(".cu"));
            // SAFETY: there is such a kernel; any number is allowed.
            let bytes = |number| unsafe { lockgate_emulator_kernel_parameter(index, number) };
            let parameter_bytes = (0..).map(bytes).take_while(|bytes| *bytes > 0).collect();
            Kernel { name: text(name), module: module.unwrap_or(file), parameter_bytes }
        })
        .collect()
}

/// Runs a launch to its end. `buffers` are in the order of their addresses, and the only memory it may touch.
pub(crate) fn launch(launch: &Launch, buffers: &[Range], schedule: Schedule) -> Result<(), String> {
    let name = CString::new(launch.kernel).map_err(|_| "a kernel's name holds a zero".to_owned())?;
    let values: Vec<[u8; 8]> = launch.arguments.iter().map(|argument| argument.value()).collect();
    let pointers: Vec<*const c_void> = values.iter().map(|value| value.as_ptr().cast()).collect();
    let sizes: Vec<usize> = launch.arguments.iter().map(|argument| argument.bytes()).collect();
    let (code, seed) = schedule.code();
    let mut error = vec![0_u8; 1024];
    let request = Request {
        kernel: name.as_ptr(),
        grid: launch.grid,
        block: launch.block,
        shared_bytes: launch.shared_bytes,
        arguments: pointers.as_ptr(),
        argument_bytes: sizes.as_ptr(),
        argument_count: sizes.len(),
        buffers: buffers.as_ptr(),
        buffer_count: buffers.len(),
        schedule: code,
        seed,
        early: launch.early,
        error: error.as_mut_ptr().cast(),
        error_bytes: error.len(),
    };
    // SAFETY: every pointer is valid for its count during the call; the caller owns the buffers' memory.
    if unsafe { lockgate_emulator_launch(&raw const request) } {
        return Ok(());
    }
    let text = CStr::from_bytes_until_nul(&error).unwrap_or(c"an error without a text");
    Err(text.to_string_lossy().into_owned())
}
