//! The driver's functions in C, with the names and types that its header gives them: handles are numbers here, which are
//! passed as pointers are, and what is to be filled in is a reference, or nothing where the caller gave null.
#![allow(unsafe_code, non_snake_case, reason = "functions of a C library, by their names")]

mod device;
mod memory;
mod streams;

use std::mem::MaybeUninit;

use cudarc::driver::sys::CUresult;

use crate::answer::{Answer, misuse};

/// Where a function puts its result.
type Place<'a, T> = Option<&'a mut MaybeUninit<T>>;

fn put<T>(place: Place<'_, T>, value: T) -> Answer<()> {
    match place {
        Some(place) => {
            place.write(value);
            Ok(())
        }
        None => Err(misuse(CUresult::CUDA_ERROR_INVALID_VALUE, "there is no place for the result")),
    }
}
