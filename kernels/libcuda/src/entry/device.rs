//! The driver itself, its card, and contexts.

use std::ffi::{CStr, c_char};

use cudarc::driver::sys::{CUdevice_attribute, CUresult};

use super::{Place, put};
use crate::answer::{code, misuse};
use crate::driver::{of_device, of_driver, start};
use crate::errors::texts;
use crate::settings::Settings;

const NAME: &CStr = c"Lockgate emulated card";

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: u32) -> CUresult {
    if flags != 0 {
        return code("cuInit", Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("flags {flags}"))));
    }
    start();
    CUresult::CUDA_SUCCESS
}

/// The one function that may be called before `cuInit`.
#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Place<'_, i32>) -> CUresult {
    code("cuDriverGetVersion", put(version, Settings::of_environment().driver_version))
}

fn text(function: &str, error: u32, place: Place<'_, *const c_char>, name: bool) -> CUresult {
    let Some((known, description)) = texts(error) else {
        return code(function, Err(CUresult::CUDA_ERROR_INVALID_VALUE.into()));
    };
    code(function, put(place, if name { known } else { description }.as_ptr()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(error: u32, name: Place<'_, *const c_char>) -> CUresult {
    text("cuGetErrorName", error, name, true)
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(error: u32, description: Place<'_, *const c_char>) -> CUresult {
    text("cuGetErrorString", error, description, false)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: Place<'_, i32>) -> CUresult {
    of_driver("cuDeviceGetCount", |_| put(count, 1))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: Place<'_, i32>, ordinal: i32) -> CUresult {
    of_device("cuDeviceGet", ordinal, |_| put(device, ordinal))
}

/// # Safety
/// `name` is null, or has room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut u8, length: i32, device: i32) -> CUresult {
    of_device("cuDeviceGetName", device, |_| {
        let bytes = NAME.to_bytes_with_nul();
        if name.is_null() || usize::try_from(length).is_ok_and(|length| length < bytes.len()) {
            let text = format!("no room for a name in {length} bytes");
            return Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text));
        }
        // SAFETY: there is as much room.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), name, bytes.len()) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: Place<'_, usize>, device: i32) -> CUresult {
    of_device("cuDeviceTotalMem_v2", device, |driver| put(bytes, driver.settings.memory_bytes))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: Place<'_, i32>, attribute: u32, device: i32) -> CUresult {
    use CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS,
    };
    of_device("cuDeviceGetAttribute", device, |driver| {
        let settings = &driver.settings;
        let known = [
            (MAJOR, settings.capability.0),
            (MINOR, settings.capability.1),
            (MULTIPROCESSORS, settings.multiprocessors),
        ];
        match known.iter().find(|(known, _)| *known as u32 == attribute) {
            Some((_, known)) => put(value, *known),
            None => {
                let text = format!("attribute {attribute} is not known here");
                Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, text))
            }
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: Place<'_, usize>, device: i32) -> CUresult {
    of_device("cuDevicePrimaryCtxRetain", device, |driver| {
        let handle = driver.retain()?;
        put(context, handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: i32) -> CUresult {
    of_device("cuDevicePrimaryCtxRelease_v2", device, |driver| driver.release())
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: usize) -> CUresult {
    of_driver("cuCtxSetCurrent", |driver| driver.set_current(context))
}
