//! [`Library`]: cuBLASLt, NVIDIA's products of matrices, where it is on this machine. It is no part of the driver, so that
//! a machine may have a card and no library.
//!
//! Owns its handle, its working memory, and which algorithm it takes for a shape, which it is asked once. Whatever the
//! library or the driver made is given back when its owner here is dropped, on every way out.
#![allow(unsafe_code, reason = "the library is a C library")]

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::result as driver_result;
use cudarc::driver::sys::{CUdeviceptr, CUstream};

use crate::cuda::driver::{DriverError, Product};

/// Working memory that algorithms may want: what NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;

/// A product's shape: rows, outputs, columns.
type Shape = (usize, usize, usize);

/// Something that the library or the driver made, and how it is given back.
struct Owned<T: Copy, E> {
    made: T,
    give_back: unsafe fn(T) -> Result<(), E>,
}

impl<T: Copy, E> Drop for Owned<T, E> {
    fn drop(&mut self) {
        // SAFETY: it was made by what it is given back to, and nobody knows it any longer. An error is one of earlier work.
        let _ = unsafe { (self.give_back)(self.made) };
    }
}

type Object<T> = Owned<T, result::CublasError>;

/// How a shape is multiplied.
struct Plan {
    description: Object<sys::cublasLtMatmulDesc_t>,
    /// Of weights, activations and the output.
    layouts: [Object<sys::cublasLtMatrixLayout_t>; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The open library. Whoever has it drops it with the context current and nothing of it going on. Its plans are dropped
/// before its handle.
pub(super) struct Library {
    /// None for a shape that it does not multiply.
    plans: HashMap<Shape, Option<Plan>>,
    workspace: Owned<CUdeviceptr, driver_result::DriverError>,
    handle: Object<sys::cublasLtHandle_t>,
}

// SAFETY: its handles belong to no thread; the card uses it under a lock.
unsafe impl Send for Library {}

fn failed(error: result::CublasError) -> DriverError {
    DriverError::failed("cuBLASLt", error.to_string())
}

/// Whether the library is on this machine.
pub(crate) fn is_there() -> bool {
    // SAFETY: loads the library and calls nothing of it.
    unsafe { sys::is_culib_present() }
}

impl Library {
    /// Opens it, or nothing where there is none; the card's context must be current.
    pub(super) fn open() -> Result<Option<Library>, DriverError> {
        if !is_there() {
            return Ok(None);
        }
        let handle = result::create_handle().map_err(failed)?;
        let handle = Owned { made: handle, give_back: result::destroy_handle };
        // SAFETY: the context is current.
        let workspace = unsafe { driver_result::malloc_sync(WORKSPACE_BYTES) };
        let workspace = workspace.map_err(|_| DriverError::OutOfMemory { bytes: WORKSPACE_BYTES })?;
        let workspace = Owned { made: workspace, give_back: driver_result::memory_free };
        Ok(Some(Library { plans: HashMap::new(), workspace, handle }))
    }

    /// Multiplies on the stream; whether the library does that shape.
    pub(super) fn multiply(&mut self, product: &Product, stream: CUstream) -> Result<bool, DriverError> {
        let shape = (product.rows, product.outputs, product.columns);
        if !self.plans.contains_key(&shape) {
            let plan = Plan::make(self.handle.made, shape).map_err(failed)?;
            self.plans.insert(shape, plan);
        }
        let Some(Some(plan)) = self.plans.get(&shape) else { return Ok(false) };
        let (one, old) = (1.0_f32, if product.add { 1.0_f32 } else { 0.0 });
        let number = |number: &f32| std::ptr::from_ref(number).cast::<c_void>();
        let there = |address: u64| address as *mut c_void;
        let [weights, x, out] = plan.layouts.each_ref().map(|layout| layout.made);
        // SAFETY: the caller's addresses hold matrices of that shape; all else was made here and lives on.
        let done = unsafe {
            result::matmul(
                self.handle.made,
                plan.description.made,
                number(&one),
                number(&old),
                there(product.weights.0),
                weights,
                there(product.x.0),
                x,
                there(product.out.0),
                out,
                there(product.out.0),
                out,
                &raw const plan.algorithm,
                there(self.workspace.made),
                WORKSPACE_BYTES,
                stream.cast(),
            )
        };
        done.map(|()| true).map_err(failed)
    }
}

impl Plan {
    /// Asks the library how it multiplies a shape; nothing where it does not.
    fn make(handle: sys::cublasLtHandle_t, shape: Shape) -> Result<Option<Plan>, result::CublasError> {
        let (rows, outputs, columns) = (shape.0 as u64, shape.1 as u64, shape.2 as u64);
        let (half, single) = (sys::cudaDataType::CUDA_R_16BF, sys::cudaDataType::CUDA_R_32F);
        // It counts down columns: a row of ours is a column to it, so that weights are what it turns around.
        let description = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)?;
        let description = Owned { made: description, give_back: result::destroy_matmul_desc };
        let layout = |numbers, rows, columns: u64| -> Result<Object<_>, result::CublasError> {
            let made = result::create_matrix_layout(numbers, columns, rows, columns as i64)?;
            Ok(Owned { made, give_back: result::destroy_matrix_layout })
        };
        let layouts =
            [layout(half, outputs, columns)?, layout(half, rows, columns)?, layout(single, rows, outputs)?];
        let turned: i32 = 1;
        let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA;
        let value = (&raw const turned).cast::<c_void>();
        // SAFETY: the description was just made; the library copies the number.
        unsafe { result::set_matmul_desc_attribute(description.made, attribute, value, size_of::<i32>()) }?;
        let preference =
            Owned { made: result::create_matmul_pref()?, give_back: result::destroy_matmul_pref };
        let attribute = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let bytes = WORKSPACE_BYTES as u64;
        let value = (&raw const bytes).cast::<c_void>();
        // SAFETY: the preference was just made; the library copies the number.
        unsafe { result::set_matmul_pref_attribute(preference.made, attribute, value, size_of::<u64>()) }?;
        let [weights, x, out] = layouts.each_ref().map(|layout| layout.made);
        // SAFETY: all of these were just made.
        let found = unsafe {
            result::get_matmul_algo_heuristic(handle, description.made, weights, x, out, out, preference.made)
        };
        match found {
            Ok(found) => Ok(Some(Plan { description, layouts, algorithm: found.algo })),
            Err(result::CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
