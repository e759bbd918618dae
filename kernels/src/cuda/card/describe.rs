//! What a card says of itself, before it is opened.
#![allow(unsafe_code, reason = "the driver is a C library")]

use cudarc::driver::{result, sys};

use super::failed;
use crate::cuda::cards::CardInfo;
use crate::cuda::driver::DriverError;

/// The card of this number, and what it says.
pub(super) fn describe(ordinal: i32) -> Result<(sys::CUdevice, CardInfo), DriverError> {
    let device = result::device::get(ordinal).map_err(failed("card"))?;
    let attribute = |attribute: sys::CUdevice_attribute| {
        // SAFETY: the device exists.
        unsafe { result::device::get_attribute(device, attribute) }.map_err(failed("attribute of the card"))
    };
    let mut driver_version = 0;
    // SAFETY: writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut driver_version) }
        .result()
        .map_err(failed("driver's version"))?;
    let info = CardInfo {
        name: result::device::get_name(device).map_err(failed("name of the card"))?,
        capability: (
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        driver_version,
        multiprocessors: usize::try_from(attribute(
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        )?)
        .unwrap_or(1),
        // SAFETY: the device exists.
        memory_bytes: unsafe { result::device::total_mem(device) }.map_err(failed("memory of the card"))?,
    };
    Ok((device, info))
}
